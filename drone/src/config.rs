//! The drone's configuration file. `drone.example.toml` shows every setting.

use crate::{agent::Timing, builder::BuilderConfig};
use serde::Deserialize;
use std::path::PathBuf;
use swarm_common::name::Name;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses of the orchestrators, which act as one.
    pub orchestrators: Vec<String>,
    /// What the drone is called. Default: the machine's host name.
    pub name: Option<Name>,
    /// Where credential and spool live. What is in it must survive a restart.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Where snapshots are kept. May be removed at any time while the drone is stopped.
    #[serde(default = "default_cache_dir")]
    pub cache_dir: PathBuf,
    /// A file with a one-time enrolment token; needed until the drone is enrolled.
    pub token_file: Option<PathBuf>,
    /// Profiles it builds for. Default: every one.
    #[serde(default)]
    pub profiles: Vec<Name>,
    /// How long the first SIGTERM lets a build go on, in seconds.
    #[serde(default = "default_drain_timeout_s")]
    pub drain_timeout_s: u64,
    /// Between two heartbeats, in seconds. The orchestrator gives a drone up after 60.
    #[serde(default = "default_heartbeat_s")]
    pub heartbeat_s: u64,
    /// How much is logged, and where.
    #[serde(default)]
    pub log: LogConfig,
    /// How packages are built.
    #[serde(default)]
    pub builder: BuilderConfig,
}

/// How much is logged, and where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A filter such as `info` or `swarm_drone=debug`.
    pub level: String,
    /// A directory for daily files. Default: standard error.
    pub dir: Option<PathBuf>,
    /// Daily files that are kept.
    pub keep_files: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), dir: None, keep_files: 14 }
    }
}

fn default_state_dir() -> PathBuf {
    "/var/lib/swarm-drone".into()
}

fn default_cache_dir() -> PathBuf {
    "/var/cache/swarm-drone".into()
}

fn default_drain_timeout_s() -> u64 {
    1800
}

fn default_heartbeat_s() -> u64 {
    10
}

impl Config {
    /// The agent's times.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing {
            heartbeat_ms: self.heartbeat_s.max(1) * 1000,
            drain_timeout_ms: self.drain_timeout_s * 1000,
            ..Timing::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_example_is_valid_and_shows_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("drone.example.toml");
        let config: Config = swarm_common::config::load(&path).unwrap();
        assert_eq!(config.state_dir, default_state_dir());
        assert_eq!(config.drain_timeout_s, default_drain_timeout_s());
        assert_eq!(config.log.keep_files, LogConfig::default().keep_files);
    }

    #[test]
    fn a_misspelt_setting_is_named_with_its_line_and_the_right_spelling() {
        let text = "orchestrators = [\"http://nas:8100\"]\nstate_dri = \"/x\"\n";
        let error = swarm_common::config::parse::<Config>(Path::new("drone.toml"), text).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("drone.toml:2") && error.contains("state_dir"), "{error}");
    }
}
