//! Explains the state of a package.

use super::{
    problem::ApiError,
    route::{Role, Route},
};
use crate::app::App;
use axum::{
    Json,
    extract::{Path, Query, State},
    http::Method,
};
use serde::Deserialize;
use std::sync::Arc;
use swarm_common::{name::Name, wire::view::WhyView};
use swarm_core::view::{self, FindError};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::GET,
            "/why/{*query}",
            Role::Admin,
            "Explain a package's state, by ID, name, category/name or category/name-version",
            why,
        )
        .queries(&[("profile", "search only the runs of this profile")])
        .gives::<WhyView>(),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    profile: Option<Name>,
}

async fn why(
    State(app): State<Arc<App>>,
    Path(query): Path<String>,
    Query(search): Query<Search>,
) -> Result<Json<WhyView>, ApiError> {
    let now = app.engine.now();
    let found = app.engine.read(|swarm| {
        let id = view::find(swarm, &query, search.profile.as_ref())?;
        view::why(swarm, now, id).ok_or(FindError::Unknown(query.clone()))
    });
    found.map(Json).map_err(|error| match &error {
        FindError::Unknown(_) | FindError::Refused(_) => ApiError::Absent(error.to_string()),
        FindError::Ambiguous { .. } => ApiError::Ambiguous(error.to_string()),
    })
}
