//! Bodies of archives that are stored under the digest of their content: uploads in one request, and
//! resumable downloads.

use super::{body::Pieces, problem::ApiError};
use crate::{
    serve::conditional::{self, ByteRange},
    store::{Located, disk::DiskError},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

/// Pieces buffered between the connection and the disk.
const IN_FLIGHT: usize = 8;

/// Media type of a compressed archive.
pub(super) const KIND: &str = "application/zstd";

/// Destination of an uploaded archive. Dropped without `commit`, it leaves nothing behind.
pub(super) trait Sink: Sized + Send + 'static {
    /// Why the archive was not accepted.
    type Error: Into<ApiError> + From<DiskError> + Send + 'static;

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError>;

    /// Verifies the complete archive and keeps it.
    fn commit(self) -> Result<(), Self::Error>;
}

/// Writes a body into `sink` on a blocking thread, and commits it if the body is complete.
pub(super) async fn take<S: Sink>(body: Body, idle: Duration, sink: S) -> Result<(), ApiError> {
    let (sender, receiver) = mpsc::channel::<Bytes>(IN_FLIGHT);
    let (whole_sender, whole) = oneshot::channel::<()>();
    let writer = spawn_blocking(move || write(sink, receiver, whole));
    let mut pieces = Pieces::new(body, idle);
    let broken_off = loop {
        match pieces.next().await {
            Ok(Some(piece)) => {
                // The writer stops early only with an error, which is returned below.
                if sender.send(piece).await.is_err() {
                    break None;
                }
            }
            Ok(None) => {
                // Without this message the writer discards what it has written.
                let _told = whole_sender.send(());
                break None;
            }
            Err(error) => break Some(error),
        }
    };
    drop(sender);
    let written = writer.await;
    match broken_off {
        Some(error) => Err(error),
        None => written.map_err(|error| ApiError::Internal(error.to_string()))?.map_err(Into::into),
    }
}

fn write<S: Sink>(
    mut sink: S,
    mut pieces: mpsc::Receiver<Bytes>,
    mut whole: oneshot::Receiver<()>,
) -> Result<(), S::Error> {
    while let Some(piece) = pieces.blocking_recv() {
        sink.write(&piece)?;
    }
    match whole.try_recv() {
        Ok(()) => sink.commit(),
        // The body is incomplete; `take` returns the reason.
        Err(_) => Ok(()),
    }
}

/// Serves the archive that `locate` finds, or the requested range of it, so that downloads can resume. `what`
/// names the archive in errors.
pub(super) async fn give<E: Into<ApiError> + Send + 'static>(
    locate: impl FnOnce() -> Result<Option<Located>, E> + Send + 'static,
    what: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let located = spawn_blocking(locate).await.map_err(|error| ApiError::Internal(error.to_string()))?;
    let located = located.map_err(Into::into)?;
    let Located::File { file, len: size } =
        located.ok_or_else(|| ApiError::Absent(format!("{what} is not stored here")))?;
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let if_range = headers.get(header::IF_RANGE).map(|value| value.to_str().unwrap_or_default());
    let (status, first, length, part) = match conditional::range(asked, if_range, size, None) {
        ByteRange::All => (StatusCode::OK, 0, size, None),
        ByteRange::Part { first, last } => {
            let part = format!("bytes {first}-{last}/{size}");
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1, Some(part))
        }
        ByteRange::Unsatisfiable => {
            (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0, Some(format!("bytes */{size}")))
        }
    };
    let headers = [(header::CONTENT_TYPE, KIND.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    let part = part.map(|part| [(header::CONTENT_RANGE, part)]);
    Ok((status, headers, part, super::file::body(file, first, length)).into_response())
}
