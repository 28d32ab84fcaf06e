//! Health, for supervisors and load balancers: `/healthz` says that the process answers,
//! `/readyz` whether it can do its work, and if not, why.

use super::problem::ApiError;
use crate::{app::App, checks};
use axum::{Router, extract::State, routing::get};
use std::sync::Arc;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    checks::look(&app).await;
    let stops = app.troubles().into_iter().filter(|trouble| trouble.stops);
    let mut troubles: Vec<String> = stops.map(|trouble| trouble.what).collect();
    if app.stopping.is_cancelled() {
        troubles.push("the orchestrator stops".into());
    }
    if troubles.is_empty() { Ok("ready\n") } else { Err(ApiError::Unavailable(troubles.join("; "))) }
}
