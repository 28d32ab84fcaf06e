//! A drone that fails once, builds, uploads in pieces and reports, run after run, and asks
//! the same again when the orchestrator died before it answered. What it uploads are packages
//! that real Portage once built, under the build ids that are asked for.

use swarm_client::{Bytes, Client, ClientError, IdempotencyKey};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    name::Name,
    secret::Secret,
    state::{FailureClass, Phase, RunClass},
    wire::{admin::*, drone::*},
};

use crate::api::{facts, mold::Mold, name, nothing_free, pebble, pebble_at, plan_of};

/// As many profiles as a drone may name; a test hardly has time for more runs.
const RUNS: usize = 64;

/// Packages of each run.
const PACKAGES: usize = 2;

/// The drone, and where it stands.
pub struct Builder {
    number: usize,
    run: usize,
    snapshot: Digest,
    credential: String,
    stage: Stage,
    /// The attempt of this run that fails.
    fails: Option<AttemptId>,
    received: usize,
}

/// What is asked next. It is kept until it is answered.
enum Stage {
    Profile(IdempotencyKey),
    Run(IdempotencyKey),
    Claim(String),
    Hold(AttemptId, Work),
}

/// What was acknowledged.
pub enum Done {
    /// This attempt failed.
    Failed(AttemptId),
    /// What this attempt built was received.
    Received(AttemptId),
}

/// Whether a profile is one of a builder's.
#[must_use]
pub fn is_builders(profile: &Name) -> bool {
    profile.as_str().starts_with("farm-")
}

impl Builder {
    /// Enrols one that builds from this snapshot.
    ///
    /// # Errors
    /// It is refused.
    pub async fn enrol(admin: &Client, number: usize, snapshot: Digest) -> Result<Self, ClientError> {
        let token = EnrolTokenRequest { valid_ms: 600_000, approved: true };
        let token = admin.make_enrol_token(&token, &IdempotencyKey::random()?).await?.token;
        let profiles = (0..RUNS).map(|run| profile(number, run)).collect();
        let request = EnrolRequest {
            token,
            name: name(&format!("builder-{number}")),
            facts: DroneFacts { profiles, ..facts() },
            credential_hash: None,
        };
        let credential = admin.enrol(&request).await?.credential.unwrap_or_default();
        let stage = Stage::Profile(IdempotencyKey::random()?);
        Ok(Self { number, run: 0, snapshot, credential, stage, fails: None, received: 0 })
    }

    /// One step on the way.
    ///
    /// # Errors
    /// There is no answer; the same step is to be taken again.
    pub async fn step(&mut self, admin: &Client) -> Result<Option<Done>, ClientError> {
        let drone = admin.with_credential(Secret::new(&self.credential));
        let profile = profile(self.number, self.run);
        match &self.stage {
            Stage::Profile(_) if self.run == RUNS => beat(&drone, Vec::new()).await?,
            Stage::Profile(key) => {
                let (snapshot, source) = (self.snapshot, "test".to_owned());
                let request = ProfileRequest {
                    builder: BuilderKind::Portage,
                    snapshot,
                    source,
                    base: None,
                    rebuild: Default::default(),
                    publish: Default::default(),
                    cpu: Default::default(),
                };
                admin.put_profile(&profile, &request, key).await?;
                self.stage = Stage::Run(IdempotencyKey::random()?);
            }
            Stage::Run(key) => {
                let request = StartRunRequest { profile, class: RunClass::Interactive };
                admin.start_run(&request, key).await?;
                self.claim_next()?;
            }
            Stage::Claim(key) => {
                let request = ClaimRequest { key: key.clone(), wait_ms: 5_000, memory_free_bytes: 1 << 30 };
                match drone.claim(&request).await?.assignment {
                    Some(assignment) => self.stage = Stage::Hold(assignment.attempt, assignment.work),
                    None => self.claim_next()?,
                }
            }
            Stage::Hold(attempt, work) => {
                let (attempt, work) = (*attempt, work.clone());
                return self.build(&drone, attempt, work).await;
            }
        }
        Ok(None)
    }

