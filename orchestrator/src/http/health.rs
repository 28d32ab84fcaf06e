//! Health, for supervisors and load balancers: `/healthz` says that the process answers,
//! `/readyz` whether it can do its work, and if not, why.

use super::problem::ApiError;
use crate::app::App;
use axum::{Router, extract::State, routing::get};
use std::sync::Arc;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    let mut troubles: Vec<String> = app.troubles().into_iter().map(|trouble| trouble.what).collect();
    if app.stopping.is_cancelled() {
        troubles.push("the orchestrator stops".into());
    }
    if let Err(error) = app.probe_store().await {
        troubles.push(error);
    }
    if troubles.is_empty() { Ok("ready\n") } else { Err(ApiError::Unavailable(troubles.join("; "))) }
}
