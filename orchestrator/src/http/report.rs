//! Results of attempts: plans, packages, bases, failures, and work that is handed back.
//!
//! A result that no longer counts is not an error of the drone: the answer says so, with the
//! reason, and the drone may forget the work.

use super::{
    auth::Drone,
    body::read_large_json,
    bounds::{self, MESSAGE, SIGNATURE},
    problem::ApiError,
    route::{Limit, Role, Route},
    uploads,
};
use crate::{app::App, engine::EngineError, intake::wanted::Wanted};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::Method,
};
use std::{collections::BTreeSet, sync::Arc};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    state::{FailureCause, FailureClass, Phase},
    wire::{
        artifact::Artifact,
        base::UsrMerge,
        drone::{Failure, Outcome, ReportReply, ReportRequest, Usage},
    },
};
use swarm_core::{
    Command, Refusal, Reply, base, channel,
    closure::{self, Surroundings},
    kept,
    state::Job,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::POST,
            "/attempts/{attempt}/report",
            Role::Drone,
            "Report how an attempt ended",
            report,
        )
        .takes::<ReportRequest>()
        .limit(Limit::Plan)
        .gives::<ReportReply>(),
    ]
}

async fn report(
    State(app): State<Arc<App>>,
    Drone(drone): Drone,
    Path(attempt): Path<AttemptId>,
    body: Body,
) -> Result<Json<ReportReply>, ApiError> {
    let ReportRequest { outcome, usage } = read_large_json(body, app.config.limits.body_idle()).await?;
    let answered = match outcome {
        Outcome::Planned { plan } => {
            submit(&app, Command::ReceivePlan { drone, attempt, plan: plan.into(), usage }).await
        }
        Outcome::Based => submit(&app, Command::ReceiveBase { drone, attempt, usage }).await,
        Outcome::Built { artifacts } => {
            bounds::FILES.check(artifacts.len())?;
            built(&app, drone, attempt, artifacts, usage).await
        }
        Outcome::Failed { failure } => {
            let failure = bounded(failure);
            submit(&app, Command::ReportFailure { drone, attempt, failure, usage }).await
        }
        Outcome::HandedBack { reason } => {
            let reason = super::duty::shortened(reason);
            submit(&app, Command::HandBack { drone, attempt, reason }).await
        }
    };
    match answered {
        Err(
            ApiError::Refused(stale @ Refusal::StaleAttempt { .. })
            | ApiError::Engine(EngineError::Refused(stale @ Refusal::StaleAttempt { .. })),
        ) => {
            app.intake.forget(attempt).await;
            Ok(Json(ReportReply { accepted: false, reason: stale.to_string() }))
        }
        other => other.map(Json),
    }
}

async fn submit(app: &App, command: Command) -> Result<ReportReply, ApiError> {
    match app.engine.submit(command, None).await? {
        Reply::Report(reply) => Ok(reply),
        other => Err(ApiError::unexpected(&other)),
    }
}

/// Signs and stores the built packages before the engine learns of them.
async fn built(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
    digests: Vec<Digest>,
    usage: Usage,
) -> Result<ReportReply, ApiError> {
    let _turn = app.intake.turn(attempt).await;
    let artifacts = match uploads::wanted(app, drone, attempt)? {
        None => Vec::new(),
        Some(Wanted { targets, .. }) if targets.len() != digests.len() => {
            let text = format!("expected {} files, but the report has {}", targets.len(), digests.len());
            return Err(ApiError::Unprocessable(text));
        }
        Some(wanted) => {
            let (build_time, is_nix) = (uploads::build_time(app, &wanted.targets), wanted.nix.is_some());
            let artifacts = match app.intake.artifacts(attempt, drone, digests, wanted, build_time).await {
                Ok(artifacts) => artifacts,
                Err(error) => return Err(uploads::refuse(app, drone, attempt, error).await?),
            };
            if is_nix {
                // Store paths share no files, find their libraries by store path, and have no index.
                return receive(app, drone, attempt, artifacts, usage).await;
            }
            let (around, beside, usr) =
                app.engine.read(|swarm| match swarm.attempts.get(&attempt).map(|a| a.job) {
                    Some(Job::Build(id)) => (
                        closure::surroundings(swarm, id),
                        channel::beside(swarm, id),
                        base::usr(swarm, id, drone),
                    ),
                    _ => (Surroundings::default(), BTreeSet::new(), UsrMerge::default()),
                });
            if let Some(message) = app.intake.unprovided(&artifacts, around).await? {
                let cause = Some(FailureCause::SonameMissing);
                return fail(app, drone, attempt, unfit(cause, message.clone(), message), usage).await;
            }
            let limit = app.config.limits.index_size.bytes();
            if let Some(message) = app.intake.breaks_index(&artifacts, beside, limit).await? {
                // A fixed text, so that the signature does not depend on the sizes.
                let signature = "its metadata does not fit into the index of its profile".to_owned();
                return fail(app, drone, attempt, unfit(None, signature, message), usage).await;
            }
            let known = |wanted: &dyn Fn(Digest) -> bool| {
                app.engine.read(|swarm| kept::artifacts_among(swarm, wanted))
            };
            let collisions = app.intake.collisions(drone, &artifacts, usr, known).await?;
            if !collisions.is_empty() {
                app.engine.submit(Command::NoteCollisions(collisions), None).await?;
            }
            artifacts
        }
    };
    receive(app, drone, attempt, artifacts, usage).await
}

async fn receive(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
    artifacts: Vec<Artifact>,
    usage: Usage,
) -> Result<ReportReply, ApiError> {
    let reply = submit(app, Command::ReceivePackage { drone, attempt, artifacts, usage }).await?;
    app.intake.forget(attempt).await;
    Ok(reply)
}

/// The failure for a valid package that cannot be published.
fn unfit(cause: Option<FailureCause>, signature: String, message: String) -> Failure {
    Failure { class: FailureClass::Package, cause, phase: Phase::Verifying, signature, message }
}

/// Reports to the engine that a package cannot be published.
async fn fail(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
    failure: Failure,
    usage: Usage,
) -> Result<ReportReply, ApiError> {
    let reason = failure.message.clone();
    tracing::warn!(%attempt, %drone, %reason, "a package was rejected");
    submit(app, Command::ReportFailure { drone, attempt, failure: bounded(failure), usage }).await?;
    app.intake.forget(attempt).await;
    Ok(ReportReply { accepted: false, reason })
}

/// Truncates a failure's texts to what the journal keeps.
fn bounded(mut failure: Failure) -> Failure {
    if failure.signature.chars().count() > SIGNATURE {
        failure.signature = failure.signature.chars().take(SIGNATURE).collect();
    }
    if failure.message.len() > MESSAGE {
        let end = (0..=MESSAGE).rev().find(|&at| failure.message.is_char_boundary(at));
        failure.message.truncate(end.unwrap_or(0));
    }
    failure
}
