//! A daemon's log: to standard error, where the service manager collects it, or to files bounded in number,
//! size and age. Logging never blocks the work.
//!
//! Only the level can be changed at run time. Lines for the systemd journal have its priorities.

mod files;
mod journald;

pub use journald::error_prefix;

use crate::config::{Renamed, Size, Span, Unit};
use serde::Deserialize;
use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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

/// Number of lines that can be buffered. Further lines are dropped instead of blocking the work. The appender
/// allocates 32 bytes per line at startup, which would be 4 MB for its default of 128,000 lines.
const WAITING_LINES: usize = 8192;

/// `[log]`: a daemon's own log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, optionally per module, such as
    /// `info,swarm_drone=debug`. Default: `info`.
    pub level: String,
    /// The directory of log files. Default: none, log to standard error.
    pub dir: Option<PathBuf>,
    /// The maximum number of files. A new file begins each day and when the current one is full. Default: 14.
    pub files_kept: usize,
    /// The size after which a new file begins, at least 4 KiB. Default: 16 MiB.
    pub file_size: Size,
    /// The age after which a file is removed, at least 1 day and rounded up to whole days. Default: 30 days.
    pub max_age: Span,
}

/// Settings of `[log]` that used to have another name.
pub const RENAMED: &[Renamed] = &[
    Renamed { section: "log", old: "file_bytes", unit: Unit::Bytes, new: "file_size" },
    Renamed { section: "log", old: "days_kept", unit: Unit::Days, new: "max_age" },
];

/// The minimum size of a log file.
const SMALLEST_FILE: Size = Size::from_bytes(4096);

/// The minimum age at which a log file is removed.
const SHORTEST_AGE: Span = Span::from_days(1);

impl Default for LogConfig {
    fn default() -> Self {
        let (file_size, max_age) = (Size::from_mib(16), Span::from_days(30));
        Self { level: "info".into(), dir: None, files_kept: 14, file_size, max_age }
    }
}

/// Why logging cannot start or change.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`level` of `[log]` is `{level}`: {source}; use error, warn, info, debug or trace")]
    Level { level: String, source: ParseError },
    /// A limit is too small: the name of the setting, and the minimum.
    #[error("`{0}` of `[log]` must be at least {1}")]
    Bound(&'static str, String),
    #[error("`dir` of `[log]`: cannot use {}: {source}", dir.display())]
    Dir { dir: PathBuf, source: io::Error },
    /// The level cannot be changed.
    #[error("cannot change the log level: {0}")]
    Reload(#[from] reload::Error),
}

/// Keeps logging active; dropping it flushes buffered lines.
#[derive(Debug)]
pub struct Telemetry {
    level: Handle<EnvFilter, Registry>,
    /// Makes the log files continue at their paths; none if the log goes to standard error.
    reopen: Option<Arc<AtomicBool>>,
    _writer: WorkerGuard,
}

/// Checks the settings without changing anything.
///
/// # Errors
/// A setting is invalid.
pub fn check(log: &LogConfig) -> Result<(), TelemetryError> {
    if log.files_kept == 0 {
        return Err(TelemetryError::Bound("files_kept", "1".to_owned()));
    }
    if log.file_size < SMALLEST_FILE {
        return Err(TelemetryError::Bound("file_size", format!("\"{SMALLEST_FILE}\"")));
    }
    if log.max_age < SHORTEST_AGE {
        return Err(TelemetryError::Bound("max_age", format!("\"{SHORTEST_AGE}\"")));
    }
    filter(&log.level).map(drop)
}

/// Starts logging as `name`.
///
/// # Errors
/// A setting is invalid, or the directory is unusable.
pub fn start(name: &str, log: &LogConfig) -> Result<Telemetry, TelemetryError> {
    check(log)?;
    let (level, handle) = reload::Layer::new(filter(&log.level)?);
    let waiting = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES);
    let ((writer, guard), colour, reopen) = match &log.dir {
        // No colour in pipes and files.
        None => (waiting.finish(io::stderr()), io::stderr().is_terminal(), None),
        Some(dir) => {
            let files = open(name, dir, log)?;
            let reopen = files.reopener();
            (waiting.finish(files), false, Some(reopen))
        }
    };
    let format = journald::Prioritized::new(log.dir.is_none() && journald::reads_stderr());
    let layer = fmt::layer().event_format(format).with_writer(writer).with_ansi(colour);
    // A second installation, as in tests, is refused, and the first one remains.
    let _already = tracing_subscriber::registry().with(level).with(layer).try_init();
    Ok(Telemetry { level: handle, reopen, _writer: guard })
}

fn open(name: &str, dir: &Path, log: &LogConfig) -> Result<files::Files, TelemetryError> {
    let bounds =
        files::Bounds { files: log.files_kept, bytes: log.file_size.bytes(), days: log.max_age.days() };
    files::Files::open(dir, name, bounds)
        .map_err(|source| TelemetryError::Dir { dir: dir.to_owned(), source })
}

/// The scheduler crate logs its internals at every start, so its level is lowered. A level configured for it
/// takes precedence.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(format!("tokio_cron_scheduler=warn,{level}"))
        .map_err(|source| TelemetryError::Level { level: level.to_owned(), source })
}

impl Telemetry {
    /// Opens the log file again at its path before the next line, because another program, such as
    /// logrotate, may have moved it.
    pub fn reopen(&self) {
        if let Some(reopen) = &self.reopen {
            reopen.store(true, Ordering::Relaxed);
        }
    }

    /// Changes the log level.
    ///
    /// # Errors
    /// The level is invalid; the old one remains.
    pub fn set_level(&self, level: &str) -> Result<(), TelemetryError> {
        Ok(self.level.reload(filter(level)?)?)
    }
}
