//! Resumable uploads of package files. Bytes go to the disk as they come; a file that is
//! whole is checked before the request is answered.

use super::{
    auth::Drone,
    body::{Pieces, read_json},
    problem::{ApiError, UPLOAD_OFFSET},
    route::{Limit, Role, Route},
};
use crate::{
    app::App,
    artifact::{
        accept::AcceptError,
        alongside::Alongside,
        intake::IntakeError,
        upload::{Allowance, Appender, UploadError},
    },
    receiving::{self, ReceiveError},
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, Method},
};
use futures_util::{StreamExt as _, stream::TryChunksError};
use std::{
    pin::pin,
    sync::{Arc, mpsc::SyncSender},
};
use swarm_common::{
    digest::Digest,
    format::gpkg::Gpkg,
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::drone::{Target, UploadRequest, UploadStatus},
};
use swarm_core::{
    Command,
    fence::{Fence, fence},
};
use tokio::{sync::mpsc, task::spawn_blocking};

/// Pieces, of up to 64 KiB, that change threads together: to wake one for each of them costs a
/// twentieth of an upload's processor time.
const BATCH: usize = 8;
/// Files that an attempt may announce for each that it is asked for: one, and one that a drone
/// made anew.
const TRIES: usize = 2;
/// Batches between the connection and the disk.
const IN_FLIGHT: usize = 2;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::POST,
            "/attempts/{attempt}/uploads",
            Role::Drone,
            "Announce a file, or ask where its upload stands",
            begin,
        )
        .takes::<UploadRequest>()
        .gives::<UploadStatus>(),
        Route::new(
            Method::PATCH,
            "/attempts/{attempt}/uploads/{digest}",
            Role::Drone,
            "Send a file from the byte `Upload-Offset` on",
            append,
        )
        .takes_bytes("application/octet-stream", Limit::Upload)
        .gives::<UploadStatus>(),
    ]
}

/// The files that an attempt may still bring; `None` if it has brought them.
fn wanted(app: &App, drone: DroneId, attempt: AttemptId) -> Result<Option<Vec<Target>>, ApiError> {
    let targets = app.engine.read(|swarm| match fence(swarm, drone, attempt)? {
        Fence::Open => receiving::targets(swarm, attempt).map(Some),
        Fence::Repeat => Ok(None),
    });
    Ok(targets?)
}

/// The BUILD_TIME that what comes next of these is given.
pub(super) fn build_time(app: &App, targets: &[Target]) -> TimeMs {
    let now = app.engine.now();
    app.engine.read(|swarm| swarm.next_build_time(targets, now))
}

async fn begin(
    State(app): State<Arc<App>>,
    Drone(drone): Drone,
    Path(attempt): Path<AttemptId>,
    body: Body,
) -> Result<Json<UploadStatus>, ApiError> {
    let request: UploadRequest = read_json(body, app.config.limits.body_idle()).await?;
    let Some(targets) = wanted(&app, drone, attempt)? else {
        return Ok(Json(UploadStatus { offset: request.size, verified: true }));
    };
    let allowed = Allowance { files: TRIES * targets.len(), bytes: app.config.limits.attempt_bytes };
    let target = targets.into_iter().find(|target| target.cpv == request.cpv).ok_or_else(|| {
        ApiError::Unprocessable(format!("attempt {attempt} was not asked for {}", request.cpv))
    })?;
    if app.receiving.has_taken(attempt, request.digest) {
        return Ok(Json(UploadStatus { offset: request.size, verified: true }));
    }
    let incoming = app.receiving.incoming().clone();
    let (digest, size) = (request.digest, request.size);
    let offset = in_background(move || incoming.begin(attempt, digest, size, allowed)).await??;
    if offset < size {
        return Ok(Json(UploadStatus { offset, verified: false }));
    }
    // All bytes had come, and their check was never answered: an orchestrator that
    // restarted, or a connection that broke.
    check(&app, drone, attempt, digest, vec![target], None).await?;
    Ok(Json(UploadStatus { offset, verified: true }))
}