    async fn build(
        &mut self,
        drone: &Client,
        attempt: AttemptId,
        work: Work,
    ) -> Result<Option<Done>, ClientError> {
        let (outcome, done) = match work {
            Work::Plan => (Outcome::Planned { plan: self.plan() }, None),
            Work::Base => (Outcome::Based, None),
            Work::Build(order)
                if order.targets[0].portage().unwrap().cpv == pebble().cpv
                    && *self.fails.get_or_insert(attempt) == attempt =>
            {
                (Outcome::Failed { failure: no_network() }, Some(Done::Failed(attempt)))
            }
            Work::Build(order) => {
                let mut artifacts = Vec::new();
                for target in &order.targets {
                    artifacts.push(upload(drone, attempt, target).await?);
                }
                (Outcome::Built { artifacts }, Some(Done::Received(attempt)))
            }
        };
        beat(drone, vec![AttemptStatus { attempt, phase: Phase::Uploading, stuck: None, made_from: None }])
            .await?;
        drone.report(attempt, &ReportRequest::new(outcome, Usage::default())).await?;
        if matches!(done, Some(Done::Received(_))) {
            self.received += 1;
        }
        if self.received == PACKAGES {
            (self.received, self.run, self.fails) = (0, self.run + 1, None);
            self.stage = Stage::Profile(IdempotencyKey::random()?);
        } else {
            self.claim_next()?;
        }
        Ok(done)
    }

    /// A plan whose packages were never built, so that nothing is taken over.
    fn plan(&self) -> swarm_common::wire::plan::PlanReport {
        let mut packages = [pebble(), pebble_at("1.10", "0")];
        // As what `package` makes has none.
        packages[0].use_flags.clear();
        for package in &mut packages {
            package.inputs = Digest::of(format!("{} {} {}", self.number, self.run, package.cpv).as_bytes());
        }
        plan_of(&packages)
    }

    fn claim_next(&mut self) -> Result<(), ClientError> {
        self.stage = Stage::Claim(IdempotencyKey::random()?.to_string());
        Ok(())
    }
}

fn profile(number: usize, run: usize) -> Name {
    name(&format!("farm-{number}-{run}"))
}

async fn beat(drone: &Client, attempts: Vec<AttemptStatus>) -> Result<(), ClientError> {
    let (vitals, boot_id) = (nothing_free(), "b".to_owned());
    let request =
        HeartbeatRequest { vitals, attempts, draining: false, boot_id, facts: None, highest_attempt: None };
    drone.heartbeat(&request).await.map(drop)
}

/// A failure that is nobody's fault, and so has no consequence but another attempt.
fn no_network() -> Failure {
    Failure {
        class: FailureClass::Infra,
        cause: None,
        phase: Phase::Fetching,
        signature: "no network".into(),
        message: "no network".into(),
    }
}

/// Uploads a file in two pieces, from where the orchestrator stands.
async fn upload(drone: &Client, attempt: AttemptId, target: &Target) -> Result<Digest, ClientError> {
    let bytes = Bytes::from(package(target).map_err(|e| ClientError::Local(e.to_string()))?);
    let (digest, half) = (Digest::of(&bytes), bytes.len() / 2);
    let request = UploadRequest { digest, size: bytes.len() as u64, target: target.id().to_owned() };
    let mut status = drone.begin_upload(attempt, &request).await?;
    while !status.verified {
        let at = usize::try_from(status.offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = if at < half { half } else { bytes.len() };
        status = drone.upload_piece(attempt, digest, status.offset, bytes.slice(at..end)).await?;
    }
    Ok(digest)
}

/// What Portage built of this version, with the build id that is asked for.
fn package(target: &Target) -> anyhow::Result<Vec<u8>> {
    let model = if target.portage().unwrap().cpv == pebble().cpv {
        "pebble-1.2-2.gpkg.tar"
    } else {
        "pebble-1.10-1.gpkg.tar"
    };
    let mold = Mold::of(model)?;
    let made = tempfile::NamedTempFile::new()?;
    let (id, directory) = (
        target.portage().unwrap().build_id.to_string(),
        format!("{}-{}", target.portage().unwrap().cpv.pf(), target.portage().unwrap().build_id),
    );
    let mut image = std::io::Cursor::new(&mold.image);
    mold.cast(made.path(), &directory, &[("BUILD_ID", &id)], &mut image)?;
    Ok(std::fs::read(made.path())?)
}
