//! Runs one attempt from assignment to report: snapshot, build, log, spool.

use crate::{
    bases::Bases,
    builder::{self, BuildCaches, BuildContext, BuildEnd, BuildUpdate},
    buildroot::layers::Layer,
    config::BuilderConfig,
    jobserver::{Jobserver, SlotGuard},
    logs::{self, LogFile},
    snapshots::Snapshots,
    spool::Spool,
};
use std::{path::PathBuf, sync::Arc};
use swarm_client::Client;
use swarm_common::{
    id::AttemptId,
    state::{FailureClass, Phase},
    wire::{base::Base, drone::*},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The resources that all attempts share.
#[derive(Debug)]
pub struct BuildResources {
    pub builder: BuilderConfig,
    /// The caches of package files, layers and bases.
    pub caches: BuildCaches,
    /// Directories of the drone that builds must not see.
    pub hidden: Vec<PathBuf>,
    /// Shares the processors among builds.
    pub jobserver: Option<Jobserver>,
    pub work_dir: PathBuf,
    /// The cache of unpacked images.
    pub bases: Bases,
    /// The cache of unpacked snapshots.
    pub snapshots: Snapshots,
    pub spool: Spool,
}

impl BuildResources {
    /// The directory of an attempt's build root.
    fn attempt_dir(&self, attempt: AttemptId) -> PathBuf {
        self.work_dir.join(attempt.to_string())
    }

    /// The build's slot of the jobserver. A build that was killed for its memory use is assigned a limited
    /// number of jobs and gets no tokens.
    fn slot_guard(&self, assignment: &Assignment) -> Option<SlotGuard> {
        let jobserver = self.jobserver.as_ref().filter(|_| assignment.limits.jobs == 0)?;
        let entered = jobserver.enter();
        entered.inspect_err(|error| tracing::warn!(%error, "a build runs without the jobserver")).ok()?
    }
}

/// Runs an attempt and returns its report, or `None` if it was cancelled. The caller must call
/// [`clean`] afterwards.
pub async fn attempt(
    resources: Arc<BuildResources>,
    client: Client,
    assignment: Assignment,
    phases: mpsc::Sender<(AttemptId, Phase)>,
    cancel: CancellationToken,
) -> Option<ReportRequest> {
    let id = assignment.attempt;
    tracing::info!(attempt = %id, run = %assignment.run, what = %title(&assignment), "begins");
    if let Err(error) = resources.spool.begin(&assignment) {
        return Some(own_failure(Phase::Assigned, format!("cannot write to the spool: {error}")));
    }
    let fetched = tokio::select! {
        fetched = resources.snapshots.get(&client, assignment.snapshot) => fetched,
        () = cancel.cancelled() => return None,
    };
    // Held until the build has ended.
    let snapshot = match fetched {
        Ok(snapshot) => snapshot,
        Err(error) => return Some(failure(error.class(), Phase::Preparing, error.to_string())),
    };
    let base = tokio::select! {
        base = base(&resources, &client, &assignment.base) => base,
        () = cancel.cancelled() => return None,
    };
    // Held until the build has ended.
    let base = match base {
        Ok(base) => base,
        Err((class, why)) => return Some(failure(class, Phase::Preparing, why)),
    };
    let config = match &base {
        Some(base) => resources.builder.within(&base.path()),
        None => resources.builder.clone(),
    };
    let attempt_dir = resources.attempt_dir(id);
    if let Err(error) = tokio::fs::create_dir_all(&attempt_dir).await {
        return Some(own_failure(
            Phase::Preparing,
            format!("cannot create {}: {error}", attempt_dir.display()),
        ));
    }
    let guard = resources.slot_guard(&assignment);
    let context = BuildContext {
        attempt_dir,
        jobserver: guard.as_ref().map(|guard| guard.dir().to_owned()),
        caches: resources.caches.clone(),
        hidden: resources.hidden.clone(),
        config,
        assignment,
        snapshot: snapshot.path().to_owned(),
        snapshot_layers: snapshot.layers().to_vec(),
    };
    let build = Box::pin(build(&resources, &client, context, phases, cancel));
    let end = match guard {
        Some(guard) => guard.run(build).await,
        None => build.await,
    };
    match end {
        BuildEnd::Cancelled => None,
        BuildEnd::Failed { failure, usage } => {
            tracing::warn!(attempt = %id, class = %failure.class, error = failure.headline(), "the attempt failed");
            Some(ReportRequest::new(Outcome::Failed { failure }, usage))
        }
        BuildEnd::Planned { plan, usage } => Some(ReportRequest::new(Outcome::Planned { plan }, usage)),
        BuildEnd::Based { usage } => Some(ReportRequest::new(Outcome::Based, usage)),
        BuildEnd::Built { files, references, usage } => Some(match keep(&resources, id, files).await {
            Ok(artifacts) => ReportRequest { outcome: Outcome::Built { artifacts }, references, usage },
            Err(error) => {
                let what = format!("cannot spool the built package: {error}");
                own_failure(Phase::Packaging, what)
            }
        }),
    }
}

/// The image to build in; `None` for this machine's own root file system.
async fn base(
    resources: &BuildResources,
    client: &Client,
    base: &Base,
) -> Result<Option<Layer>, (FailureClass, String)> {
    let Base::Image { image, .. } = base else { return Ok(None) };
    if resources.builder.images().as_ref() != Some(&image.machine) {
        let why = format!(
            "this drone ({}, builder.root_kind = {}) cannot build in an image for {}",
            std::env::consts::ARCH,
            resources.builder.root_kind.word(),
            image.machine
        );
        return Err((FailureClass::Drone, why));
    }
    let found = resources.bases.get(client, image).await;
    found.map(Some).map_err(|error| (error.class(), error.to_string()))
}

/// Removes the build root of an attempt. The result is in the spool, and the rest only takes disk space, so
/// this is done as soon as the report was handed to the agent.
pub async fn clean(resources: Arc<BuildResources>, attempt: AttemptId) {
    match tokio::fs::remove_dir_all(resources.attempt_dir(attempt)).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%attempt, %error, "cannot remove the build root");
        }
        _ => {}
    }
}