async fn append(
    State(app): State<Arc<App>>,
    Drone(drone): Drone,
    Path((attempt, digest)): Path<(AttemptId, Digest)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UploadStatus>, ApiError> {
    let given: u64 =
        headers.get(UPLOAD_OFFSET).and_then(|v| v.to_str().ok()?.parse().ok()).ok_or_else(|| {
            ApiError::BadRequest("Upload-Offset must say at which byte the piece begins".into())
        })?;
    let Some(targets) = wanted(&app, drone, attempt)? else {
        return Ok(Json(UploadStatus { offset: given, verified: true }));
    };
    if app.receiving.has_taken(attempt, digest) {
        return Ok(Json(UploadStatus { offset: given, verified: true }));
    }
    let incoming = app.receiving.incoming().clone();
    let appender = in_background(move || incoming.append(attempt, digest, given)).await??;
    let pieces = Pieces::new(body, app.config.limits.body_idle());
    let build_time = build_time(&app, &targets);
    let look = if given == 0 { app.receiving.look_alongside(build_time) } else { None };
    let (offset, complete) = store(appender, pieces, look.as_ref().map(Alongside::batches)).await?;
    if complete {
        let examined = match look {
            Some(look) => look.finish().await,
            None => None,
        };
        check(&app, drone, attempt, digest, targets, examined).await?;
    }
    Ok(Json(UploadStatus { offset, verified: complete }))
}

/// Writes a body to the disk, and hands on what is written as long as somebody takes it. What
/// has come stays, even if the rest does not.
async fn store(
    mut appender: Appender,
    pieces: Pieces,
    mut look: Option<SyncSender<Vec<Bytes>>>,
) -> Result<(u64, bool), ApiError> {
    let (sender, mut receiver) = mpsc::channel::<Vec<Bytes>>(IN_FLIGHT);
    let writer = spawn_blocking(move || {
        while let Some(batch) = receiver.blocking_recv() {
            batch.iter().try_for_each(|piece| appender.write(piece))?;
            look = look.take().filter(|look| look.send(batch).is_ok());
        }
        drop(look);
        appender.finish()
    });
    let mut batches = pin!(pieces.batches(BATCH));
    let broken = loop {
        let (batch, error) = match batches.next().await {
            Some(Ok(batch)) => (batch, None),
            Some(Err(TryChunksError(before, error))) => (before, Some(error)),
            None => break None,
        };
        // The writer stops early only with an error, which is told below.
        if sender.send(batch).await.is_err() || error.is_some() {
            break error;
        }
    };
    drop(sender);
    let written = writer.await.map_err(|error| ApiError::Internal(error.to_string()))?;
    match (written, broken) {
        (Err(error), _) => Err(error.into()),
        (Ok(_), Some(error)) => Err(error),
        (Ok(done), None) => Ok(done),
    }
}

/// Checks a whole file. One that is refused ends the attempt.
async fn check(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
    digest: Digest,
    targets: Vec<Target>,
    examined: Option<Result<Gpkg, IntakeError>>,
) -> Result<(), ApiError> {
    let _turn = app.receiving.turn(attempt).await;
    let build_time = build_time(app, &targets);
    match app.receiving.take(attempt, digest, targets, examined, build_time).await {
        Ok(()) => Ok(()),
        Err(error) => Err(refuse(app, drone, attempt, error).await?),
    }
}

/// Tells the engine if the file is at fault, and gives the answer for the drone.
pub(super) async fn refuse(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
    error: ReceiveError,
) -> Result<ApiError, ApiError> {
    let ReceiveError::Accept(AcceptError::Rejected(rejection)) = error else { return Ok(error.into()) };
    let reason = super::duty::shortened(rejection.message.clone());
    tracing::warn!(%attempt, %drone, kind = rejection.kind, %reason, "a package was refused");
    app.engine.submit(Command::RejectPackage { drone, attempt, reason }, None).await?;
    app.receiving.forget(attempt).await;
    Ok(ApiError::PackageRejected { kind: rejection.kind, message: rejection.message })
}

impl From<ReceiveError> for ApiError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Accept(AcceptError::Rejected(r)) => {
                Self::PackageRejected { kind: r.kind, message: r.message }
            }
            ReceiveError::Accept(AcceptError::Full(error)) => Self::Disk(error),
            ReceiveError::Accept(AcceptError::Failed(why)) => Self::Internal(why),
            ReceiveError::NotUploaded(_) => Self::NotUploaded(error.to_string()),
            ReceiveError::Upload(error) => error.into(),
            ReceiveError::Broken(_) => Self::Internal(error.to_string()),
        }
    }
}

/// Runs what touches the disk where it does not hold up other requests.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<Result<T, UploadError>, ApiError> {
    spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))
}
