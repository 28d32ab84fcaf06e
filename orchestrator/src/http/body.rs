//! Request bodies: bounded in size, in silence and in time, before anything is made of
//! them.

use super::{bounds, problem::ApiError};
use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream, stream::TryChunksError};
use serde::de::DeserializeOwned;
use std::{error::Error, time::Duration};

/// A JSON body may take this many times the longest silence, so that nobody drips it.
const JSON_SILENCES: u32 = 4;

/// Why a body did not come whole.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    #[error("silent for {0} s")]
    Stalled(u64),
}

/// The same body, which ends with an error beyond `limit` bytes or after `idle` without any.
pub(super) fn guard(body: Body, limit: u64, idle: Duration) -> Body {
    let state = Some((body.into_data_stream(), limit));
    Body::from_stream(stream::unfold(state, move |state| async move {
        let (mut inner, left) = state?;
        let item: Result<Bytes, Box<dyn Error + Send + Sync>> =
            match tokio::time::timeout(idle, inner.next()).await {
                Err(_) => Err(BodyError::Stalled(idle.as_secs()).into()),
                Ok(None) => return None,
                Ok(Some(Err(error))) => Err(error.into()),
                Ok(Some(Ok(bytes))) => match left.checked_sub(bytes.len() as u64) {
                    Some(left) => return Some((Ok(bytes), Some((inner, left)))),
                    None => Err(BodyError::TooLarge(limit).into()),
                },
            };
        Some((item, None))
    }))
}

/// What an error of a guarded body means.
fn explain(error: &axum::Error, idle: Duration) -> ApiError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<BodyError>() {
            Some(BodyError::TooLarge(limit)) => return ApiError::BodyTooLarge { limit: *limit },
            Some(BodyError::Stalled(_)) => return ApiError::BodyStalled { seconds: idle.as_secs() },
            None => cause = error.source(),
        }
    }
    ApiError::BodyBroken(error.to_string())
}

/// A guarded body, read piece by piece.
pub(super) struct Pieces {
    inner: BodyDataStream,
    idle: Duration,
}

impl Pieces {
    /// Reads `body`, which [`guard`] bounds with the same `idle`.
    pub(super) fn new(body: Body, idle: Duration) -> Self {
        Self { inner: body.into_data_stream(), idle }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.inner.next().await.transpose().map_err(|error| explain(&error, self.idle))
    }

    /// The pieces, `count` at a time and what is left at the end. An error comes with those
    /// before it.
    pub(super) fn batches(
        self,
        count: usize,
    ) -> impl Stream<Item = Result<Vec<Bytes>, TryChunksError<Bytes, ApiError>>> {
        self.inner.map_err(move |error| explain(&error, self.idle)).try_chunks(count)
    }

    /// Everything, which is little.
    async fn all(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// The whole body.
pub(super) async fn read(body: Body, idle: Duration) -> Result<Vec<u8>, ApiError> {
    let mut pieces = Pieces::new(body, idle);
    let longest = idle * JSON_SILENCES;
    match tokio::time::timeout(longest, pieces.all()).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::BodyStalled { seconds: longest.as_secs() }),
    }
}

/// The whole body as JSON of type `T`.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body, idle: Duration) -> Result<T, ApiError> {
    let bytes = read(body, idle).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        if error.is_data() {
            ApiError::Unprocessable(format!("the body does not fit: {error}"))
        } else {
            ApiError::BadRequest(format!("the body is not JSON: {error}"))
        }
    })
}

/// Whether a reason that a person gives is one short line.
pub(super) fn check_reason(reason: &str) -> Result<(), ApiError> {
    bounds::REASON.check_text(reason)?;
    if reason.chars().any(char::is_control) {
        return Err(ApiError::Unprocessable("a reason is one line".into()));
    }
    Ok(())
}
