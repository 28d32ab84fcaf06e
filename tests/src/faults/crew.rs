//! Drones and an admin that keep working whatever happens to the orchestrators, and record what was
//! acknowledged: see `tests/redis.rs`.

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

const PACKAGES: u32 = 6;

/// Pause between two tries while no orchestrator answers.
const RETRY: Duration = Duration::from_millis(50);

/// Upper limit for every wait.
const LIMIT: Duration = Duration::from_secs(90);

/// An acknowledged fact, which the journal must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// A drone was assigned an attempt.
    Delegated(AttemptId),
    Accepted(AttemptId),
    Started(RunId),
}

/// The crew works until it is dismissed.
pub struct Crew {
    tasks: JoinSet<Result<()>>,
    said: Said,
}

/// The facts acknowledged so far.
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
    /// Starts drones, and an admin who keeps a run active in each of two profiles.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
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

    /// Waits until `more` further facts are acknowledged.
    ///
    /// # Errors
    /// There is no progress, or somebody received an impossible answer.
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

    /// The number of facts acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        *self.said.count.borrow()
    }

    /// Stops the work, and compares the journal with the acknowledged facts.
    ///
    /// # Errors
    /// An acknowledged fact is missing, or something happened twice.
    pub async fn dismiss(mut self) -> Result<Vec<Fact>> {
        self.said.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let facts = self.said.facts.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(facts.clone())
    }
}

/// Checks that the journal contains all acknowledged facts, that nothing was accepted twice, and that the
/// resulting state violates no invariant.
///
/// # Errors
/// A check fails; the error says which.
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

/// Starts a run whenever the last one has ended.
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
                // A standby may be slightly behind and not know the run yet.
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

/// Waits after a transient error, so that the request is repeated. Any other error ends the test.
async fn bear(error: ClientError) -> Result<()> {
    // A response may also be cut off in the middle.
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
                // Another drone delivered the result because this one was unreachable for too long.
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

/// The packages of a run, none of which was built by an earlier run.
fn packages(run: RunId) -> Vec<PortagePackage> {
    let package = |n: u32| {
        let version = format!("{}.{n}", run.0);
        PortagePackage { inputs: Digest::of(version.as_bytes()), ..crate::api::pebble_at(&version, "0") }
    };
    (0..PACKAGES).map(package).collect()
}
