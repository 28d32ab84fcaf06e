//! The swarm's status, and the OpenAPI document.

use super::{
    openapi,
    route::{Role, Route},
};
use crate::{app::App, engine::EngineError};
use axum::{Json, extract::State, http::Method};
use std::sync::Arc;
use swarm_common::wire::view::StatusView;
use swarm_core::{Swarm, view};
use swarm_daemon::version::VERSION;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/status", Role::Admin, "Show the state of the swarm", status)
            .gives::<StatusView>(),
        Route::new(Method::GET, "/openapi.json", Role::Anyone, "Show this document", document)
            .gives_bytes("application/json"),
    ]
}

async fn status(State(app): State<Arc<App>>) -> Json<StatusView> {
    let reported = app.concerns();
    let (now, wall) = (app.engine.now(), app.engine.wall());
    let look = |swarm: &Swarm| view::status(swarm, now, wall, VERSION, &reported);
    let status = app.engine.read(look);
    let standby = match app.engine.leads() {
        Err(EngineError::Standby { leader }) => Some(leader.unwrap_or_else(|| "another orchestrator".into())),
        _ => None,
    };
    Json(StatusView { passes: app.passes.list(), connections: app.limiter.view(), standby, ..status })
}

async fn document() -> Json<serde_json::Value> {
    Json(openapi::document())
}
