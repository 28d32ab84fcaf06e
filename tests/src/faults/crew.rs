//! Drones and an admin that go on whatever happens to the orchestrators, and remember what
//! was acknowledged to them: see `tests/redis.rs`.

use crate::api::{facts, name, package_for, plan_of, snapshot};
use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use swarm_client::{Bytes, Client, ClientError, IdempotencyKey};
use swarm_common::{
    digest::Digest,
    id::*,
    secret::Secret,
    state::RunClass,
    wire::{admin::*, drone::*, plan::PortagePackage},
};
use swarm_core::{Event, Policy, Record, Swarm};
use tokio::{sync::watch, task::JoinSet};

/// Packages of each run.
const PACKAGES: u32 = 6;

/// Between two tries while nobody answers.
const RETRY: Duration = Duration::from_millis(50);

/// Nothing that a crew waits for takes longer.
const LIMIT: Duration = Duration::from_secs(90);

/// What was acknowledged, as what must be in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// A drone has an attempt.
    Delegated(AttemptId),
    /// A result was accepted.
    Accepted(AttemptId),
    /// A run began.
    Started(RunId),
}

/// At work until it is dismissed.
pub struct Crew {
    tasks: JoinSet<Result<()>>,
    said: Said,
}

/// What was acknowledged so far.
#[derive(Clone)]
struct Said {
    facts: Arc<Mutex<Vec<Fact>>>,
    count: watch::Sender<usize>,
    stop: watch::Sender<bool>,
}

impl Said {
    fn note(&self, fact: Fact) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.push(fact);
        self.count.send_replace(facts.len());
    }

    fn is_over(&self) -> bool {
        *self.stop.borrow()
    }
}

impl Crew {
    /// So many drones, and an admin who keeps a run under way in each of two profiles.
    ///
    /// # Errors
    /// Something on the way is refused.
    pub async fn start(admin: &Client, drones: usize, folder: &Path) -> Result<Self> {
        let (stop, count) = (watch::Sender::new(false), watch::Sender::new(0));
        let said = Said { facts: Arc::default(), count, stop };
        let (digest, archive) = snapshot(&folder.join("snapshot.tar.zst"))?;
        admin.put_snapshot(digest, &archive).await?;
        let mut tasks = JoinSet::new();
        for profile in ["desk", "nas"] {
            let request = ProfileRequest {
                builder: BuilderKind::Portage,
                snapshot: digest,
                source: "test".into(),
                base: None,
                rebuild: Default::default(),
                publish: Default::default(),
                cpu: Default::default(),
            };
            admin.put_profile(&name(profile), &request, &IdempotencyKey::random()?).await?;
            tasks.spawn(runs(admin.clone(), profile, said.clone()));
        }
        for n in 0..drones {
            let request = EnrolTokenRequest { valid_ms: 600_000, approved: true };
            let token = admin.make_enrol_token(&request, &IdempotencyKey::random()?).await?.token;
            let called = name(&format!("drone-{n}"));
            let request = EnrolRequest { token, name: called, facts: facts(), credential_hash: None };
            let credential = admin.enrol(&request).await?.credential.unwrap_or_default();
            let drone = Drone {
                client: admin.with_credential(Secret::new(&credential)),
                said: said.clone(),
                number: n,
                claims: 0,
                held: None,
            };
            tasks.spawn(drone.work());
        }
        Ok(Self { tasks, said })
    }

    /// Waits until so much more is acknowledged.
    ///
    /// # Errors
    /// Nothing goes on any more, or somebody was told what must not be.
    pub async fn works(&mut self, more: usize) -> Result<()> {
        let mut count = self.said.count.subscribe();
        let enough = *count.borrow() + more;
        tokio::select! {
            waited = tokio::time::timeout(LIMIT, count.wait_for(|&count| count >= enough)) => {
                waited.context("the crew gets no answers")??;
                Ok(())
            }
            Some(ended) = self.tasks.join_next() => ended?.and_then(|()| anyhow::bail!("a task ended")),
        }
    }

    /// How much was acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        *self.said.count.borrow()
    }

    /// Ends the work and checks what the journal holds against what was acknowledged.
    ///
    /// # Errors
    /// Something acknowledged is gone, or something happened twice.
    pub async fn dismiss(mut self) -> Result<Vec<Fact>> {
        self.said.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let facts = self.said.facts.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(facts.clone())
    }
}