/// Runs the build and forwards its log and phases.
async fn build(
    resources: &BuildResources,
    client: &Client,
    context: BuildContext,
    phases: mpsc::Sender<(AttemptId, Phase)>,
    cancel: CancellationToken,
) -> BuildEnd {
    let id = context.assignment.attempt;
    let (notes, mut incoming) = mpsc::channel(256);
    let log = LogFile::create(&resources.spool.log(id));
    let mut log = log.inspect_err(|error| tracing::warn!(attempt = %id, %error, "cannot write the log")).ok();
    let follow = log.as_ref().map(|log| log.follow(client.clone(), id));
    let take = async move {
        while let Some(note) = incoming.recv().await {
            match note {
                // The receiver is only gone when the process exits.
                BuildUpdate::Phase(phase) => drop(phases.send((id, phase)).await),
                BuildUpdate::Log(bytes) => {
                    if let Some(Err(error)) = log.as_mut().map(|log| log.write(&bytes)) {
                        tracing::warn!(attempt = %id, %error, "the log ends here");
                        log = None;
                    }
                }
            }
        }
    };
    let work = async { tokio::join!(Box::pin(builder::run(context, notes, cancel)), take).0 };
    logs::beside(follow, work).await
}

async fn keep(
    resources: &BuildResources,
    id: AttemptId,
    files: Vec<PathBuf>,
) -> std::io::Result<Vec<swarm_common::digest::Digest>> {
    let (spool, artifacts) = (resources.spool.clone(), resources.caches.artifacts.clone());
    let keep = move || {
        let keep = |file: &PathBuf| {
            let kept = spool.keep(id, file)?;
            // Dependent packages are probably built on this drone too.
            if let Err(error) = artifacts.adopt(&kept.path, kept.digest) {
                tracing::warn!(attempt = %id, %error, "cannot keep the built package; it is downloaded \
                    when needed");
            }
            Ok(kept.digest)
        };
        files.iter().map(keep).collect()
    };
    tokio::task::spawn_blocking(keep).await.map_err(std::io::Error::other)?
}

fn title(assignment: &Assignment) -> String {
    match &assignment.work {
        Work::Plan => format!("plan of {}", assignment.profile),
        Work::Base => format!("base of {} after {}", assignment.profile, assignment.run),
        Work::Build(order) => {
            let mut names: Vec<_> = order.targets.iter().map(Target::title).collect();
            names.dedup();
            names.join(" + ")
        }
    }
}

fn own_failure(phase: Phase, what: String) -> ReportRequest {
    failure(FailureClass::Drone, phase, what)
}

fn failure(class: FailureClass, phase: Phase, message: String) -> ReportRequest {
    let failure = builder::failure(class, phase, message);
    ReportRequest::new(Outcome::Failed { failure }, Usage::default())
}
