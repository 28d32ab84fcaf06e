//! Stored package files.

use super::{
    list::List,
    problem::ApiError,
    route::{Role, Route},
};
use crate::{app::App, store::Located};
use axum::{
    extract::{Path, Query, State},
    http::{Method, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use std::sync::Arc;
use swarm_common::{digest::Digest, name::Name, wire::artifact::Artifact};
use swarm_core::{Refusal, retention};
use tokio::task::spawn_blocking;

/// Media type of a package file.
const KIND: &str = "application/x-tar";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/artifacts", Role::Admin, "List stored package files", list)
            .queries(&[("profile", "of this profile")])
            .gives_list::<Artifact>()
            .paged(),
        Route::new(
            Method::GET,
            "/artifacts/{digest}",
            Role::AdminOrDrone,
            "Download a stored package file",
            get,
        )
        .gives_bytes(KIND),
    ]
}

/// Query parameters that select artifacts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    profile: Option<Name>,
}

async fn list(
    State(app): State<Arc<App>>,
    Query(filter): Query<Filter>,
) -> Result<List<Artifact, String>, ApiError> {
    let profile = filter.profile.as_ref();
    let found = app.engine.read(|swarm| match profile {
        Some(name) if !swarm.profiles.contains_key(name) => Err(Refusal::UnknownProfile(name.clone())),
        _ => Ok(retention::artifacts(swarm, profile)),
    });
    Ok(List(found?, |artifact| format!("{}-{}", artifact.attempt, artifact.digest)))
}

async fn get(State(app): State<Arc<App>>, Path(digest): Path<Digest>) -> Result<Response, ApiError> {
    let store = app.store.clone();
    let located = spawn_blocking(move || store.locate(digest)).await;
    let Located::File { file, len } = located.map_err(|error| ApiError::Internal(error.to_string()))??;
    let headers = [(header::CONTENT_TYPE, KIND.to_owned()), (header::CONTENT_LENGTH, len.to_string())];
    Ok((headers, super::file::body(file, 0, len)).into_response())
}
