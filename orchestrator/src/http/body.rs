//! Request bodies. Size, pauses and duration are limited before anything is parsed.

use super::{bounds, problem::ApiError};
use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream, stream::TryChunksError};
use serde::de::DeserializeOwned;
use std::{
    error::Error,
    io::{self, BufReader, Read},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

/// A JSON body may take this many times the idle limit in total, so that it cannot trickle in forever.
const JSON_SILENCES: u32 = 4;
/// Pieces buffered between the connection and the reader.
const IN_FLIGHT: usize = 4;
/// How many characters of an unknown field's path are shown.
const MAX_SHOWN: usize = 100;
/// Size of the read buffer in bytes.
const BUFFER: usize = 64 << 10;

/// Why a body is incomplete.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    #[error("silent for {0} s")]
    Stalled(u64),
}

/// Wraps a body so that it fails beyond `limit` bytes or after `idle` without data.
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

/// Converts an error of a guarded body.
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

/// Reads a guarded body piece by piece.
pub(super) struct Pieces {
    inner: BodyDataStream,
    idle: Duration,
}

impl Pieces {
    /// Reads `body`, which must be wrapped by [`guard`] with the same `idle` limit.
    pub(super) fn new(body: Body, idle: Duration) -> Self {
        Self { inner: body.into_data_stream(), idle }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.inner.next().await.transpose().map_err(|error| explain(&error, self.idle))
    }

    /// Groups the pieces by `count`; the last group may be smaller. An error follows the pieces received
    /// before it.
    pub(super) fn batches(
        self,
        count: usize,
    ) -> impl Stream<Item = Result<Vec<Bytes>, TryChunksError<Bytes, ApiError>>> {
        self.inner.map_err(move |error| explain(&error, self.idle)).try_chunks(count)
    }

    /// The whole body if it has at most `size` bytes, otherwise at least as many.
    async fn up_to(&mut self, size: usize) -> Result<Beginning, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > size {
                return Ok(Beginning::Part(bytes));
            }
        }
        Ok(Beginning::Whole(bytes))
    }

    /// The whole body; only for small bodies.
    async fn all(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// What [`Pieces::up_to`] has read.
enum Beginning {
    Whole(Vec<u8>),
    Part(Vec<u8>),
}

pub(super) async fn read(body: Body, idle: Duration) -> Result<Vec<u8>, ApiError> {
    let mut pieces = Pieces::new(body, idle);
    let longest = idle * JSON_SILENCES;
    match tokio::time::timeout(longest, pieces.all()).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::BodyStalled { seconds: longest.as_secs() }),
    }
}

/// Reads the whole body of an admin's request as JSON of type `T`. An unknown field is an error: it is
/// probably a typing error, and ignoring it would do something other than requested.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body, idle: Duration) -> Result<T, ApiError> {
    parse(&read(body, idle).await?)
}

/// Like [`read_json`], but a request without a body gets the default, because older clients send no body.
pub(super) async fn read_json_if_any<T: DeserializeOwned + Default>(
    body: Body,
    idle: Duration,
) -> Result<T, ApiError> {
    let bytes = read(body, idle).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut unknown = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_ignored::deserialize(&mut json, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    let value = read.and_then(|value| json.end().map(|()| value)).map_err(not_fitting)?;
    match unknown {
        None => Ok(value),
        Some(path) => {
            let shown: String = path.chars().take(MAX_SHOWN).collect();
            Err(ApiError::Unprocessable(format!("unknown field `{}`", shown.escape_debug())))
        }
    }
}

/// Reads the whole body of a drone's request as JSON of type `T`. Unknown fields are ignored, because the
/// drone may be newer.
pub(super) async fn read_drones_json<T: DeserializeOwned>(body: Body, idle: Duration) -> Result<T, ApiError> {
    let bytes = read(body, idle).await?;
    serde_json::from_slice(&bytes).map_err(not_fitting)
}

/// Like [`read_drones_json`], for bodies that may be large: those are parsed while receiving and never held
/// in memory as a whole.
pub(super) async fn read_large_json<T: DeserializeOwned + Send + 'static>(
    body: Body,
    idle: Duration,
) -> Result<T, ApiError> {
    let mut pieces = Pieces::new(body, idle);
    let longest = idle * JSON_SILENCES;
    let (stalled, end) = (ApiError::BodyStalled { seconds: longest.as_secs() }, Instant::now() + longest);
    let Ok(begin) = timeout_at(end, pieces.up_to(BUFFER)).await else { return Err(stalled) };
    let begin = match begin? {
        Beginning::Whole(bytes) => return serde_json::from_slice(&bytes).map_err(not_fitting),
        Beginning::Part(bytes) => bytes,
    };
    let (sender, arriving) = mpsc::channel(IN_FLIGHT);
    let reader = spawn_blocking(move || {
        let mut arrived = Arrived { arriving, piece: begin.into(), ended: false, quotes: 0 };
        let read = serde_json::from_reader(BufReader::with_capacity(BUFFER, &mut arrived));
        (read, arrived.has_too_many())
    });
    let feed = async {
        while let Some(piece) = pieces.next().await? {
            // The reader ends early only on an error, which is returned below once the client has finished
            // sending.
            let _gone = sender.send(Some(piece)).await;
        }
        // Without this message the reader sees an incomplete body.
        let _told = sender.send(None).await;
        Ok(())
    };
    let fed = timeout_at(end, feed).await;
    drop(sender);
    fed.unwrap_or(Err(stalled))?;
    let (read, too_many) = reader.await.map_err(|error| ApiError::Internal(error.to_string()))?;
    match read {
        Err(_) if too_many => Err(bounds::STRINGS.broken()),
        read => read.map_err(not_fitting),
    }
}

/// The part of a body received so far, for a reader on a blocking thread.
struct Arrived {
    /// The pieces; `None` marks the end.
    arriving: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    ended: bool,
    /// Number of quotation marks, two for each string.
    quotes: usize,
}

impl Arrived {
    fn has_too_many(&self) -> bool {
        self.quotes / 2 > bounds::STRINGS.most
    }
}

impl Read for Arrived {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.arriving.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        self.quotes += buffer[..n].iter().filter(|&&byte| byte == b'"').count();
        if self.has_too_many() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(n)
    }
}

fn not_fitting(error: serde_json::Error) -> ApiError {
    if error.is_data() {
        ApiError::Unprocessable(format!("the body does not match the schema: {error}"))
    } else {
        ApiError::BadRequest(format!("the body is not valid JSON: {error}"))
    }
}

/// Checks that a reason given by an admin is one short line.
pub(super) fn check_reason(reason: &str) -> Result<(), ApiError> {
    bounds::REASON.check_text(reason)?;
    if reason.chars().any(char::is_control) {
        return Err(ApiError::Unprocessable("a reason must be one line".into()));
    }
    Ok(())
}
