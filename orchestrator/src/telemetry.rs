//! The orchestrator's own log: to standard error, where a supervisor keeps it, and if
//! wanted to one file a day. Writing never holds up the work.

use crate::config::Log;
use std::io::IsTerminal as _;
use tracing_appender::{
    non_blocking::WorkerGuard,
    rolling::{InitError, RollingFileAppender, Rotation},
};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

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
    /// The directory cannot be used.
    #[error("`dir` of `[log]`: {0}")]
    Dir(#[from] InitError),
}

/// Keeps the log going; what is not written yet is written when it is dropped.
#[derive(Debug)]
pub struct Telemetry(#[allow(dead_code, reason = "held for its drop")] Vec<WorkerGuard>);

/// Checks the settings and, if `install`, begins to log.
///
/// # Errors
/// A setting is wrong.
pub fn start(log: &Log, install: bool) -> Result<Telemetry, TelemetryError> {
    let filter = || {
        EnvFilter::try_new(&log.level)
            .map_err(|source| TelemetryError::Level { level: log.level.clone(), source })
    };
    let screen_filter = filter()?;
    if !install {
        return Ok(Telemetry(Vec::new()));
    }
    let mut guards = Vec::new();
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    guards.push(guard);
    // No colour into pipes and files.
    let colour = std::io::stderr().is_terminal();
    let screen = fmt::layer().with_writer(writer).with_ansi(colour).with_filter(screen_filter);
    let file = match &log.dir {
        None => None,
        Some(dir) => {
            let appender = RollingFileAppender::builder()
                .rotation(Rotation::DAILY)
                .filename_prefix("swarm-orchestrator")
                .filename_suffix("log")
                .max_log_files(log.files_kept.max(1))
                .build(dir)?;
            let (writer, guard) = tracing_appender::non_blocking(appender);
            guards.push(guard);
            Some(fmt::layer().with_writer(writer).with_ansi(false).with_filter(filter()?))
        }
    };
    // A second installation, as of a test, is refused; the first one stays.
    let _already = tracing_subscriber::registry().with(screen).with(file).try_init();
    Ok(Telemetry(guards))
}
