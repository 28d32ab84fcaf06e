//! The HTTP API below `/api/v1`, health checks, metrics and the binary package host.
//!
//! A handler reads its request, asks the engine, and writes the answer. It contains no rules and
//! does not write to the journal. Each resource has its own file. Shared parts: [`route`] declares routes,
//! [`crate::connection_limits`] limits connections, [`peer`] determines the client's address, [`plain`]
//! what needs TLS, [`auth`] the caller, [`list`] makes pages and entity tags; [`body`] and [`bounds`] limit
//! the input, and [`problem`] maps errors to answers.

mod archive;
mod artifacts;
mod audit;
mod auth;
mod bases;
mod binhost;
mod body;
mod bounds;
mod channels;
pub(crate) mod connection;
mod derivations;
mod drone_protocol;
mod drones;
mod enrol;
mod envelope;
mod events;
mod file;
mod health;
mod key;
mod linger;
mod list;
mod log;
mod metrics;
mod notify;
pub mod openapi;
mod packages;
mod peer;
mod plain;
mod problem;
mod profiles;
mod report;
mod role;
mod route;
mod runs;
mod schedules;
mod snapshots;
mod stall;
mod status;
mod uploads;
mod why;

pub(crate) use problem::ApiError;

use crate::app::App;
use axum::{
    Router,
    http::{HeaderName, StatusCode},
    middleware,
};
use route::Route;
use std::sync::Arc;
use swarm_common::wire::API_PREFIX;

/// Tells proxies to forward a followed stream at once; nginx buffers it otherwise.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

fn routes() -> Vec<Route> {
    [
        enrol::routes(),
        drone_protocol::routes(),
        log::routes(),
        uploads::routes(),
        report::routes(),
        snapshots::routes(),
        bases::routes(),
        channels::routes(),
        profiles::routes(),
        runs::routes(),
        schedules::routes(),
        packages::routes(),
        why::routes(),
        drones::routes(),
        artifacts::routes(),
        status::routes(),
        events::routes(),
        audit::routes(),
        key::routes(),
        notify::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new().merge(health::router()).merge(binhost::router()).merge(metrics::router());
    for route in routes() {
        router = route.mount(router, API_PREFIX);
    }
    router
        .fallback(|| async { ApiError::Absent("no such path; see /api/v1/openapi.json".into()) })
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED })
        .layer(middleware::from_fn(envelope::wrap))
        .with_state(app)
}
