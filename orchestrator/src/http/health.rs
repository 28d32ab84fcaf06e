//! Health checks for supervisors and load balancers: `/healthz` tells whether the process is alive, `/readyz`
//! whether it can work and, if not, why, and `/version` what is running.

use super::problem::ApiError;
use crate::app::App;
use axum::{Json, Router, extract::State, routing::get};
use std::sync::Arc;
use swarm_core::{text, view};
use swarm_daemon::version;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/version", get(|| async { Json(version::own()) }))
}

async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    let looked = app.checks.look().await;
    looked.map_err(|error| ApiError::Internal(error.to_string()))?;
    let all = app.troubles();
    let stops = all.iter().filter(|fact| view::stops(fact));
    let mut troubles: Vec<String> = stops.map(text::concern::what).collect();
    if app.stopping.is_cancelled() {
        troubles.push("orchestrator is stopping".into());
    }
    if troubles.is_empty() { Ok("ready\n") } else { Err(ApiError::Unavailable(troubles.join("; "))) }
}
