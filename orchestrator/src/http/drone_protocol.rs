//! The requests of a drone at work: claim, heartbeat, sign-off.

use super::{
    auth::Drone,
    body::read_drones_json,
    bounds::{self, DRONE_REASON},
    problem::ApiError,
    route::{Role, Route},
};
use crate::{app::App, engine::EngineError, serve};
use axum::{Json, body::Body, extract::State, http::Method};
use std::sync::Arc;
use swarm_common::wire::drone::*;
use swarm_core::{Command, Refusal, Reply, text};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/claim", Role::Drone, "Request work and wait for it", claim)
            .takes::<ClaimRequest>()
            .gives::<ClaimReply>(),
        Route::new(
            Method::POST,
            "/heartbeat",
            Role::Drone,
            "Renew leases and report phases and load",
            heartbeat,
        )
        .takes::<HeartbeatRequest>()
        .gives::<HeartbeatReply>(),
        Route::new(Method::POST, "/sign-off", Role::Drone, "Sign off and return unfinished work", sign_off)
            .takes::<SignOffRequest>(),
    ]
}

async fn claim(
    State(app): State<Arc<App>>,
    Drone(drone): Drone,
    body: Body,
) -> Result<Json<ClaimReply>, ApiError> {
    let request: ClaimRequest = read_drones_json(body, app.config.limits.body_idle()).await?;
    if request.key.is_empty() {
        return Err(ApiError::Unprocessable("a claim requires a key".into()));
    }
    bounds::CLAIM_KEY.check(request.key.len())?;
    let mut reply = tokio::select! {
        reply = app.engine.claim(drone, request) => reply?,
        () = app.stopping.cancelled() => {
            ClaimReply { assignment: None, reason: Some("orchestrator is stopping".into()) }
        }
    };
    if let Some(assignment) = &mut reply.assignment {
        assignment.binhost = serve::path_of_run(&assignment.profile, assignment.run);
        // The dependencies of the build were received before it was assigned, so the drone finds them once
        // the index includes everything received so far.
        let seq = app.engine.last_indexed();
        if !app.published.reached(seq, app.config.limits.publish_wait()).await {
            tracing::warn!(attempt = %assignment.attempt, seq, "the index is outdated; a dependency may be \
                missing");
        }
    }
    Ok(Json(reply))
}

async fn heartbeat(
    State(app): State<Arc<App>>,
    Drone(drone): Drone,
    body: Body,
) -> Result<Json<HeartbeatReply>, ApiError> {
    let mut request: HeartbeatRequest = read_drones_json(body, app.config.limits.body_idle()).await?;
    request.boot_id = shortened(request.boot_id);
    bounds::ATTEMPTS.check(request.attempts.len())?;
    if let Some(facts) = &request.facts {
        super::enrol::check(facts)?;
    }
    match app.engine.submit(Command::Heartbeat { drone, request }, None).await {
        Ok(Reply::Heartbeat(reply)) => Ok(Json(reply)),
        Ok(other) => Err(ApiError::unexpected(&other)),
        Err(error) => {
            if let EngineError::Refused(
                Refusal::OtherMachine { name, sign } | Refusal::EarlierBoot { name, sign, .. },
            ) = &error
            {
                let what = text::clone_sign(name, sign);
                tracing::warn!(%name, what, "another machine seems to use the credential of this drone and \
                    was rejected");
                app.engine.submit(Command::NoteClone { drone, sign: sign.clone() }, None).await?;
            }
            Err(error.into())
        }
    }
}

async fn sign_off(State(app): State<Arc<App>>, Drone(drone): Drone, body: Body) -> Result<(), ApiError> {
    let request: SignOffRequest = read_drones_json(body, app.config.limits.body_idle()).await?;
    app.engine.submit(Command::SignOff { drone, reason: shortened(request.reason) }, None).await?;
    Ok(())
}

/// Truncates a drone's text to the length that the journal keeps.
pub(super) fn shortened(text: String) -> String {
    if text.chars().count() <= DRONE_REASON { text } else { text.chars().take(DRONE_REASON).collect() }
}
