//! Authentication. Every route declares the role it needs ([`super::role::Role`]); credentials are
//! checked here and for `/metrics`.
//!
//! Digests are compared instead of secrets, so the time of a comparison reveals nothing useful.

use super::{bounds, problem::ApiError, role::Role};
use crate::{
    app::App,
    connection_limits::{ConnectionPermit, Full, Holder},
};
use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, header, request::Parts},
};
use std::sync::Arc;
use swarm_common::{digest::Digest, id::DroneId};
use swarm_core::Swarm;

/// The caller of a request, identified by its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Principal {
    /// Not checked: the route is open.
    Anyone,
    Admin,
    Drone(DroneId),
}

impl Principal {
    /// From now on, counts the request's connection as the caller's.
    pub(super) fn assign_connection(self, request: &Request) -> Result<(), ApiError> {
        let holder = match self {
            Self::Anyone => return Ok(()),
            Self::Admin => Holder::Admin,
            Self::Drone(drone) => Holder::Drone(drone),
        };
        match request.extensions().get::<Arc<ConnectionPermit>>() {
            Some(permit) => permit.proved(holder).map_err(|Full(caller)| ApiError::NoRoom(caller)),
            None => Ok(()),
        }
    }
}

/// Determines the caller and checks that it has the role.
pub(super) fn authenticate(app: &App, role: Role, request: &mut Request) -> Result<Principal, ApiError> {
    let principal = if role == Role::Anyone { Principal::Anyone } else { principal(app, request.headers())? };
    match (role, principal) {
        (Role::Anyone, _) | (Role::Admin, Principal::Admin) | (Role::Drone, Principal::Drone(_)) => {}
        (Role::AdminOrDrone, Principal::Admin | Principal::Drone(_)) => {}
        (Role::Admin, _) => {
            return Err(ApiError::WrongRole("this requires the admin token, not a drone's credential"));
        }
        (Role::Drone | Role::AdminOrDrone, _) => {
            return Err(ApiError::WrongRole("this requires a drone's credential, not the admin token"));
        }
    }
    request.extensions_mut().insert(principal);
    Ok(principal)
}

fn principal(app: &App, headers: &HeaderMap) -> Result<Principal, ApiError> {
    let value = headers.get(header::AUTHORIZATION).ok_or(ApiError::NoCredential)?;
    let (scheme, secret) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(ApiError::NoCredential)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::NoCredential);
    }
    let hash = Digest::of(secret.trim().as_bytes());
    if hash == app.admin {
        return Ok(Principal::Admin);
    }
    let drone = app.engine.drone_of_credential(&hash);
    match drone {
        Some(drone) => Ok(Principal::Drone(drone)),
        // A standby may not have read a new credential yet.
        None => Err(app.engine.leads().err().map_or_else(
            || {
                let removed = |swarm: &Swarm| swarm.removed.get(&hash).map(|(_, name)| name.clone());
                app.engine.read(removed).map_or(ApiError::UnknownCredential, ApiError::RemovedDrone)
            },
            ApiError::from,
        )),
    }
}

/// The calling drone, on routes for drones.
pub(super) struct Drone(pub(super) DroneId);

impl<S: Sync> FromRequestParts<S> for Drone {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Principal>() {
            Some(Principal::Drone(drone)) => Ok(Self(*drone)),
            _ => Err(ApiError::NoCredential),
        }
    }
}

/// The request's idempotency key, if it has one. It includes caller, method and path, so that one key never
/// matches two different requests.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let key = value.to_str().ok().filter(|key| !key.is_empty());
        let key =
            key.ok_or_else(|| ApiError::BadRequest("Idempotency-Key allows only visible characters".into()))?;
        bounds::IDEMPOTENCY_KEY.check(key.len())?;
        let principal = match parts.extensions.get::<Principal>() {
            Some(Principal::Drone(drone)) => drone.to_string(),
            Some(Principal::Admin) => "admin".to_owned(),
            Some(Principal::Anyone) | None => return Ok(Self(None)),
        };
        Ok(Self(Some(format!("{principal} {} {} {key}", parts.method, parts.uri.path()))))
    }
}
