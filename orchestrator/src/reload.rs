//! Taking over a changed configuration while the orchestrator runs (SIGHUP).
//!
//! A file that is wrong changes nothing at all. Of one that is right, what can change at
//! runtime is taken over, and what cannot is named and waits for a restart.

use crate::{app::App, config::Config};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{
    config::{ConfigError, changes::Written},
    telemetry::{Telemetry, TelemetryError},
};

/// Settings and sections that need no restart. Whoever uses one of them reads it from
/// [`App::live`] each time.
const AT_RUNTIME: &[&str] = &["policy", "healing", "log.level", "build_logs"];

/// Why the old configuration stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new one is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log does not take it.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The engine does not take it.
    #[error("the engine does not take it: {0}")]
    Engine(#[from] crate::engine::EngineError),
}

/// What a reload came to: names of settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// In force now.
    pub applied: Vec<String>,
    /// In force after a restart.
    pub waiting: Vec<String>,
}

/// The configuration file and what was last read from it.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    /// What the orchestrator started with: settings that need a restart are still so.
    started: Written,
    /// What it read last: the others are so.
    last: Written,
}

impl Reloader {
    /// Begins with the file as it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(path: &Path) -> Result<Self, ConfigError> {
        let started = Written::load(path)?;
        Ok(Self { path: path.to_owned(), last: started.clone(), started })
    }

    /// Reads the file again and takes over what can be.
    ///
    /// # Errors
    /// Why the old configuration stays.
    pub async fn reload(&mut self, app: &App, telemetry: &Telemetry) -> Result<Reloaded, ReloadError> {
        let config = Config::load(&self.path)?;
        let written = Written::load(&self.path)?;
        telemetry.set_level(&config.log.level)?;
        app.engine.set_policy(config.core_policy()).await?;
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
