//! Resumable uploads of package files. Bytes are written to disk as they arrive. A complete file is checked
//! before the request is answered.

use super::{
    auth::Drone,
    body::{Pieces, read_drones_json},
    derivations,
    problem::{ApiError, UPLOAD_OFFSET},
    route::{Limit, Role, Route},
};
use crate::{
    app::App,
    intake::{
        AcceptError, Examined, ReceiveError,
        expected_upload::ExpectedUpload,
        streaming::StreamingExamination,
        upload::{Allowance, Appender, UploadError},
    },
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
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::drone::{Rejection, Target, UploadRequest, UploadStatus},
};
use swarm_core::{
    Command, Refusal,
    fence::{Fence, fence},
};
use tokio::{sync::mpsc, task::spawn_blocking};

/// Pieces of up to 64 KiB are passed between threads in groups of this size: waking a thread for each one
/// costs 5% of an upload's CPU time.
const BATCH: usize = 8;
/// How many files an attempt may announce per target: one, plus one if the drone built it again.
const TRIES: usize = 2;
/// Batches buffered between the connection and the disk.
const IN_FLIGHT: usize = 2;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::POST,
            "/attempts/{attempt}/uploads",
            Role::Drone,
            "Announce a file, or get the state of its upload",
            begin,
        )
        .takes::<UploadRequest>()
        .gives::<UploadStatus>(),
        Route::new(
            Method::PATCH,
            "/attempts/{attempt}/uploads/{digest}",
            Role::Drone,
            "Upload a chunk of a file, starting at `Upload-Offset`",
            append,
        )
        .takes_bytes("application/octet-stream", Limit::Upload)
        .gives::<UploadStatus>(),
    ]
}

/// What an attempt may still deliver; `None` if it has reported.
pub(super) fn expected_upload(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
) -> Result<Option<ExpectedUpload>, Refusal> {
    app.engine.read(|swarm| match fence(swarm, drone, attempt)? {
        Fence::Open => ExpectedUpload::by(swarm, attempt).map(Some),
        Fence::Repeat => Ok(None),
    })
}

/// The `BUILD_TIME` for the next package of these targets.
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
    let request: UploadRequest = read_drones_json(body, app.config.limits.body_idle()).await?;
    if derivations::are_expected(&app, drone, attempt)? {
        return derivations::begin(&app, attempt, request).await.map(Json);
    }
    let Some(expected) = expected_upload(&app, drone, attempt)? else {
        return Ok(Json(UploadStatus { offset: request.size, verified: true }));
    };
    let allowed =
        Allowance { files: TRIES * expected.targets.len(), bytes: app.config.limits.attempt_size.bytes() };
    let target = expected.targets.iter().find(|target| target.id() == request.target).ok_or_else(|| {
        ApiError::Unprocessable(format!(
            "attempt {attempt} does not build {}",
            request.target.chars().take(300).collect::<String>().escape_debug()
        ))
    })?;
    if app.intake.of(&expected).is_accepted(attempt, request.digest) {
        return Ok(Json(UploadStatus { offset: request.size, verified: true }));
    }
    let incoming = app.intake.incoming().clone();
    let (digest, size) = (request.digest, request.size);
    let offset = in_background(move || incoming.begin(attempt, digest, size, allowed)).await??;
    if offset < size {
        return Ok(Json(UploadStatus { offset, verified: false }));
    }
    // All bytes had arrived, but the result of the check was never sent, because the orchestrator restarted
    // or the connection broke.
    check(&app, drone, attempt, digest, expected.only(target.clone()), None).await?;
    Ok(Json(UploadStatus { offset, verified: true }))
}

async fn append(
    State(app): State<Arc<App>>,
    Drone(drone): Drone,
    Path((attempt, digest)): Path<(AttemptId, Digest)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UploadStatus>, ApiError> {
    // Unlike RFC 9651, Rust's parser accepts a plus sign.
    let digits = |text: &&str| text.bytes().all(|b| b.is_ascii_digit());
    let given: u64 =
        headers.get(UPLOAD_OFFSET).and_then(|v| v.to_str().ok().filter(digits)?.parse().ok()).ok_or_else(
            || ApiError::BadRequest("Upload-Offset must be the offset of the chunk's first byte".into()),
        )?;
    let incoming = app.intake.incoming().clone();
    let open = move || incoming.append(attempt, digest, given);
    let pieces = Pieces::new(body, app.config.limits.body_idle());
    if derivations::are_expected(&app, drone, attempt)? {
        let (offset, complete) = store(in_background(open).await??, pieces, None).await?;
        if complete {
            derivations::keep(&app, attempt, digest).await?;
        }
        return Ok(Json(UploadStatus { offset, verified: complete }));
    }
    let Some(expected) = expected_upload(&app, drone, attempt)? else {
        return Ok(Json(UploadStatus { offset: given, verified: true }));
    };
    if app.intake.of(&expected).is_accepted(attempt, digest) {
        return Ok(Json(UploadStatus { offset: given, verified: true }));
    }
    let appender = in_background(open).await??;
    let look = if given == 0 {
        app.intake.examine_streaming(&expected, build_time(&app, &expected.targets))
    } else {
        None
    };
    let (offset, complete) =
        store(appender, pieces, look.as_ref().map(StreamingExamination::batches)).await?;
    if complete {
        let examined = match look {
            Some(look) => look.finish().await,
            None => None,
        };
        check(&app, drone, attempt, digest, expected, examined).await?;
    }
    Ok(Json(UploadStatus { offset, verified: complete }))
}

/// Writes a body to disk and passes each written batch to `look` until that refuses one. What has arrived is
/// kept even if the rest does not arrive.
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
        // The writer stops early only with an error, which is returned below.
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

/// Checks a complete file. A rejected file ends the attempt.
async fn check(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
    digest: Digest,
    expected: ExpectedUpload,
    examined: Option<Examined>,
) -> Result<(), ApiError> {
    let _turn = app.intake.turn(attempt).await;
    let build_time = build_time(app, &expected.targets);
    match app.intake.of(&expected).accept(attempt, digest, expected, examined, build_time).await {
        Ok(()) => Ok(()),
        Err(error) => Err(refuse(app, drone, attempt, error).await?),
    }
}

/// Reports a rejected file to the engine and returns the error for the drone.
pub(super) async fn refuse(
    app: &App,
    drone: DroneId,
    attempt: AttemptId,
    error: ReceiveError,
) -> Result<ApiError, ApiError> {
    let ReceiveError::Accept(AcceptError::Rejected(rejection)) = error else { return Ok(error.into()) };
    let reason = super::drone_protocol::shortened(rejection.message.clone());
    tracing::warn!(%attempt, %drone, kind = rejection.kind, %reason, "a package was rejected");
    let recorded = Rejection { kind: rejection.kind.to_owned(), reason };
    app.engine.submit(Command::RejectPackage { drone, attempt, rejection: recorded }, None).await?;
    app.intake.forget(attempt).await;
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
            ReceiveError::Upstream(why) => Self::Unavailable(why),
            ReceiveError::Large | ReceiveError::Broken(_) => Self::Internal(error.to_string()),
        }
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<Result<T, UploadError>, ApiError> {
    spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))
}
