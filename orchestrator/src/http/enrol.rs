//! Enrolment: single-use tokens, and the enrolment itself.
//!
//! Tokens and credentials leave this file only in the answer; all other code gets their digests.

use super::{
    auth::IdempotencyKey,
    body::{read_drones_json, read_json},
    bounds,
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
use swarm_core::{Command, Refusal, Reply};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::POST,
            "/enrol-tokens",
            Role::Admin,
            "Create an enrolment token for one machine",
            make_token,
        )
        .takes::<EnrolTokenRequest>()
        .gives::<EnrolTokenReply>(),
        Route::new(Method::POST, "/enrol", Role::Anyone, "Enrol a machine as a drone", enrol)
            .takes::<EnrolRequest>()
            .gives::<EnrolReply>(),
    ]
}

async fn make_token(
    State(app): State<Arc<App>>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<EnrolTokenReply>, ApiError> {
    let request: EnrolTokenRequest = read_json(body, app.config.limits.body_idle()).await?;
    if request.valid_ms == 0 {
        return Err(ApiError::Unprocessable("the token's validity must be longer than zero".into()));
    }
    let days = request.valid_ms.div_ceil(24 * 3600 * 1000);
    bounds::TOKEN_DAYS.check(usize::try_from(days).unwrap_or(usize::MAX))?;
    // The engine stores the answer without the token, so a repeated request must derive the same token again.
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

/// Checks that a machine's facts are within their limits, individually and in total.
pub(super) fn check(facts: &DroneFacts) -> Result<(), ApiError> {
    // No `..` here, so that the compiler demands a limit for every new field.
    let DroneFacts {
        machine_id,
        boot_id,
        cores: _,
        memory_bytes: _,
        version,
        profiles,
        cpu,
        toolchain,
        images,
        has_packages: _,
        usr: _,
        host: _,
        nix,
        nix_machine,
        slots: _,
        build_memory_bytes: _,
        lacks,
        unusable,
    } = facts;
    let nix_machine = nix_machine.as_deref();
    let names = nix_machine.map(|machine| [&machine.systems, &machine.features]);
    let lists = names.into_iter().flatten().map(|list| (bounds::NIX_NAMES, bounds::FACT, list));
    let lists = lists.chain([lacks, unusable].map(|list| (bounds::MISSING, bounds::MISSING_TEXT, list)));
    for (most, longest, list) in lists {
        most.check(list.len())?;
        list.iter().try_for_each(|text| longest.check_text(text))?;
    }
    let texts = [machine_id, boot_id, version].into_iter().chain(images).chain(nix);
    texts.into_iter().try_for_each(|text| bounds::FACT.check_text(text))?;
    bounds::PROFILES.check(profiles.len())?;
    if !cpu.as_ref().is_none_or(Cpu::is_bounded) {
        return Err(bounds::CPU.broken());
    }
    if !toolchain.as_deref().is_none_or(Toolchain::is_bounded) {
        return Err(bounds::FACT.broken());
    }
    let kept = serde_json::to_vec(facts).map_err(|error| ApiError::Internal(error.to_string()))?;
    bounds::FACTS.check(kept.len())
}

async fn enrol(State(app): State<Arc<App>>, body: Body) -> Result<Json<EnrolReply>, ApiError> {
    let request: EnrolRequest = read_drones_json(body, app.config.limits.body_idle()).await?;
    bounds::TOKEN.check(request.token.len())?;
    check(&request.facts)?;
    if request.token.trim().is_empty() && request.credential_hash.is_none() {
        return Err(ApiError::Refused(Refusal::BadEnrolToken));
    }
    let (credential, credential_hash) = match request.credential_hash {
        Some(hash) => (None, hash),
        None => {
            let made = random::secret("drone-").map_err(|e| ApiError::Internal(e.to_string()))?;
            let hash = Digest::of(made.as_bytes());
            (Some(made), hash)
        }
    };
    let command = Command::EnrolDrone {
        token_hash: Digest::of(request.token.trim().as_bytes()),
        name: request.name,
        credential_hash,
        facts: request.facts,
    };
    match app.engine.submit(command, None).await? {
        Reply::Drone(drone) => Ok(Json(EnrolReply { drone, credential })),
        other => Err(ApiError::unexpected(&other)),
    }
}
