//! The orchestrator's configuration: every setting with its unit and default. Unknown settings are errors,
//! because they are probably typing errors.

mod healing;
mod limits;
mod network;
mod notify;
mod policy;
mod renamed;
mod signing;

pub use healing::{Healing, Host, ServiceManager};
pub use limits::Limits;
pub use network::Network;
pub use notify::Notify;
pub use policy::PolicyOverrides;
pub use renamed::{PROGRAM, RENAMED};
pub use signing::Signing;

use crate::journal::JournalSettings;
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use swarm_core::Policy;
use swarm_daemon::{
    config::{self, ConfigError, OldForm, Size, Span},
    telemetry::{self, LogConfig},
};

/// The shortest lease that drones can renew in time.
const SHORTEST_LEASE: Span = Span::from_secs(1);

/// The shortest time to keep build logs.
const SHORTEST_AGE: Span = Span::from_days(1);

/// The configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port for plain HTTP. Default `127.0.0.1:8100`, reachable only from this machine.
    /// Other machines get only packages there, and the API over TLS.
    pub listen: SocketAddr,
    /// Also serve the API to other machines over plain HTTP. Credentials then cross the network
    /// unencrypted: only for a trusted network. Default false.
    pub plain_api: bool,
    /// Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto, or Forwarded,
    /// headers are trusted to name the client and its scheme. From all others these headers are
    /// ignored. Default none.
    pub trusted_proxies: Vec<Network>,
    /// HTTPS.
    pub tls: Tls,
    /// Directory of the journal, tokens, keys and logs. Default `/var/lib/build-swarm`.
    pub state_dir: PathBuf,
    /// Directory of package files, snapshots, images and binary package hosts, which are large.
    /// Default: the state directory.
    pub artifact_dir: Option<PathBuf>,
    /// Delay after a start before unneeded files are removed for the first time; then every hour. Default 10
    /// minutes, enough for a machine without a clock battery to learn the time.
    pub first_cleaning: Span,
    /// Passwords of upstream Nix caches, in the form of Nix's `netrc-file`.
    pub netrc_file: PathBuf,
    /// Which journal to use.
    pub journal: JournalSettings,
    /// Signing of packages.
    pub signing: Signing,
    /// The orchestrator's own log.
    pub log: LogConfig,
    /// Build logs.
    pub build_logs: BuildLogs,
    /// Notifications.
    pub notify: Notify,
    /// Limits for input from the network.
    pub limits: Limits,
    /// Parameters of the core's rules.
    pub policy: PolicyOverrides,
    /// Recovery of silent drones.
    pub healing: Healing,
    /// Whether to replace missing keys or the journal although they existed before. Not a setting:
    /// a command-line option for a single start.
    #[serde(skip)]
    pub accept_new: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8100)),
            plain_api: false,
            trusted_proxies: Vec::new(),
            tls: Tls::default(),
            state_dir: "/var/lib/build-swarm".into(),
            artifact_dir: None,
            first_cleaning: Span::from_secs(600),
            netrc_file: "/etc/nix/netrc".into(),
            journal: JournalSettings::default(),
            signing: Signing::default(),
            log: LogConfig::default(),
            build_logs: BuildLogs::default(),
            notify: Notify::default(),
            limits: Limits::default(),
            policy: PolicyOverrides::default(),
            healing: Healing::default(),
            accept_new: false,
        }
    }
}

