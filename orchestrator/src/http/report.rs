//! Results of attempts: plans, packages, bases, failures, and returned work.
//!
//! A result that no longer counts is not an error of the drone: the response says so and gives the reason,
//! and the drone may forget the work.

use super::{
    auth::Drone,
    body::read_large_json,
    bounds::{self, MESSAGE, SIGNATURE},
    derivations,
    problem::ApiError,
    route::{Limit, Role, Route},
    uploads,
};
use crate::{
    app::App,
    engine::EngineError,
    intake::{Fit, expected_upload::ExpectedUpload},
    nix::available,
    store::StoreError,
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::Method,
};
use std::sync::Arc;
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    wire::{
        artifact::Artifact,
        drone::{Failure, Outcome, ReportReply, ReportRequest, Usage},
    },
};
use swarm_core::{
    Command, Refusal, Reply,
    fence::{Fence, fence},
    state::Job,
};
use tokio::task::spawn_blocking;

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
    let ReportRequest { outcome, references, usage } =
        read_large_json(body, app.config.limits.body_idle()).await?;
    let answered = match outcome {
        Outcome::Planned { mut plan } => {
            if let Some(snapshot) = planned_from(&app, drone, attempt) {
                let checked = available::check(&app.upstreams, snapshot, &mut plan).await;
                checked.map_err(ApiError::Unavailable)?;
            }
            let shared = app.clone();
            let plan = spawn_blocking(move || {
                derivations::check(&*shared.store, &mut plan.derivations)?;
                Ok::<_, StoreError>(plan)
            });
            let plan = plan.await.map_err(|error| ApiError::Internal(error.to_string()))??;
            submit(&app, Command::ReceivePlan { drone, attempt, plan: plan.into(), usage }).await
        }
        Outcome::Based => submit(&app, Command::ReceiveBase { drone, attempt, usage }).await,
        Outcome::Built { artifacts } => {
            bounds::FILES.check(artifacts.len())?;
            bounds::REFERENCES.check(references.iter().map(Vec::len).sum())?;
            built(&app, drone, attempt, (artifacts, references), usage).await
        }
        Outcome::Failed { failure } => {
            let failure = bounded(failure);
            submit(&app, Command::ReportFailure { drone, attempt, failure, usage }).await
        }
        Outcome::HandedBack { reason } => {
            let reason = super::drone_protocol::shortened(reason);
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

/// The snapshot of a plan attempt, if the attempt may still report.
fn planned_from(app: &App, drone: DroneId, attempt: AttemptId) -> Option<Digest> {
    app.engine.read(|swarm| {
        let Ok(Fence::Open) = fence(swarm, drone, attempt) else { return None };
        match swarm.attempts.get(&attempt)?.job {
            Job::Plan(run) => swarm.runs.get(&run).map(|run| run.snapshot),
            _ => None,
        }
    })
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
    (digests, references): (Vec<Digest>, Vec<Vec<String>>),
    usage: Usage,
) -> Result<ReportReply, ApiError> {
    let _turn = app.intake.turn(attempt).await;
    let artifacts = match uploads::expected_upload(app, drone, attempt)? {
        None => Vec::new(),
        Some(ExpectedUpload { targets, .. }) if targets.len() != digests.len() => {
            let text = format!("expected {} files, but the report has {}", targets.len(), digests.len());
            return Err(ApiError::Unprocessable(text));
        }
        Some(expected) => {
            let expected = ExpectedUpload { references, ..expected };
            let (build_time, builder) =
                (uploads::build_time(app, &expected.targets), app.intake.of(&expected));
            let taken = builder.clone().artifacts(attempt, drone, digests, expected, build_time).await;
            let artifacts = match taken {
                Ok(artifacts) => artifacts,
                Err(error) => return Err(uploads::refuse(app, drone, attempt, error).await?),
            };
            let Fit { failure, collisions } = builder.fit(attempt, drone, artifacts.clone()).await?;
            if let Some(failure) = failure {
                return fail(app, drone, attempt, failure, usage).await;
            }
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
