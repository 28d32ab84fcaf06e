//! Snapshots: an admin sends them, drones fetch them.

use super::{
    body::Pieces,
    problem::ApiError,
    route::{Limit, Role, Route},
};
use crate::{
    app::App,
    snapshots::{NewSnapshot, TakeError},
};
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{Method, header},
    response::{IntoResponse as _, Response},
};
use std::{io::ErrorKind, sync::Arc};
use swarm_common::{digest::Digest, format::snapshot::SnapshotError};
use tokio::{sync::mpsc, task::spawn_blocking};

/// Pieces between the connection and the disk.
const IN_FLIGHT: usize = 8;

/// Media type of a compressed archive.
const KIND: &str = "application/zstd";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::PUT, "/snapshots/{digest}", Role::Admin, "Send a snapshot", put)
            .takes_bytes(KIND, Limit::Snapshot),
        Route::new(Method::GET, "/snapshots/{digest}", Role::AdminOrDrone, "Fetch a snapshot", get)
            .gives_bytes(KIND),
    ]
}

async fn put(State(app): State<Arc<App>>, Path(digest): Path<Digest>, body: Body) -> Result<(), ApiError> {
    let snapshots = app.snapshots.clone();
    let new = spawn_blocking(move || snapshots.create()).await.map_err(broken)??;
    let (sender, receiver) = mpsc::channel::<Bytes>(IN_FLIGHT);
    let (whole_sender, whole) = tokio::sync::oneshot::channel::<()>();
    let writer = spawn_blocking(move || write(new, receiver, whole, digest));
    let mut pieces = Pieces::new(body, app.config.limits.body_idle());
    let broken_off = loop {
        match pieces.next().await {
            Ok(Some(piece)) => {
                if sender.send(piece).await.is_err() {
                    break None;
                }
            }
            Ok(None) => {
                // Without this word the writer drops what has come.
                let _told = whole_sender.send(());
                break None;
            }
            Err(error) => break Some(error),
        }
    };
    drop(sender);
    let written = writer.await.map_err(broken)?;
    if let Some(error) = broken_off {
        return Err(error);
    }
    written.map_err(|error| match error {
        TakeError::Disk(error) => ApiError::Disk(error),
        TakeError::Unsound(SnapshotError::Io { what, source }) => {
            ApiError::Unprocessable(format!("the snapshot cannot be read: {what}: {source}"))
        }
        TakeError::Unsound(error) => ApiError::Unprocessable(format!("the snapshot is refused: {error}")),
    })
}

fn broken(error: tokio::task::JoinError) -> ApiError {
    ApiError::Internal(format!("taking the snapshot broke off: {error}"))
}

fn write(
    mut new: NewSnapshot,
    mut pieces: mpsc::Receiver<Bytes>,
    mut whole: tokio::sync::oneshot::Receiver<()>,
    digest: Digest,
) -> Result<(), TakeError> {
    while let Some(piece) = pieces.blocking_recv() {
        new.write(&piece)?;
    }
    match whole.try_recv() {
        Ok(()) => new.commit(digest),
        // The body broke off; the sender says so.
        Err(_) => Ok(()),
    }
}

async fn get(State(app): State<Arc<App>>, Path(digest): Path<Digest>) -> Result<Response, ApiError> {
    let path = app.snapshots.path(digest);
    let file = match tokio::fs::File::open(&path).await {
        Ok(file) => file.into_std().await,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ApiError::Absent(format!("snapshot {digest} is not here")));
        }
        Err(error) => return Err(crate::artifact::disk::DiskError::new("open", &path, error).into()),
    };
    let size = file.metadata().map_err(crate::artifact::disk::DiskError::at("look at", &path))?.len();
    let headers = [(header::CONTENT_TYPE, KIND.to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, super::file::body(file, 0, size)).into_response())
}
