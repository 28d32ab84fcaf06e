//! Explains the state of a package, and lists the attempts at it.

use super::{
    list::List,
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
use swarm_common::{
    id::AttemptId,
    name::Name,
    wire::{build::AttemptRow, view::WhyView},
};
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
        Route::new(
            Method::GET,
            "/history/{*query}",
            Role::Admin,
            "List the attempts at a package, by ID, name, category/name or category/name-version, the newest first",
            history,
        )
        .gives_list::<AttemptRow>().paged(),
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

async fn history(
    State(app): State<Arc<App>>,
    Path(query): Path<String>,
) -> Result<List<AttemptRow, AttemptId>, ApiError> {
    let rows = app.engine.read(|swarm| view::history(swarm, &query));
    if rows.is_empty() {
        let shown: String = query.chars().take(80).collect();
        return Err(ApiError::Absent(format!(
            "no attempt at `{shown}` is known: give an ID, name, category/name or category/name-version"
        )));
    }
    Ok(List(rows, |row| row.attempt))
}
