//! A daemon's own log: to standard error, where a supervisor keeps it, or to files of its
//! own that are bounded in number, size and age. Writing never holds up the work.
//!
//! The level can be changed while it runs; nothing else can.

mod files;

use serde::Deserialize;
use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::ParseError,
    fmt,
    layer::SubscriberExt as _,
    reload::{self, Handle},
    util::SubscriberInitExt as _,
};

/// Lines that may wait until they are written; more are lost rather than hold up the work. The
/// appender takes 32 bytes for each from the start, with its default of 128,000 lines 4 MB.
const WAITING_LINES: usize = 8192;

/// `[log]`: what a daemon itself tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, also per part, such as
    /// `info,swarm_drone=debug`. Default `info`.
    pub level: String,
    /// Files in this directory instead of standard error. Default none.
    pub dir: Option<PathBuf>,
    /// How many of those files are kept, at most one for each day. Default 14.
    pub files_kept: usize,
    /// Bytes after which a further file is begun. Default 16 MiB.
    pub file_bytes: u64,
    /// Days after which a file goes. Default 30.
    pub days_kept: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), dir: None, files_kept: 14, file_bytes: 16 << 20, days_kept: 30 }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not one.
    #[error("`level` of `[log]` is `{level}`: {source}; use error, warn, info, debug or trace")]
    Level {
        /// What is configured.
        level: String,
        /// What is wrong.
        source: ParseError,
    },
    /// A bound is none.
    #[error("`{0}` of `[log]` must be at least {1}")]
    Bound(&'static str, u64),
    /// The directory cannot be used.
    #[error("`dir` of `[log]`: {} cannot be used: {source}", dir.display())]
    Dir {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The level cannot be changed.
    #[error("the log's level cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Keeps the log going; what is not written yet is written when it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    level: Handle<EnvFilter, Registry>,
    _writer: WorkerGuard,
}

/// Checks the settings and changes nothing.
///
/// # Errors
/// A setting is wrong.
pub fn check(log: &LogConfig) -> Result<(), TelemetryError> {
    if log.files_kept == 0 {
        return Err(TelemetryError::Bound("files_kept", 1));
    }
    if log.file_bytes < 4096 {
        return Err(TelemetryError::Bound("file_bytes", 4096));
    }
    if log.days_kept == 0 {
        return Err(TelemetryError::Bound("days_kept", 1));
    }
    filter(&log.level).map(drop)
}

/// Begins to log as `name`.
///
/// # Errors
/// A setting is wrong, or the directory cannot be used.
pub fn start(name: &str, log: &LogConfig) -> Result<Telemetry, TelemetryError> {
    check(log)?;
    let (level, handle) = reload::Layer::new(filter(&log.level)?);
    let waiting = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES);
    let ((writer, guard), colour) = match &log.dir {
        // No colour into pipes and files.
        None => (waiting.finish(io::stderr()), io::stderr().is_terminal()),
        Some(dir) => (waiting.finish(open(name, dir, log)?), false),
    };
    let layer = fmt::layer().with_writer(writer).with_ansi(colour);
    // A second installation, as of a test, is refused; the first one stays.
    let _already = tracing_subscriber::registry().with(level).with(layer).try_init();
    Ok(Telemetry { level: handle, _writer: guard })
}

fn open(name: &str, dir: &Path, log: &LogConfig) -> Result<files::Files, TelemetryError> {
    let bounds = files::Bounds { files: log.files_kept, bytes: log.file_bytes, days: log.days_kept };
    files::Files::open(dir, name, bounds)
        .map_err(|source| TelemetryError::Dir { dir: dir.to_owned(), source })
}

/// The scheduler crate tells of its own inside at every start; a configured level for it still counts.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(format!("tokio_cron_scheduler=warn,{level}"))
        .map_err(|source| TelemetryError::Level { level: level.to_owned(), source })
}

impl Telemetry {
    /// Logs with another level from now on.
    ///
    /// # Errors
    /// It is not one; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), TelemetryError> {
        Ok(self.level.reload(filter(level)?)?)
    }
}
