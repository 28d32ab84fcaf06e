//! The protocol between fake drones and the orchestrator: the API that real drones use, with a credential for
//! each drone.

use super::load::{Given, Protocol, post};
use crate::api::FakeDrone;
use anyhow::Result;
use serde::Deserialize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Makes claim keys unique across all loads of this process.
static LOADS: AtomicUsize = AtomicUsize::new(0);

/// Drones that report every package as failed. With [`FINAL_FAILURES`](crate::bench::server::FINAL_FAILURES),
/// this completes it.
pub struct Failing<'a> {
    drones: &'a [FakeDrone],
    load: usize,
}

impl<'a> Failing<'a> {
    #[must_use]
    pub fn new(drones: &'a [FakeDrone]) -> Self {
        Self { drones, load: LOADS.fetch_add(1, Ordering::Relaxed) }
    }
}

/// The part of a claim's answer that the load needs.
#[derive(Deserialize)]
struct Answer {
    assignment: Option<Assignment>,
}

#[derive(Deserialize)]
struct Assignment {
    attempt: String,
    work: Work,
}

#[derive(Deserialize)]
struct Work {
    package: String,
}

impl Protocol for Failing<'_> {
    fn claim(&self, drone: usize, turn: usize) -> String {
        let key = format!("{}-{turn}", self.load);
        let body = format!("{{\"key\":\"{key}\",\"wait_ms\":0,\"memory_free_bytes\":1099511627776}}");
        post("/api/v1/claim", &self.drones[drone].credential, &body)
    }

    fn given(&self, answer: &[u8]) -> Result<Option<Given>> {
        let Answer { assignment } = serde_json::from_slice(answer)?;
        Ok(assignment.map(|given| Given { package: given.work.package, ticket: given.attempt }))
    }

    fn complete(&self, drone: usize, given: &Given) -> String {
        let body = "{\"outcome\":{\"kind\":\"failed\",\"failure\":{\"class\":\"package\",\"phase\":\"building\",\
                    \"signature\":\"error: expected ;\",\"message\":\"x.c:1: error: expected ;\"}},\
                    \"usage\":{\"wall_ms\":1,\"cpu_ms\":1,\"peak_memory_bytes\":1}}";
        post(&format!("/api/v1/attempts/{}/report", given.ticket), &self.drones[drone].credential, body)
    }

    fn is_accepted(&self, answer: &[u8]) -> bool {
        answer.starts_with(b"{\"accepted\":true")
    }
}
