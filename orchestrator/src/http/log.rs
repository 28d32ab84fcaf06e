//! Build logs: drones append to them, people read and follow them.

use super::{
    UNBUFFERED,
    auth::Drone,
    body,
    problem::{ApiError, UPLOAD_OFFSET},
    route::{Limit, Role, Route},
};
use crate::{
    app::App,
    logs::{LogError, LogReader},
    store::disk::DiskError,
};
use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{Method, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde::Deserialize;
use std::sync::Arc;
use swarm_common::id::{AttemptId, PackageId, RunId};
use swarm_core::Refusal;
use tokio::sync::watch;

const PIECE: u64 = 256 * 1024;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::POST,
            "/attempts/{attempt}/log",
            Role::Drone,
            "Append to an attempt's log",
            append,
        )
        .queries(&[("offset", "offset of the chunk's first byte")])
        .takes_bytes("application/octet-stream", Limit::LogPiece),
        Route::new(Method::GET, "/attempts/{attempt}/log", Role::Admin, "Show an attempt's log", of_attempt)
            .queries(&[("follow", "`true`: until the attempt ends")])
            .gives_bytes("text/plain"),
        Route::new(Method::GET, "/runs/{run}/log", Role::Admin, "Show the log of a run's plan", of_plan)
            .queries(&[
                ("attempt", "attempt; default: the newest"),
                ("follow", "`true`: until the attempt ends"),
            ])
            .gives_bytes("text/plain"),
        Route::new(Method::GET, "/packages/{package}/log", Role::Admin, "Show a package's log", of_package)
            .queries(&[
                ("attempt", "attempt; default: the newest"),
                ("follow", "`true`: until the attempt ends"),
            ])
            .gives_bytes("text/plain"),
    ]
}

/// Position of a piece in the log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    offset: u64,
}

async fn append(
    State(app): State<Arc<App>>,
    Drone(drone): Drone,
    Path(attempt): Path<AttemptId>,
    Query(At { offset }): Query<At>,
    body: Body,
) -> Result<Response, ApiError> {
    // Attempts that have ended may append too: the last lines of a log matter most.
    app.engine.read(|swarm| match swarm.attempts.get(&attempt) {
        None => Err(Refusal::UnknownAttempt(attempt)),
        Some(record) if record.drone != drone => Err(Refusal::NotYours { attempt, drone }),
        Some(_) => Ok(()),
    })?;
    let bytes = body::read(body, app.config.limits.body_idle()).await?;
    let end = offset.saturating_add(bytes.len() as u64);
    let limit = app.engine.read(|swarm| swarm.policy.log_bytes);
    let appended = blocking(move || app.logs.append(attempt, offset, &bytes, limit)).await?;
    appended.map_err(|error| match error {
        LogError::WrongOffset { offset: next } => ApiError::WrongOffset { given: offset, offset: next },
        LogError::TooLarge { limit } => ApiError::BodyTooLarge { limit },
        LogError::Disk(error) => ApiError::Disk(error),
    })?;
    Ok([(UPLOAD_OFFSET, end.to_string())].into_response())
}

/// Which log to send, and whether to follow it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    attempt: Option<AttemptId>,
    #[serde(default)]
    follow: bool,
}

impl LogQuery {
    /// The requested attempt, or the latest of `attempts`. For the error, `at` says what the attempts belong
    /// to, and `look` which command shows more.
    fn one_of(&self, attempts: &[AttemptId], at: &str, look: &str) -> Result<AttemptId, ApiError> {
        let chosen = match self.attempt {
            Some(attempt) => attempts.contains(&attempt).then_some(attempt),
            None => attempts.last().copied(),
        };
        chosen.ok_or_else(|| match self.attempt {
            Some(attempt) => ApiError::Absent(format!("attempt {attempt} does not belong to {at}")),
            None => ApiError::Absent(format!("{at} has no log, as it was not attempted yet: see `{look}`")),
        })
    }
}

