//! Runs: start, list, show, cancel.

use super::{
    auth::IdempotencyKey,
    body::read_json,
    list::List,
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
    id::RunId,
    wire::{
        admin::{StartRunReply, StartRunRequest},
        view::RunView,
    },
};
use swarm_core::{Command, Refusal, Reply, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/runs", Role::Admin, "Start a run", start)
            .takes::<StartRunRequest>()
            .gives::<StartRunReply>(),
        Route::new(Method::GET, "/runs", Role::Admin, "List runs, newest first", list)
            .gives_list::<RunView>()
            .paged(),
        Route::new(Method::GET, "/runs/{run}", Role::Admin, "Show a run", show).gives::<RunView>(),
        Route::new(Method::POST, "/runs/{run}/cancel", Role::Admin, "Cancel a run", cancel),
    ]
}

async fn start(
    State(app): State<Arc<App>>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<StartRunReply>, ApiError> {
    let request: StartRunRequest = read_json(body, app.config.limits.body_idle()).await?;
    let command = Command::StartRun { profile: request.profile, class: request.class };
    match app.engine.submit(command, key).await? {
        Reply::Run(run) => Ok(Json(StartRunReply { run })),
        other => Err(ApiError::unexpected(&other)),
    }
}

async fn list(State(app): State<Arc<App>>) -> List<RunView, RunId> {
    let now = app.engine.now();
    List(app.engine.read(|swarm| view::runs(swarm, now)), |run| run.id)
}

async fn show(State(app): State<Arc<App>>, Path(run): Path<RunId>) -> Result<Json<RunView>, ApiError> {
    let now = app.engine.now();
    let view = app.engine.read(|swarm| view::run(swarm, now, run));
    Ok(Json(view.ok_or(Refusal::UnknownRun(run))?))
}

async fn cancel(
    State(app): State<Arc<App>>,
    Path(run): Path<RunId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::CancelRun(run), key).await?;
    Ok(())
}
