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
    let all = app.concerns();
    let stops = all.iter().filter(|fact| view::stops(fact));
    let mut reasons: Vec<String> = stops.map(text::concern::what).collect();
    if app.stopping.is_cancelled() {
        reasons.push("orchestrator is stopping".into());
    }
    if reasons.is_empty() { Ok("ready\n") } else { Err(ApiError::Unavailable(reasons.join("; "))) }
}