impl Config {
    /// Reads the configuration file.
    ///
    /// # Errors
    /// The file cannot be read or is invalid; the message names the place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path).map(|(config, _)| config)
    }

    /// As [`Config::load`]; also returns the settings that still use an old name.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(path: &Path) -> Result<(Self, Vec<OldForm>), ConfigError> {
        let (config, old): (Self, _) = config::read(path, PROGRAM)?;
        let invalid = |what: String| ConfigError::Invalid { path: path.to_owned(), line: 1, column: 1, what };
        config.check().map_err(invalid)?;
        Ok((config, old))
    }

    /// Checks what the types do not enforce.
    fn check(&self) -> Result<(), String> {
        for (name, dir) in
            [("state_dir", Some(&self.state_dir)), ("artifact_dir", self.artifact_dir.as_ref())]
        {
            if dir.is_some_and(|dir| !dir.is_absolute()) {
                return Err(format!("`{name}` must be an absolute path"));
            }
        }
        self.tls.check()?;
        self.limits.check()?;
        if self.policy.lease.is_some_and(|lease| lease < SHORTEST_LEASE) {
            return Err(format!("`lease` of `[policy]` must be at least \"{SHORTEST_LEASE}\""));
        }
        if self.build_logs.max_age < SHORTEST_AGE {
            return Err(format!("`max_age` of `[build_logs]` must be at least \"{SHORTEST_AGE}\""));
        }
        self.healing.check()?;
        telemetry::check(&self.log).map_err(|error| error.to_string())
    }

    /// The policy for the core.
    #[must_use]
    pub fn core_policy(&self) -> Policy {
        let index_bytes = self.limits.index_size.bytes();
        Policy { heal: self.healing.policy(), index_bytes, ..self.policy.policy() }
    }

    /// The directory of package files, snapshots, images and binary package hosts.
    #[must_use]
    pub fn artifact_dir(&self) -> &Path {
        self.artifact_dir.as_deref().unwrap_or(&self.state_dir)
    }

    /// The file with the admin token.
    #[must_use]
    pub fn admin_token_file(&self) -> PathBuf {
        self.state_dir.join("admin.token")
    }

    /// The file with the token for `/metrics`, which allows nothing else.
    #[must_use]
    pub fn metrics_token_file(&self) -> PathBuf {
        self.state_dir.join("metrics.token")
    }

    /// The file with the fingerprint of the TLS certificate that was last in use.
    #[must_use]
    pub fn tls_fingerprint_file(&self) -> PathBuf {
        self.state_dir.join("tls.fingerprint")
    }

    /// The file with the fingerprint of the signing key that was last in use.
    #[must_use]
    pub fn key_fingerprint_file(&self) -> PathBuf {
        self.state_dir.join("signing-key.fingerprint")
    }

    /// The file with the Nix signing key that is created if none is configured.
    #[must_use]
    pub fn nix_key_file(&self) -> PathBuf {
        self.state_dir.join("nix-signing-key")
    }

    /// The file with the Nix public keys that were last in use.
    #[must_use]
    pub fn nix_public_keys_file(&self) -> PathBuf {
        self.state_dir.join("nix-signing-key.public")
    }

    /// The file with the last trusted time of this machine's clock.
    #[must_use]
    pub fn clock_file(&self) -> PathBuf {
        self.state_dir.join("clock")
    }

    /// The file with the signing key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.signing.key_file.clone().unwrap_or_else(|| self.state_dir.join("signing-key.asc"))
    }
}

/// `[tls]`: HTTPS, for drones and for admins on other machines.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Address and port to serve HTTPS on. Default none.
    pub listen: Option<SocketAddr>,
    /// Names and addresses of this machine for the self-signed certificate, in addition to its host
    /// name. Default none.
    pub names: Vec<String>,
    /// A certificate chain (PEM) to use instead of a self-signed certificate.
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM), readable only by its owner and group.
    pub key: Option<PathBuf>,
}

impl Tls {
    fn check(&self) -> Result<(), String> {
        for (name, file) in [("certificate", &self.certificate), ("key", &self.key)] {
            if file.as_ref().is_some_and(|file| !file.is_absolute()) {
                return Err(format!("`{name}` of `[tls]` must be an absolute path"));
            }
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("`[tls]` needs `certificate` and `key`, or neither".into());
        }
        if self.listen.is_none() && (self.certificate.is_some() || !self.names.is_empty()) {
            return Err("`[tls]` is of no use without `listen`, such as \"0.0.0.0:8143\"".into());
        }
        Ok(())
    }
}

/// `[build_logs]`: how long build logs are kept. They are also removed with the runs they belong
/// to.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildLogs {
    /// How long to keep a build log. Default 90 days.
    pub max_age: Span,
    /// Size of all build logs together; the oldest are removed first. Default 4 GiB.
    pub total_size: Size,
}

impl Default for BuildLogs {
    fn default() -> Self {
        Self { max_age: Span::from_days(90), total_size: Size::from_gib(4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotated_example_is_the_default_configuration() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("orchestrator.example.toml");
        let example = Config::load(&path).unwrap();
        let (example, default) = (format!("{example:?}"), format!("{:?}", Config::default()));
        assert_eq!(example, default);
    }

    #[test]
    fn every_setting_of_the_example_can_be_uncommented() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("orchestrator.example.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        // In the example file, settings are commented out as `#name = value`, and prose is `# Prose`.
        let text: Vec<&str> = text
            .lines()
            .map(|l| l.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(l))
            .collect();
        let config: Config = config::parse(&path, &text.join("\n")).unwrap();
        assert_eq!(config.policy.policy(), Policy::default());
        assert!(config.artifact_dir.is_some() && config.log.dir.is_some());
        assert_eq!(config.check(), Ok(()));
        assert!(config.tls.listen.is_some() && config.tls.key.is_some());
    }

    #[test]
    fn half_a_tls_configuration_is_refused() {
        for (text, expected) in [
            ("certificate = \"/c\"", "or neither"),
            ("listen = \"[::]:8143\"\ncertificate = \"c\"\nkey = \"/k\"", "absolute"),
            ("names = [\"nas\"]", "without `listen`"),
        ] {
            let config = config::parse::<Config>(Path::new("o.toml"), &format!("[tls]\n{text}\n")).unwrap();
            assert!(config.check().unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn a_typing_mistake_is_named_with_its_line_and_the_nearest_setting() {
        let text = "[limits]\nbody_idel_timeout = \"5s\"\n";
        let error = config::parse::<Config>(Path::new("o.toml"), text).unwrap_err().to_string();
        assert!(error.starts_with("o.toml:2:1: ") && error.contains("`body_idle_timeout`"), "{error}");
    }
}
