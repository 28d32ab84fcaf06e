//! Reloads the configuration while the orchestrator runs (SIGHUP).
//!
//! A file with an error changes nothing. Otherwise, settings that can change at runtime are applied, and
//! other changed settings are reported as waiting for a restart.

use crate::{
    app::App,
    config::{Config, PROGRAM},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_daemon::{
    config::{ConfigError, changes::RawConfig},
    telemetry::{Telemetry, TelemetryError},
};

/// Settings and sections that need no restart. Code that uses one must read it from [`App::live`]
/// each time.
const AT_RUNTIME: &[&str] = &["policy", "healing", "log.level", "build_logs"];

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log level cannot be set.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The engine does not accept the policy; nothing has changed.
    #[error("the engine rejected it: {0}")]
    Engine(#[from] crate::engine::EngineError),
}

/// Result of a reload: names of changed settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that are now in effect.
    pub applied: Vec<String>,
    /// Settings that need a restart.
    pub waiting: Vec<String>,
}

/// The configuration file, and the versions of it that were read.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    /// As read at the start. Settings that need a restart still have these values.
    started: RawConfig,
    /// As last read. All other settings have these values.
    last: RawConfig,
}

impl Reloader {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(path: &Path) -> Result<Self, ConfigError> {
        let started = RawConfig::load(path, PROGRAM)?;
        Ok(Self { path: path.to_owned(), last: started.clone(), started })
    }

    /// Reads the file again and applies what can change at runtime.
    ///
    /// # Errors
    /// The file is invalid, or a new setting cannot be applied.
    pub async fn reload(&mut self, app: &App, telemetry: &Telemetry) -> Result<Reloaded, ReloadError> {
        let config = Config::load(&self.path)?;
        let written = RawConfig::load(&self.path, PROGRAM)?;
        // The engine first, because it may refuse; the level was checked when the file was read.
        app.engine.set_policy(config.core_policy()).await?;
        telemetry.set_level(&config.log.level)?;
        app.live.send_replace(Arc::new(config));
        let applied = self.last.changes(&written).into_iter().filter(|name| at_runtime(name)).collect();
        let waiting = self.started.changes(&written).into_iter().filter(|name| !at_runtime(name)).collect();
        self.last = written;
        Ok(Reloaded { applied, waiting })
    }
}

fn at_runtime(name: &str) -> bool {
    AT_RUNTIME
        .iter()
        .any(|known| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}