async fn of_attempt(
    State(app): State<Arc<App>>,
    Path(attempt): Path<AttemptId>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    if !app.engine.read(|swarm| swarm.attempts.contains_key(&attempt)) {
        return Err(Refusal::UnknownAttempt(attempt).into());
    }
    send(app, attempt, query.follow).await
}

async fn of_package(
    State(app): State<Arc<App>>,
    Path(package): Path<PackageId>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    let attempts = app.engine.read(|swarm| swarm.packages.get(&package).map(|p| p.attempts.clone()));
    let attempts = attempts.ok_or(Refusal::UnknownPackage(package))?;
    let attempt = query.one_of(&attempts, &package.to_string(), &format!("swarmctl why {package}"))?;
    send(app, attempt, query.follow).await
}

async fn of_plan(
    State(app): State<Arc<App>>,
    Path(run): Path<RunId>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    let attempts = app.engine.read(|swarm| {
        let run = swarm.runs.get(&run)?;
        // The base that follows the run has no other place for its logs.
        let of_base = query.attempt.into_iter().filter(|attempt| run.base_attempts.contains(attempt));
        Some(run.plan_attempts.iter().copied().chain(of_base).collect::<Vec<_>>())
    });
    let attempts = attempts.ok_or(Refusal::UnknownRun(run))?;
    let attempt =
        query.one_of(&attempts, &format!("the plan of {run}"), &format!("swarmctl run show {run}"))?;
    send(app, attempt, query.follow).await
}

/// Position of one reader of a log.
struct Reader {
    app: Arc<App>,
    attempt: AttemptId,
    /// Opened once the log exists.
    log: Option<LogReader>,
    follow: bool,
    grown: watch::Receiver<u64>,
    committed: watch::Receiver<u64>,
}

async fn send(app: Arc<App>, attempt: AttemptId, follow: bool) -> Result<Response, ApiError> {
    let (grown, committed) = (app.logs.grown(), app.engine.committed());
    let mut reader = Reader { app, attempt, log: None, follow, grown, committed };
    reader.open().await?;
    if !follow && reader.log.is_none() {
        let days = reader.app.live.borrow().build_logs.max_age.days();
        return Err(ApiError::Absent(format!(
            "no log of attempt {attempt}: it is still empty, or was removed (logs are kept for {days} \
             days, within the size limit of `[build_logs]`)"
        )));
    }
    let body = Body::from_stream(stream::unfold(reader, |mut reader| async move {
        match reader.next().await {
            Ok(piece) => Some((Ok(piece?), reader)),
            Err(error) => Some((Err(error), reader)),
        }
    }));
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, follow.then_some([UNBUFFERED]), body).into_response())
}

impl Reader {
    async fn open(&mut self) -> Result<(), ApiError> {
        if self.log.is_none() {
            let (app, attempt) = (self.app.clone(), self.attempt);
            self.log = blocking(move || app.logs.reader(attempt)).await??;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Bytes, ApiError> {
        self.open().await?;
        let Some(mut log) = self.log.take() else { return Ok(Bytes::new()) };
        let (log, read) = blocking(move || {
            let read = log.read(PIECE);
            (log, read)
        })
        .await?;
        self.log = Some(log);
        let path = std::path::PathBuf::from(format!("the log of attempt {}", self.attempt));
        Ok(Bytes::from(read.map_err(DiskError::at("read", &path))?))
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            self.grown.mark_unchanged();
            self.committed.mark_unchanged();
            // Check before reading, so that everything written before the end of the attempt is read.
            let attempt = self.attempt;
            let live = self.app.engine.read(|s| s.attempts.get(&attempt).is_some_and(|a| a.is_live()));
            let bytes = self.read().await?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
            if !(self.follow && live) {
                return Ok(None);
            }
            tokio::select! {
                () = self.app.stopping.cancelled() => return Ok(None),
                grown = self.grown.changed() => if grown.is_err() { return Ok(None) },
                committed = self.committed.changed() => if committed.is_err() { return Ok(None) },
            }
        }
    }
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))
}
