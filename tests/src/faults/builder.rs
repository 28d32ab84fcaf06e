//! A drone that fails once, then builds, uploads in pieces and reports, run after run. If the orchestrator is
//! killed before it answers, the drone repeats the same request. It uploads packages that the real Portage
//! built, with the requested build IDs.

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

/// Maximum number of profiles that a drone may name. A test rarely has time for more runs.
const RUNS: usize = 64;

const PACKAGES: usize = 2;

/// The drone and its progress.
pub struct Builder {
    number: usize,
    run: usize,
    snapshot: Digest,
    credential: String,
    stage: Stage,
    /// The attempt of this run that must fail.
    fails: Option<AttemptId>,
    received: usize,
}

/// The next request. It is kept until it is answered.
enum Stage {
    Profile(IdempotencyKey),
    Run(IdempotencyKey),
    Claim(String),
    Hold(AttemptId, Work),
}

pub enum Done {
    Failed(AttemptId),
    /// The result of this attempt was received.
    Received(AttemptId),
}

/// Whether a profile belongs to such a drone.
#[must_use]
pub fn is_builders(profile: &Name) -> bool {
    profile.as_str().starts_with("farm-")
}

impl Builder {
    /// Enrols a drone that builds from this snapshot.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
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

    /// Takes the next step.
    ///
    /// # Errors
    /// There is no answer; take the same step again.
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

    /// A plan of packages that were never built, so that none is reused.
    fn plan(&self) -> swarm_common::wire::plan::PlanReport {
        let mut packages = [pebble(), pebble_at("1.10", "0")];
        // The packages that `package` returns have no USE flags.
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

/// A failure that blames nobody, so its only consequence is another attempt.
fn no_network() -> Failure {
    Failure {
        class: FailureClass::Infra,
        cause: None,
        phase: Phase::Fetching,
        signature: "no network".into(),
        message: "no network".into(),
    }
}

/// Uploads a file in two pieces, starting at the orchestrator's offset.
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

/// The package of this version that Portage built, with the requested build ID.
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
