//! The HTTP API, one file for each resource: the real client against the real server in
//! this process, on a port of its own.

mod audit;
mod bases;
mod binhost;
mod bounds;
mod collisions;
mod conditional;
mod conditions;
mod connections;
mod contract;
mod credentials;
mod damage;
mod disk_full;
mod drones;
mod enrol;
mod events;
mod health;
mod idempotency;
mod limits;
mod login;
mod logs;
mod metrics;
mod notify;
mod openapi;
mod packages;
mod profiles;
mod proxy;
mod reports;
mod restart;
mod restored;
mod runs;
mod schedules;
mod serving;
mod snapshots;
mod sonames;
mod status;
mod tls;
mod uploads;

use swarm_common::client::{ClientError, IdempotencyKey};

/// A fresh key.
fn key() -> IdempotencyKey {
    IdempotencyKey::random().unwrap()
}

/// The status of a refusal.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> u16 {
    match answer {
        Err(ClientError::Problem(problem)) => {
            assert!(problem.request_id.is_some() && !problem.detail.is_empty(), "{problem:?}");
            assert!(problem.kind.starts_with("/problems/"), "{problem:?}");
            problem.status
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}
