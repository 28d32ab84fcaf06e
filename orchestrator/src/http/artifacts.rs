//! The stored package files.

use super::{
    problem::ApiError,
    route::{Role, Route},
};
use crate::app::App;
use axum::{
    Json,
    extract::{Query, State},
    http::Method,
};
use serde::Deserialize;
use std::sync::Arc;
use swarm_common::{name::Name, wire::artifact::Artifact};
use swarm_core::{Refusal, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/artifacts", Role::Admin, "The stored package files", list)
            .queries(&[("profile", "of this profile")])
            .gives_list::<Artifact>(),
    ]
}

/// Which artifacts are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    profile: Option<Name>,
}

async fn list(
    State(app): State<Arc<App>>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Artifact>>, ApiError> {
    let profile = filter.profile.as_ref();
    let found = app.engine.read(|swarm| match profile {
        Some(name) if !swarm.profiles.contains_key(name) => Err(Refusal::UnknownProfile(name.clone())),
        _ => Ok(view::artifacts(swarm, profile)),
    });
    Ok(Json(found?))
}
