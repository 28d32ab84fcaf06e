//! The drone's configuration file. `drone.example.toml` shows every setting.

mod builder;
mod nix;
mod renamed;
mod slots;

pub use builder::{BuilderConfig, RootKind};
pub use nix::{Enabled, NixConfig};
pub use renamed::{PROGRAM, RENAMED};

use crate::agent::Timing;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use swarm_client::{Trust, Url, parse_address};
use swarm_common::{fingerprint::Pins, name::Name};
use swarm_daemon::{
    config::{self, OldForm, Span},
    telemetry::{self, LogConfig},
};

/// Minimum heartbeat interval.
const FASTEST_BEAT: Span = Span::from_secs(1);

/// Maximum heartbeat interval. A drone is offline after 60 s of silence, so two heartbeats must fit in
/// that.
const SLOWEST_BEAT: Span = Span::from_secs(30);

/// Maximum drain timeout. A longer one is probably a typing error.
const LONGEST_DRAIN: Span = Span::from_days(7);

/// The settings of the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URLs of the orchestrators, which act as one. At least one is required.
    pub orchestrators: Vec<String>,
    /// The fingerprint of the orchestrators' certificate, or a list of fingerprints.
    #[serde(default)]
    pub fingerprint: Pins,
    /// A PEM file with trusted certificate authorities, used if no fingerprint is set. Default: the
    /// authorities that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The drone's name. Default: the machine's host name.
    pub name: Option<Name>,
    /// Directory for the credential and the spool. Its content must survive a restart.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Directory for snapshots. It may be removed at any time while the drone is stopped.
    #[serde(default = "default_cache_dir")]
    pub cache_dir: PathBuf,
    /// File with a one-time enrolment token; needed until the drone is enrolled.
    pub token_file: Option<PathBuf>,
    /// Profiles to build for. Default: all.
    #[serde(default)]
    pub profiles: Vec<Name>,
    /// How long builds may continue after the first SIGTERM.
    #[serde(default = "default_drain_timeout")]
    pub drain_timeout: Span,
    /// How long to retry files or a plan that something in between (such as a proxy) blocks. After that the
    /// attempt fails, and its work is done again by any drone.
    #[serde(default = "default_blocked_timeout")]
    pub blocked_timeout: Span,
    /// Interval between heartbeats. The orchestrator considers a drone offline after 60 s
    /// of silence.
    #[serde(default = "default_heartbeat")]
    pub heartbeat: Span,
    /// Log level and destination.
    #[serde(default)]
    pub log: LogConfig,
    /// The `[builder]` section.
    #[serde(default)]
    pub builder: BuilderConfig,
}

fn default_state_dir() -> PathBuf {
    "/var/lib/swarm-drone".into()
}

fn default_cache_dir() -> PathBuf {
    "/var/cache/swarm-drone".into()
}

fn default_drain_timeout() -> Span {
    Span::from_secs(1800)
}

fn default_blocked_timeout() -> Span {
    Span::from_secs(1800)
}

fn default_heartbeat() -> Span {
    Span::from_secs(10)
}

impl Config {
    /// Reads and validates the configuration file. Also returns the settings that still use an old name.
    ///
    /// # Errors
    /// The file cannot be read or is invalid; the message names the place.
    pub fn read(path: &Path) -> Result<(Self, Vec<OldForm>), String> {
        let (config, old): (Self, _) = config::read(path, PROGRAM).map_err(|error| error.to_string())?;
        config.check().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((config, old))
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// A setting is invalid; the message names it and the reason.
    pub fn check(&self) -> Result<(), String> {
        if self.orchestrators.is_empty() {
            return Err("orchestrators is empty; name at least one, such as \"http://nas:8100\"".into());
        }
        self.trust().check(&self.addresses()?)?;
        for (setting, path) in [("state_dir", &self.state_dir), ("cache_dir", &self.cache_dir)] {
            if !path.is_absolute() {
                return Err(format!("{setting} is `{}`; it must be an absolute path", path.display()));
            }
        }
        if !(FASTEST_BEAT..=SLOWEST_BEAT).contains(&self.heartbeat) {
            let given = self.heartbeat;
            return Err(format!("heartbeat is {given}; it must be from {FASTEST_BEAT} to {SLOWEST_BEAT}"));
        }
        if self.drain_timeout > LONGEST_DRAIN {
            let given = self.drain_timeout;
            return Err(format!("drain_timeout is {given}; it must be at most {LONGEST_DRAIN}"));
        }
        telemetry::check(&self.log).map_err(|error| error.to_string())?;
        self.builder.check()
    }

    /// The addresses of the orchestrators.
    ///
    /// # Errors
    /// An address is invalid.
    pub fn addresses(&self) -> Result<Vec<Url>, String> {
        let parse = |text: &String| parse_address(text).map_err(|why| format!("orchestrators: {why}"));
        self.orchestrators.iter().map(parse).collect()
    }

    /// How the orchestrator's certificate is verified.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust { pins: self.fingerprint.clone(), ca: self.ca.clone() }
    }

    /// The agent's intervals and timeouts.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing {
            heartbeat_ms: self.heartbeat.max(FASTEST_BEAT).millis(),
            drain_timeout_ms: self.drain_timeout.millis(),
            blocked_ms: self.blocked_timeout.millis(),
            ..Timing::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_valid_and_shows_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("drone.example.toml");
        let config: Config = swarm_daemon::config::load(&path).unwrap();
        assert_eq!(config.state_dir, default_state_dir());
        assert_eq!(config.drain_timeout, default_drain_timeout());
        assert_eq!(config.blocked_timeout, default_blocked_timeout());
        assert_eq!(config.heartbeat, default_heartbeat());
        assert_eq!(config.builder, BuilderConfig::default());
        assert_eq!(config.log, LogConfig::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_misspelt_setting_is_named_with_its_line_and_the_right_spelling() {
        let text = "orchestrators = [\"http://nas:8100\"]\nstate_dri = \"/x\"\n";
        let error = swarm_daemon::config::parse::<Config>(Path::new("drone.toml"), text).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("drone.toml:2") && error.contains("state_dir"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_settings_name() {
        let check = |text: &str| {
            let text = format!("orchestrators = [\"http://nas:8100\"]\n{text}");
            swarm_daemon::config::parse::<Config>(Path::new("drone.toml"), &text).unwrap().check()
        };
        assert_eq!(check(""), Ok(()));
        for (text, named) in [
            ("heartbeat = \"0\"", "heartbeat"),
            ("heartbeat = \"60s\"", "heartbeat"),
            ("drain_timeout = \"8d\"", "drain_timeout"),
            ("state_dir = \"state\"", "state_dir"),
            ("ca = \"/etc/ca.pem\"", "https"),
            ("[builder]\nload = -1.0", "builder.load"),
            ("[builder]\nslots = 0", "builder.slots"),
        ] {
            assert!(check(text).unwrap_err().contains(named), "{text}");
        }
        let nobody = "orchestrators = []";
        let nobody = swarm_daemon::config::parse::<Config>(Path::new("drone.toml"), nobody).unwrap();
        assert!(nobody.check().unwrap_err().contains("orchestrators"));
        let bare = "orchestrators = [\"nas:8100\"]";
        let bare = swarm_daemon::config::parse::<Config>(Path::new("drone.toml"), bare).unwrap();
        assert!(bare.check().unwrap_err().contains("http://nas:8100"));
    }
}
