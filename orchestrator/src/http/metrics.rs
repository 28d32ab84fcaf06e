//! `/metrics` for Prometheus. Requires the metrics token, which allows nothing else, or the admin token. The
//! client's address is not considered: behind a proxy on this machine, every client would appear to be local.

use super::{auth::Principal, plain, problem::ApiError, route::Role};
use crate::{app::App, metrics};
use axum::{
    Router,
    extract::{Request, State},
    http::header,
    response::IntoResponse,
    routing::get,
};
use std::sync::Arc;
use swarm_common::digest::Digest;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(scrape))
}

async fn scrape(State(app): State<Arc<App>>, request: Request) -> Result<impl IntoResponse, ApiError> {
    plain::check(&app, Role::Admin, &request)?;
    let value = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let (scheme, token) = value.and_then(|v| v.split_once(' ')).ok_or(ApiError::NoCredential)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::NoCredential);
    }
    // Only digests are compared, so timing reveals nothing.
    let hash = Digest::of(token.trim().as_bytes());
    if hash != app.metrics_token && hash != app.admin {
        return Err(ApiError::UnknownCredential);
    }
    Principal::Admin.assign_connection(&request)?;
    Ok(([(header::CONTENT_TYPE, metrics::text::CONTENT_TYPE)], metrics::text(&app)))
}
