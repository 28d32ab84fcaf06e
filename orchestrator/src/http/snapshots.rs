//! Snapshots: an admin uploads them, drones download them.

use super::{
    archive::{self, KIND},
    problem::ApiError,
    route::{Limit, Role, Route},
};
use crate::{
    app::App,
    store::{
        disk::DiskError,
        snapshots::{NewSnapshot, TakeError},
    },
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Method},
    response::Response,
};
use std::sync::Arc;
use swarm_common::digest::Digest;
use swarm_formats::snapshot::SnapshotError;
use tokio::task::spawn_blocking;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::PUT, "/snapshots/{digest}", Role::Admin, "Upload a snapshot", put)
            .takes_bytes(KIND, Limit::Snapshot),
        Route::new(Method::GET, "/snapshots/{digest}", Role::AdminOrDrone, "Download a snapshot", get)
            .gives_bytes(KIND),
        Route::new(
            Method::GET,
            "/snapshots/{digest}/since/{known}",
            Role::AdminOrDrone,
            "Download the difference between two snapshots",
            get_since,
        )
        .gives_bytes(KIND),
    ]
}

async fn put(State(app): State<Arc<App>>, Path(digest): Path<Digest>, body: Body) -> Result<(), ApiError> {
    let snapshots = app.snapshots.clone();
    let new = spawn_blocking(move || snapshots.create(digest)).await;
    let new = new.map_err(|error| ApiError::Internal(error.to_string()))??;
    archive::take(body, app.config.limits.body_idle(), new).await
}

impl archive::Sink for NewSnapshot {
    type Error = TakeError;

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        Self::write(self, bytes)
    }

    fn commit(self) -> Result<(), TakeError> {
        Self::commit(self)
    }
}

impl From<TakeError> for ApiError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Disk(error) => Self::Disk(error),
            TakeError::Unsound(SnapshotError::Io { what, source }) => {
                Self::Unprocessable(format!("cannot read the snapshot: {what}: {source}"))
            }
            TakeError::Unsound(error) => Self::Unprocessable(format!("the snapshot was rejected: {error}")),
        }
    }
}

async fn get(
    State(app): State<Arc<App>>,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let snapshots = app.snapshots.clone();
    archive::give(move || snapshots.locate(digest), &format!("snapshot {digest}"), &headers).await
}

async fn get_since(
    State(app): State<Arc<App>>,
    Path((digest, known)): Path<(Digest, Digest)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let snapshots = app.snapshots.clone();
    let what = format!("a difference of snapshot {digest} to {known}");
    let description = what.clone();
    let made = move || match snapshots.difference(digest, known) {
        // The drone can use the whole snapshot instead.
        Err(TakeError::Unsound(error)) => {
            tracing::warn!(%error, "cannot create {description}");
            Ok(None)
        }
        other => other,
    };
    archive::give(made, &what, &headers).await
}
