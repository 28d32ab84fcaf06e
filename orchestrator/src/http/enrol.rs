//! How machines become drones: tokens for one enrolment each, and the enrolment.
//!
//! Tokens and credentials leave this file once, in the answer. Only digests go on.

use super::{
    auth::Once,
    body::read_json,
    problem::ApiError,
    route::{Role, Route},
};
use crate::{app::App, random};
use axum::{Json, body::Body, extract::State, http::Method};
use std::sync::Arc;
use swarm_common::{
    digest::Digest,
    wire::{
        admin::{EnrolTokenReply, EnrolTokenRequest},
        cpu::Cpu,
        drone::{DroneFacts, EnrolReply, EnrolRequest},
        plan::Toolchain,
    },
};
use swarm_core::{Command, Reply};

/// A token may not outlive this, so that a forgotten one is no door for ever.
const LONGEST_VALID_MS: u64 = 30 * 24 * 3600 * 1000;

/// Characters of what a drone says about its machine.
const LONGEST_FACT: usize = 128;

/// Profiles that a drone may name.
const MOST_PROFILES: usize = 64;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::POST,
            "/enrol-tokens",
            Role::Admin,
            "Make a token with which one machine may enrol",
            make_token,
        )
        .takes::<EnrolTokenRequest>()
        .gives::<EnrolTokenReply>(),
        Route::new(Method::POST, "/enrol", Role::Anyone, "Become a drone", enrol)
            .takes::<EnrolRequest>()
            .gives::<EnrolReply>(),
    ]
}

async fn make_token(
    State(app): State<Arc<App>>,
    Once(key): Once,
    body: Body,
) -> Result<Json<EnrolTokenReply>, ApiError> {
    let request: EnrolTokenRequest = read_json(body, app.config.limits.body_idle()).await?;
    if request.valid_ms == 0 || request.valid_ms > LONGEST_VALID_MS {
        let days = LONGEST_VALID_MS / (24 * 3600 * 1000);
        return Err(ApiError::Unprocessable(format!("a token is valid for 1 ms to {days} days")));
    }
    // The engine remembers that it answered, but not the token. So a repeated request must
    // make the same one again.
    let token = match &key {
        Some(key) => random::derived("enrol-", app.admin_token.expose(), key),
        None => random::secret("enrol-").map_err(|e| ApiError::Internal(e.to_string()))?,
    };
    let command = Command::IssueEnrolToken {
        token_hash: Digest::of(token.as_bytes()),
        valid_ms: request.valid_ms,
        approved: request.approved,
    };
    app.engine.submit(command, key).await?;
    Ok(Json(EnrolTokenReply { token }))
}

/// Whether a machine's facts are within bounds.
pub(super) fn check(facts: &DroneFacts) -> Result<(), ApiError> {
    let images = facts.images.as_deref().unwrap_or_default();
    let longest = [&facts.machine_id, &facts.boot_id, &facts.version].map(|text| text.len());
    let bounded = facts.cpu.as_ref().is_none_or(Cpu::is_bounded)
        && facts.toolchain.as_deref().is_none_or(Toolchain::is_bounded);
    if longest.iter().chain([&images.len()]).any(|&n| n > LONGEST_FACT)
        || facts.profiles.len() > MOST_PROFILES
        || !bounded
    {
        let text =
            format!("a machine's facts have at most {LONGEST_FACT} characters and {MOST_PROFILES} profiles");
        return Err(ApiError::Unprocessable(text));
    }
    Ok(())
}

async fn enrol(State(app): State<Arc<App>>, body: Body) -> Result<Json<EnrolReply>, ApiError> {
    let request: EnrolRequest = read_json(body, app.config.limits.body_idle()).await?;
    check(&request.facts)?;
    let credential = random::secret("drone-").map_err(|e| ApiError::Internal(e.to_string()))?;
    let command = Command::EnrolDrone {
        token_hash: Digest::of(request.token.trim().as_bytes()),
        name: request.name,
        credential_hash: Digest::of(credential.as_bytes()),
        facts: request.facts,
    };
    match app.engine.submit(command, None).await? {
        Reply::Drone(drone) => Ok(Json(EnrolReply { drone, credential })),
        other => Err(ApiError::unexpected(&other)),
    }
}
