//! Notification sinks: their status, and a test message.

use super::route::{Role, Route};
use crate::app::App;
use axum::{Json, extract::State, http::Method};
use std::sync::Arc;
use swarm_common::wire::notify::{SinkTestView, SinkView};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/notify", Role::Admin, "List notification sinks and their state", list)
            .gives_list::<SinkView>(),
        Route::new(
            Method::POST,
            "/notify/test",
            Role::Admin,
            "Send a test message to every notification \
             sink",
            test,
        )
        .gives_list::<SinkTestView>(),
    ]
}

async fn list(State(app): State<Arc<App>>) -> Json<Vec<SinkView>> {
    Json(app.notifier.list())
}

async fn test(State(app): State<Arc<App>>) -> Json<Vec<SinkTestView>> {
    Json(app.notifier.test().await)
}
