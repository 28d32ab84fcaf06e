//! The HTTP API, one file per resource: the real client against the real server in this process, on its own
//! port.

mod advice;
mod audit;
mod bases;
mod binhost;
mod bounds;
mod channels;
mod clocks;
mod collisions;
mod conditional;
mod conditions;
mod confirmed;
mod connections;
mod contract;
mod credentials;
mod damage;
mod disk_full;
mod drones;
mod dry_run;
mod enrol;
mod events;
mod health;
mod idempotency;
mod limits;
mod lists;
mod login;
mod logs;
mod metrics;
mod nix;
mod notify;
mod openapi;
mod packages;
mod pins;
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
mod versions;

use std::time::Duration;
use swarm_client::{ClientError, IdempotencyKey};
use swarm_daemon::config::Span;
use swarm_orchestrator::config::Config;
use swarm_tests::api::Swarm;

fn key() -> IdempotencyKey {
    IdempotencyKey::random().unwrap()
}

/// Lets every slow operation take an hour, also when stopping. A test that completes did not wait for any of
/// them.
fn patient(config: &mut Config) {
    const HOUR: Span = Span::from_secs(3600);
    let limits = &mut config.limits;
    (limits.header_timeout, limits.body_idle_timeout, limits.drain_timeout) = (HOUR, HOUR, HOUR);
}

/// Stops the swarm. With [`patient`], this completes only if it does not wait for anything open.
async fn stops_at_once(swarm: Swarm) {
    let stopped = tokio::time::timeout(Duration::from_secs(60), swarm.stop()).await;
    stopped.expect("it waits for what is open").unwrap();
}

/// The status of a refused request.
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
