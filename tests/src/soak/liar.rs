//! A drone with its own credential that lies about everything it is assigned, and about the work of others.

use crate::{
    api::{FakeDrone, name, package_for},
    sim::rng::Rng,
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use swarm_client::{Bytes, Client, ClientError, LogAppend, parse_address};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    secret::Secret,
    state::{FailureClass, Phase},
    wire::drone::*,
};

pub(super) const NAME: &str = "liar";

const REST: Duration = Duration::from_secs(1);

/// Maximum length of its log. It sends half as much again.
pub(super) const LOG_BYTES: u64 = 1 << 20;

/// The results of its lies.
#[derive(Debug, Default)]
pub(super) struct LieResults {
    /// Number of lies that were refused.
    pub refused: u64,
    /// Lies that were accepted, and impossible answers.
    pub breaches: Vec<String>,
}

/// Lies until `over`, as a machine with these facts.
pub(super) fn start(
    address: &str,
    token: &str,
    facts: DroneFacts,
    seed: u64,
    over: Arc<AtomicBool>,
) -> Result<JoinHandle<LieResults>> {
    let url = parse_address(address).map_err(anyhow::Error::msg)?;
    let nobody = Client::new(&[url], None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let facts = DroneFacts { machine_id: NAME.into(), boot_id: "b".into(), slots: 1, ..facts };
    let request =
        EnrolRequest { token: token.into(), name: name(NAME), facts: facts.clone(), credential_hash: None };
    let EnrolReply { drone: id, credential } = runtime.block_on(nobody.enrol(&request))?;
    let credential = credential.context("no credential came")?;
    let client = nobody.with_credential(Secret::new(&credential));
    let drone = FakeDrone { client, id, credential };
    let mut liar = Liar {
        drone,
        facts,
        rng: Rng::new(!seed),
        claims: 0,
        own: BTreeSet::new(),
        results: LieResults::default(),
    };
    Ok(thread::spawn(move || {
        runtime.block_on(async {
            while !over.load(Ordering::Relaxed) {
                if let Err(error) = liar.turn().await {
                    liar.results.breaches.push(format!("{error:#}"));
                }
                tokio::time::sleep(REST).await;
            }
        });
        liar.results
    }))
}

struct Liar {
    drone: FakeDrone,
    facts: DroneFacts,
    rng: Rng,
    claims: u64,
    own: BTreeSet<AttemptId>,
    results: LieResults,
}

/// The answer to a lie: whether it was accepted.
type Answer = Result<bool, ClientError>;

impl Liar {
    async fn turn(&mut self) -> Result<()> {
        let request = HeartbeatRequest {
            vitals: crate::api::nothing_free(),
            attempts: Vec::new(),
            draining: false,
            boot_id: "b".into(),
            facts: Some(self.facts.clone()),
            highest_attempt: None,
        };
        // Without an answer there is nothing to lie about.
        let Ok(_) = self.drone.client.heartbeat(&request).await else { return Ok(()) };
        self.claims += 1;
        let claim = self.drone.ask(&format!("{NAME}-{}", self.claims), 0).await;
        let Ok(Some(assignment)) = claim.map(|reply| reply.assignment) else {
            let last = self.own.last().copied().unwrap_or(AttemptId(1));
            self.lie_of_others(last).await;
            return Ok(());
        };
        let attempt = assignment.attempt;
        self.own.insert(attempt);
        match assignment.work {
            Work::Build(order) => {
                let target = order.targets.first().context("an order without targets")?;
                self.lie_about(attempt, target).await;
            }
            Work::Plan | Work::Base => {}
        }
        self.lie_of_others(attempt).await;
        // It hands the attempt back with a reason, blames the package, or becomes silent.
        let outcome = match self.rng.below(3) {
            0 => Outcome::HandedBack { reason: "no reason".into() },
            1 if self.rng.chance(200) => Outcome::Failed { failure: invented() },
            _ => return Ok(()),
        };
        // Both are allowed if it still has the attempt.
        let _ = self.drone.report(attempt, outcome).await;
        Ok(())
    }

    async fn lie_about(&mut self, attempt: AttemptId, target: &Target) {
        let never = Digest::of(&self.rng.bits().to_le_bytes());
        let answer = self.report(attempt, vec![never]).await;
        self.note("a package that was never uploaded", answer);
        let answer = self.upload(attempt, target.id(), vec![7; 5000], None).await;
        self.note("a file that is no package", answer);
        let Some(own) = target.portage() else { return };
        let foreign = target.clone().with_build_id(own.build_id + 1);
        let answer = self.upload(attempt, target.id(), package_for(&foreign), None).await;
        self.note("a package of another identity", answer);
        let answer = self.upload(attempt, target.id(), package_for(target), Some(never)).await;
        self.note("bytes of another digest", answer);
        let answer = self.flood(attempt).await;
        self.note("a log without end", answer);
    }

    /// Lies about other attempts, of which it only knows that their IDs are close to its own.
    async fn lie_of_others(&mut self, own: AttemptId) {
        let other = AttemptId((own.0 + self.rng.below(20)).saturating_sub(10).max(1));
        if self.own.contains(&other) {
            return;
        }
        let answer = self.report(other, vec![Digest::of(b"other")]).await;
        self.note("a result of another's attempt", answer);
        let line = Bytes::from_static(b"all is well\n");
        let answer = self.drone.client.append_log(other, 0, line).await;
        self.note("a line in another's log", answer.map(|done| done == LogAppend::Stored));
    }

    /// Uploads a file. Returns whether it was accepted.
    async fn upload(
        &self,
        attempt: AttemptId,
        target: &str,
        bytes: Vec<u8>,
        announced: Option<Digest>,
    ) -> Answer {
        let digest = announced.unwrap_or_else(|| Digest::of(&bytes));
        let request = UploadRequest { digest, size: bytes.len() as u64, target: target.to_owned() };
        let begun = self.drone.client.begin_upload(attempt, &request).await?;
        let rest = Bytes::from(bytes).slice(usize::try_from(begun.offset).unwrap_or(0)..);
        let done = self.drone.client.upload_piece(attempt, digest, begun.offset, rest).await?;
        Ok(done.verified && self.report(attempt, vec![digest]).await?)
    }

    /// Sends a log that is too long. Returns whether all of it was accepted.
    async fn flood(&self, attempt: AttemptId) -> Answer {
        let mut offset = 0;
        while offset < LOG_BYTES + LOG_BYTES / 2 {
            let piece = Bytes::from(vec![b'x'; 1 << 18]);
            let size = piece.len() as u64;
            if let LogAppend::StandsAt(_) = self.drone.client.append_log(attempt, offset, piece).await? {
                return Ok(false);
            }
            offset += size;
        }
        Ok(true)
    }

    async fn report(&self, attempt: AttemptId, artifacts: Vec<Digest>) -> Answer {
        Ok(self.drone.report(attempt, Outcome::Built { artifacts }).await?.accepted)
    }

    fn note(&mut self, what: &str, answer: Answer) {
        match answer {
            Ok(false) => self.results.refused += 1,
            Ok(true) => self.results.breaches.push(format!("{what} was believed")),
            Err(error) if error.status().is_some_and(|status| status < 500) => self.results.refused += 1,
            Err(error) if error.status() == Some(500) => {
                self.results
                    .breaches
                    .push(format!("{what} ended in an error of the orchestrator's: {error}"));
            }
            // There was no answer, or the orchestrator is temporarily unable to answer.
            Err(_) => {}
        }
    }
}

fn invented() -> Failure {
    Failure {
        class: FailureClass::Package,
        cause: None,
        phase: Phase::Building,
        signature: "invented".into(),
        message: "an error that nobody had".into(),
    }
}
