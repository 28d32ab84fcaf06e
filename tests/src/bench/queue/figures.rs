//! The results of the rounds, and the rows made from them.

use super::{
    super::report::{Goal, Row, Section, median},
    PACKAGES,
    load::Outcome,
};
use anyhow::Result;

/// Claims per second of build-swarm-v3 with 475 packages and 8 drones, and with 5,000 and 64; medians of
/// three runs on 2 processors, 2026-11-21, unmodified at its commit aa42368.
const PEER_FEW: f64 = 309.0;
const PEER_MANY: f64 = 190.0;
const PEER: &str = "build-swarm-v3, its figure of 2026-11-21 on 2 cores";

/// All claims, whatever they were measured for.
#[derive(Default)]
pub(super) struct Claims {
    made: usize,
    doubled: usize,
}

impl Claims {
    pub(super) fn count(&mut self, outcome: &Outcome) {
        self.made += outcome.claims_ms.len();
        self.doubled += outcome.doubled;
    }
}

#[derive(Default)]
pub(super) struct Figures {
    pub(super) few: Vec<f64>,
    pub(super) few_p99_ms: Vec<f64>,
    pub(super) many: Vec<f64>,
    pub(super) many_p50_ms: Vec<f64>,
    pub(super) many_p99_ms: Vec<f64>,
    pub(super) reference_few: Vec<f64>,
    pub(super) reference_many: Vec<f64>,
    pub(super) peer_few: Vec<f64>,
    pub(super) peer_many: Vec<f64>,
    pub(super) everysec: Vec<f64>,
    pub(super) always: Vec<f64>,
    pub(super) received: Vec<f64>,
    pub(super) handed_on_ms: Vec<f64>,
    pub(super) peak_mb: Vec<f64>,
    pub(super) claims: Claims,
}

impl Figures {
    pub(super) fn section(self, rounds: usize) -> Result<Section> {
        let (few, many) = (median(self.few)?, median(self.many)?);
        let bare = "bare axum + SQLite, group commit";
        let own = "ours on SQLite";
        let ((peer, peer_few), (_, peer_many)) =
            (peer(self.peer_few, PEER_FEW)?, peer(self.peer_many, PEER_MANY)?);
        let once = (self.claims.made - self.claims.doubled) as f64;
        let rows = vec![
            Row::new("claims/s, 8 drones", few, bare, median(self.reference_few)?, Goal::AtLeast(0.5)),
            Row::new("claims/s, 64 drones", many, bare, median(self.reference_many)?, Goal::AtLeast(0.5)),
            Row::new("claims/s, 8 drones", few, peer, peer_few, Goal::AtLeast(25.0)),
            Row::new("claims/s, 64 drones", many, peer, peer_many, Goal::AtLeast(60.0)),
            Row::new(
                "claims/s, 64 drones, Redis everysec",
                median(self.everysec)?,
                own,
                many,
                Goal::AtLeast(0.8),
            ),
            Row::new(
                "claims/s, 64 drones, Redis always",
                median(self.always)?,
                own,
                many,
                Goal::AtLeast(0.8),
            ),
            Row::within("p99 of a claim, 8 drones, ms", median(self.few_p99_ms)?, 5.0),
            Row::within("p50 of a claim, 64 drones, ms", median(self.many_p50_ms)?, 5.0),
            Row::within("p99 of a claim, 64 drones, ms", median(self.many_p99_ms)?, 5.0),
            Row::new(
                "packages given once only",
                once,
                "all claims",
                self.claims.made as f64,
                Goal::AtLeast(1.0),
            ),
            Row::within("most memory, 5,000 packages, 64 drones, MB", median(self.peak_mb)?, 40.0),
            Row::new(
                "claimed, uploaded, signed and received/s, 64 drones",
                median(self.received)?,
                peer,
                peer_many,
                Goal::None,
            ),
            Row::within(
                "report of a package until a waiting drone has its dependant, ms",
                median(self.handed_on_ms)?,
                10.0,
            ),
        ];
        let about = format!(
            "Simulated drones, each with its own credential and connection, claim {PACKAGES} packages without \
             dependencies and complete each one at once with the report of a final failure, which passes the same \
             checks and is as durable as a receipt, but transfers no file. The peer's completions transfer none \
             either. The bare server has no credentials, events or rules. One thread makes the load for all, in \
             {rounds} rounds in turn. In the last two rows, packages are uploaded, checked, signed and stored; the \
             last row is the time from a report to the assignment of the dependant, including the publication of \
             the index."
        );
        Ok(Section { title: "Queue", about, rows })
    }
}

/// The figure measured for the peer now, or the recorded one.
fn peer(measured: Vec<f64>, then: f64) -> Result<(&'static str, f64)> {
    Ok(if measured.is_empty() { (PEER, then) } else { ("build-swarm-v3, 475 packages", median(measured)?) })
}