/// Everything acknowledged is there, nothing was accepted twice, and what it leads to breaks
/// no rule.
///
/// # Errors
/// What is not so.
pub fn check(records: &[Record], acknowledged: &[Fact]) -> Result<()> {
    let mut swarm = Swarm::new(Policy::default());
    let (mut happened, mut results) = (BTreeSet::new(), BTreeMap::new());
    let mut once = |fact| {
        ensure!(happened.insert(fact), "{fact:?} happened twice");
        Ok(())
    };
    for record in records {
        let result = match &record.event {
            Event::RunStarted { run, .. } => {
                once(Fact::Started(*run))?;
                None
            }
            Event::PlanDelegated { attempt, .. } | Event::PackageDelegated { attempt, .. } => {
                once(Fact::Delegated(*attempt))?;
                None
            }
            Event::PlanReceived { run, attempt, .. } => Some((format!("the plan of {run}"), *attempt)),
            Event::PackageReceived { package, attempt, .. } => Some((package.to_string(), *attempt)),
            _ => None,
        };
        if let Some((what, attempt)) = result {
            once(Fact::Accepted(attempt))?;
            let first = results.insert(what.clone(), attempt);
            ensure!(first.is_none(), "{what} was accepted twice: {first:?} and {attempt}");
        }
        swarm.apply(record);
    }
    if let Err(breach) = swarm_core::invariants::check(&swarm) {
        anyhow::bail!("{breach}");
    }
    let lost: Vec<_> = acknowledged.iter().filter(|fact| !happened.contains(fact)).collect();
    ensure!(lost.is_empty(), "acknowledged and gone: {lost:?}");
    Ok(())
}

/// Starts a run whenever the last is over.
async fn runs(admin: Client, profile: &'static str, said: Said) -> Result<()> {
    let mut key = IdempotencyKey::random()?;
    let mut under_way = None;
    while !said.is_over() {
        let step = async {
            match under_way {
                None => {
                    let request = StartRunRequest { profile: name(profile), class: RunClass::Nightly };
                    Ok(Some(admin.start_run(&request, &key).await?.run))
                }
                // A standby may be a moment behind, and know no such run yet.
                Some(run) => match admin.run(run).await {
                    Ok(view) if view.state.is_over() => Ok(None),
                    Err(error) if error.status() != Some(404) => Err(error),
                    _ => {
                        tokio::time::sleep(RETRY).await;
                        Ok(Some(run))
                    }
                },
            }
        };
        match step.await {
            Ok(next) => {
                if let (None, Some(run)) = (under_way, next) {
                    said.note(Fact::Started(run));
                    key = IdempotencyKey::random()?;
                }
                under_way = next;
            }
            Err(error) => bear(error).await?,
        }
    }
    Ok(())
}

/// What is no answer is asked again; a refusal that must not be ends the test.
async fn bear(error: ClientError) -> Result<()> {
    // An answer may also break off in the middle.
    ensure!(error.is_transient() || matches!(error, ClientError::Protocol { .. }), "{error}");
    tokio::time::sleep(RETRY).await;
    Ok(())
}

struct Drone {
    client: Client,
    said: Said,
    number: usize,
    claims: u32,
    held: Option<Assignment>,
}

impl Drone {
    async fn work(mut self) -> Result<()> {
        while !self.said.is_over() {
            match self.step().await {
                Ok(()) => {}
                // Somebody else brought it, as when we were away for too long.
                Err(error) if self.held.is_some() && error.status() == Some(409) => self.held = None,
                Err(error) => bear(error).await.with_context(|| format!("drone {}", self.number))?,
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), ClientError> {
        let Some(assignment) = self.held.clone() else {
            let key = format!("claim-{}-{}", self.number, self.claims);
            let request = ClaimRequest { key, wait_ms: 500, memory_free_bytes: 0 };
            let reply = self.client.claim(&request).await?;
            self.claims += 1;
            if let Some(assignment) = reply.assignment {
                self.said.note(Fact::Delegated(assignment.attempt));
                self.held = Some(assignment);
            }
            return Ok(());
        };
        let attempt = assignment.attempt;
        let outcome = match &assignment.work {
            Work::Plan => Outcome::Planned { plan: plan_of(&packages(assignment.run)) },
            Work::Base => Outcome::Based,
            Work::Build(order) => {
                let mut artifacts = Vec::new();
                for target in &order.targets {
                    artifacts.push(self.upload(attempt, target).await?);
                }
                Outcome::Built { artifacts }
            }
        };
        let usage = Usage { wall_ms: 1000, cpu_ms: 1000, peak_memory_bytes: 1 << 20 };
        let reply = self.client.report(attempt, &ReportRequest::new(outcome, usage)).await?;
        if reply.accepted {
            self.said.note(Fact::Accepted(attempt));
        }
        self.held = None;
        Ok(())
    }

    async fn upload(&self, attempt: AttemptId, target: &Target) -> Result<Digest, ClientError> {
        let bytes = package_for(target);
        let digest = Digest::of(&bytes);
        let request = UploadRequest { digest, size: bytes.len() as u64, target: target.id().to_owned() };
        let mut status = self.client.begin_upload(attempt, &request).await?;
        while !status.verified {
            let from = usize::try_from(status.offset).unwrap_or(usize::MAX).min(bytes.len());
            let rest = Bytes::copy_from_slice(&bytes[from..]);
            status = self.client.upload_piece(attempt, digest, status.offset, rest).await?;
        }
        Ok(digest)
    }
}

/// What a run builds: nothing that an earlier one has built.
fn packages(run: RunId) -> Vec<PortagePackage> {
    let package = |n: u32| {
        let version = format!("{}.{n}", run.0);
        PortagePackage { inputs: Digest::of(version.as_bytes()), ..crate::api::pebble_at(&version, "0") }
    };
    (0..PACKAGES).map(package).collect()
}
