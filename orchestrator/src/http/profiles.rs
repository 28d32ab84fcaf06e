//! Profiles: create, list, show, remove.

use super::{
    auth::Once,
    body::read_json,
    bounds,
    problem::ApiError,
    route::{Role, Route},
};
use crate::app::App;
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::Method,
};
use std::sync::Arc;
use swarm_common::{
    name::Name,
    wire::{admin::ProfileRequest, view::ProfileView},
};
use swarm_core::{Command, Refusal, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/profiles", Role::Admin, "List profiles", list).gives_list::<ProfileView>(),
        Route::new(Method::GET, "/profiles/{name}", Role::Admin, "Show a profile", show)
            .gives::<ProfileView>(),
        Route::new(
            Method::PUT,
            "/profiles/{name}",
            Role::Admin,
            "Create a profile or pin it to a new \
             snapshot",
            put,
        )
        .takes::<ProfileRequest>()
        .gives::<ProfileView>(),
        Route::new(Method::DELETE, "/profiles/{name}", Role::Admin, "Remove a profile", remove),
    ]
}

async fn list(State(app): State<Arc<App>>) -> Json<Vec<ProfileView>> {
    let all = app.engine.read(|s| s.profiles.iter().map(|(name, p)| view::profile(name, p)).collect());
    Json(all)
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<Name>) -> Result<Json<ProfileView>, ApiError> {
    let found = app.engine.read(|s| s.profiles.get(&name).map(|p| view::profile(&name, p)));
    Ok(Json(found.ok_or(Refusal::UnknownProfile(name))?))
}

async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    Once(key): Once,
    body: Body,
) -> Result<Json<ProfileView>, ApiError> {
    let request: ProfileRequest = read_json(body, app.config.limits.body_idle()).await?;
    bounds::SOURCE.check_text(&request.source)?;
    if !request.cpu.is_bounded() {
        return Err(bounds::CPU.broken());
    }
    let digest = request.snapshot;
    if !app.snapshots.has(digest).await? {
        let text = format!(
            "snapshot {digest} is not stored: upload it first with PUT \
             /api/v1/snapshots/{digest}"
        );
        return Err(ApiError::Unprocessable(text));
    }
    app.engine.submit(Command::PutProfile { name: name.clone(), request }, key).await?;
    show(State(app), Path(name)).await
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    Once(key): Once,
) -> Result<(), ApiError> {
    app.engine.submit(Command::RemoveProfile(name), key).await?;
    Ok(())
}
