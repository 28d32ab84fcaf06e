//! The orchestrator's configuration: every setting with its unit and default. An unknown setting is
//! refused as a typing error.

mod network;
mod policy;
mod signing;

pub use network::Network;
pub use policy::{PolicyOverrides, Span};
pub use signing::Signing;

use crate::{healer::config::Healing, journal::JournalSettings, notify::sink::Settings as Notify};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_common::{
    config::{self, ConfigError},
    state::Caller,
    telemetry::{self, LogConfig},
};
use swarm_core::Policy;

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
    /// The file cannot be read, or is invalid; the message says where.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = config::load(path)?;
        let invalid = |what: String| ConfigError::Invalid { path: path.to_owned(), line: 1, column: 1, what };
        config.check().map_err(invalid)?;
        Ok(config)
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
        if self.policy.lease_ms.is_some_and(|ms| ms < 1000) {
            return Err("`lease_ms` of `[policy]` is in milliseconds and must be at least 1000".into());
        }
        if self.build_logs.days_kept == 0 {
            return Err("`days_kept` of `[build_logs]` must be at least 1".into());
        }
        self.healing.check()?;
        telemetry::check(&self.log).map_err(|error| error.to_string())
    }

    /// The policy for the core.
    #[must_use]
    pub fn core_policy(&self) -> Policy {
        let index_bytes = self.limits.index_bytes;
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

    /// The file with the fingerprint of the last TLS certificate in use.
    #[must_use]
    pub fn tls_fingerprint_file(&self) -> PathBuf {
        self.state_dir.join("tls.fingerprint")
    }

    /// The file with the fingerprint of the last signing key in use.
    #[must_use]
    pub fn key_fingerprint_file(&self) -> PathBuf {
        self.state_dir.join("signing-key.fingerprint")
    }

    /// The file with the key for Nix that is created if none is configured.
    #[must_use]
    pub fn nix_key_file(&self) -> PathBuf {
        self.state_dir.join("nix-signing-key")
    }

    /// The file with the public keys for Nix that were last in use.
    #[must_use]
    pub fn nix_public_keys_file(&self) -> PathBuf {
        self.state_dir.join("nix-signing-key.public")
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
    /// Days to keep a build log. Default 90.
    pub days_kept: u64,
    /// Bytes of all build logs together; the oldest are removed first. Default 4 GiB.
    pub total_bytes: u64,
}

impl Default for BuildLogs {
    fn default() -> Self {
        Self { days_kept: 90, total_bytes: 4 << 30 }
    }
}

/// `[limits]`: limits for input from the network.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Simultaneous connections: a quarter for callers without a credential, a quarter for
    /// workstations, three eighths for drones, an eighth for admins. Default 1024.
    pub connections: usize,
    /// Simultaneous connections of one drone, or, without a credential, of one address (for IPv6,
    /// one /64). Default 64.
    pub connections_per_address: usize,
    /// Milliseconds that a request's header may take, and that a connection may be idle. Default
    /// 15000.
    pub header_ms: u64,
    /// Milliseconds that a request's body may pause. Default 15000.
    pub body_idle_ms: u64,
    /// Largest report in bytes. Plans are the largest: 16 MiB, the default, is enough for about
    /// 6,000 packages. Processing one takes up to eight times its size in memory.
    pub plan_bytes: u64,
    /// Largest piece of a log in bytes. Default 1 MiB.
    pub log_piece_bytes: u64,
    /// Largest package file in bytes. Default 8 GiB.
    pub upload_bytes: u64,
    /// Bytes of all files of one attempt together. Default 16 GiB.
    pub attempt_bytes: u64,
    /// Largest index of a profile in bytes, including what a run adds. A package that would exceed
    /// it is rejected. Default 64 MiB, enough for 40,000 packages.
    pub index_bytes: u64,
    /// Largest compressed snapshot in bytes. Default 2 GiB.
    pub snapshot_bytes: u64,
    /// Largest compressed image of a base in bytes. Default 4 GiB.
    pub image_bytes: u64,
    /// Milliseconds that an assignment waits for the index to catch up. Default 10000. A drone
    /// abandons a claim 15 s after its wait time.
    pub publish_wait_ms: u64,
    /// Milliseconds that open requests get to finish when the orchestrator stops. Default 10000.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 64,
            header_ms: 15_000,
            body_idle_ms: 15_000,
            plan_bytes: 16 << 20,
            log_piece_bytes: 1 << 20,
            upload_bytes: 8 << 30,
            attempt_bytes: 16 << 30,
            index_bytes: 64 << 20,
            snapshot_bytes: 2 << 30,
            image_bytes: 4 << 30,
            publish_wait_ms: 10_000,
            drain_ms: 10_000,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), String> {
        if self.body_idle_ms == 0 || self.header_ms == 0 || self.connections_per_address == 0 {
            return Err(
                "`connections_per_address`, `body_idle_ms` and `header_ms` of `[limits]` must be at least 1"
                    .into(),
            );
        }
        if self.connections < 8 {
            return Err("`connections` of `[limits]` must be at least 8".into());
        }
        Ok(())
    }

    /// The most connections of callers of this kind.
    #[must_use]
    pub fn share(&self, caller: Caller) -> usize {
        let eighth = self.connections / 8;
        match caller {
            Caller::Stranger | Caller::Workstation => eighth * 2,
            Caller::Drone => eighth * 3,
            Caller::Admin => eighth,
        }
    }

    /// [`Limits::body_idle_ms`] as a duration.
    #[must_use]
    pub fn body_idle(&self) -> Duration {
        Duration::from_millis(self.body_idle_ms)
    }

    /// [`Limits::header_ms`] as a duration.
    #[must_use]
    pub fn header(&self) -> Duration {
        Duration::from_millis(self.header_ms)
    }

    /// [`Limits::publish_wait_ms`] as a duration.
    #[must_use]
    pub fn publish_wait(&self) -> Duration {
        Duration::from_millis(self.publish_wait_ms)
    }

    /// [`Limits::drain_ms`] as a duration.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
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
        // Settings are commented as `#name = value`, prose as `# Prose`.
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
        for (text, said) in [
            ("certificate = \"/c\"", "or neither"),
            ("listen = \"[::]:8143\"\ncertificate = \"c\"\nkey = \"/k\"", "absolute"),
            ("names = [\"nas\"]", "without `listen`"),
        ] {
            let config = config::parse::<Config>(Path::new("o.toml"), &format!("[tls]\n{text}\n")).unwrap();
            assert!(config.check().unwrap_err().contains(said), "{text}");
        }
    }

    #[test]
    fn a_typing_mistake_is_named_with_its_line_and_the_nearest_setting() {
        let text = "[limits]\nbody_idel_ms = 5\n";
        let said = config::parse::<Config>(Path::new("o.toml"), text).unwrap_err().to_string();
        assert!(said.starts_with("o.toml:2:1: ") && said.contains("`body_idle_ms`"), "{said}");
    }
}
