//! The orchestrator's configuration: every setting with its unit and default. A setting
//! that is not here is a typing mistake and refused.

mod network;
mod policy;

pub use network::Network;
pub use policy::{PolicyOverrides, Span};

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
    /// Address and port to serve plain HTTP on. Default `127.0.0.1:8100`, which only this
    /// machine reaches. Other machines get packages there, and the API over TLS.
    pub listen: SocketAddr,
    /// Serve the API to other machines over plain HTTP, too, so that credentials cross the
    /// network in the clear: for a network that you trust. Default false.
    pub plain_api: bool,
    /// Proxies that say in X-Forwarded-For and X-Forwarded-Proto, or Forwarded, from where and whether
    /// over TLS they were asked: addresses and networks. Of all others such headers mean nothing.
    /// Default none.
    pub trusted_proxies: Vec<Network>,
    /// HTTPS.
    pub tls: Tls,
    /// Where the journal, tokens, keys and logs are. Default `/var/lib/build-swarm`.
    pub state_dir: PathBuf,
    /// Where package files, snapshots, images and the binary package hosts are, if not in the state
    /// directory: they are large.
    pub artifact_dir: Option<PathBuf>,
    /// Where the journal is.
    pub journal: JournalSettings,
    /// Signing of packages.
    pub signing: Signing,
    /// The orchestrator's own log.
    pub log: LogConfig,
    /// Logs of builds.
    pub build_logs: BuildLogs,
    /// Whom to tell what.
    pub notify: Notify,
    /// Bounds of what is taken in.
    pub limits: Limits,
    /// Numbers behind the rules.
    pub policy: PolicyOverrides,
    /// Bringing silent drones back.
    pub healing: Healing,
    /// Whether what is gone is made anew although there are traces of it. No setting: the
    /// command line says it, for one start.
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
    /// It cannot be read, or something in it is wrong; the message says where.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = config::load(path)?;
        let invalid = |what: String| ConfigError::Invalid { path: path.to_owned(), line: 1, column: 1, what };
        config.check().map_err(invalid)?;
        Ok(config)
    }

    /// What the types cannot tell.
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

    /// The core's numbers.
    #[must_use]
    pub fn core_policy(&self) -> Policy {
        Policy { heal: self.healing.policy(), ..self.policy.policy() }
    }

    /// Where package files, snapshots and binary package hosts are.
    #[must_use]
    pub fn artifact_dir(&self) -> &Path {
        self.artifact_dir.as_deref().unwrap_or(&self.state_dir)
    }

    /// The file with the admin's token.
    #[must_use]
    pub fn admin_token_file(&self) -> PathBuf {
        self.state_dir.join("admin.token")
    }

    /// The file with the token that reads `/metrics` and nothing else.
    #[must_use]
    pub fn metrics_token_file(&self) -> PathBuf {
        self.state_dir.join("metrics.token")
    }

    /// The file with the fingerprint of the TLS certificate that was shown last.
    #[must_use]
    pub fn tls_fingerprint_file(&self) -> PathBuf {
        self.state_dir.join("tls.fingerprint")
    }

    /// The file with the fingerprint of the key that signed last.
    #[must_use]
    pub fn key_fingerprint_file(&self) -> PathBuf {
        self.state_dir.join("signing-key.fingerprint")
    }

    /// The file with the key that signs packages.
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
    /// Names and addresses of this machine, beside its host name, for a certificate that is
    /// made. Default none.
    pub names: Vec<String>,
    /// A certificate with its chain (PEM), if none is to be made.
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM), which only the owner and their group may read.
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

/// `[signing]`: OpenPGP signatures of packages. Portage asks for them by default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signing {
    /// Whether packages are signed. Default true.
    pub enabled: bool,
    /// The armored secret key, without a passphrase. Made at the first start if it is not
    /// there. Default `signing-key.asc` in the state directory.
    pub key_file: Option<PathBuf>,
    /// The user id of a key that is made. Default `Build Swarm <build-swarm@localhost>`.
    pub user_id: String,
}

impl Default for Signing {
    fn default() -> Self {
        Self { enabled: true, key_file: None, user_id: "Build Swarm <build-swarm@localhost>".into() }
    }
}

/// `[build_logs]`: bounds of what packages printed while they were built. Logs of runs that
/// are no longer kept go with them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildLogs {
    /// Days after which a build's log goes. Default 90.
    pub days_kept: u64,
    /// Bytes of all logs together; the oldest go first. Default 4 GiB.
    pub total_bytes: u64,
}

impl Default for BuildLogs {
    fn default() -> Self {
        Self { days_kept: 90, total_bytes: 4 << 30 }
    }
}

/// `[limits]`: bounds of what comes over the network.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once: a quarter for strangers, a quarter for workstations, three eighths for
    /// drones, an eighth for admins. Default 1024.
    pub connections: usize,
    /// Of these at most so many of one drone, and, without a credential, of one address (IPv6: of a
    /// /64). Default 64.
    pub connections_per_address: usize,
    /// Milliseconds that a request's head may take, and that a connection may be idle.
    /// Default 15000.
    pub header_ms: u64,
    /// Milliseconds without a byte of a request's body. Default 15000.
    pub body_idle_ms: u64,
    /// Bytes of a report. The largest is the plan of a whole world. Default 64 MiB.
    pub plan_bytes: u64,
    /// Bytes of one piece of a log. Default 1 MiB.
    pub log_piece_bytes: u64,
    /// Bytes of a package file. Default 8 GiB.
    pub upload_bytes: u64,
    /// Bytes of all files of one attempt together. Default 16 GiB.
    pub attempt_bytes: u64,
    /// Bytes of the index of a profile, with what a run adds to it. A package that would break
    /// it is refused. Default 64 MiB, which is that of 40,000 packages.
    pub index_bytes: u64,
    /// Bytes of a compressed snapshot. Default 2 GiB.
    pub snapshot_bytes: u64,
    /// Bytes of a base's compressed image. Default 4 GiB.
    pub image_bytes: u64,
    /// Milliseconds that an assignment waits for the index to catch up. Default 10000; a
    /// drone gives a claim up 15 s after the time that it was willing to wait.
    pub publish_wait_ms: u64,
    /// Milliseconds that open requests get when the orchestrator stops. Default 10000.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 64,
            header_ms: 15_000,
            body_idle_ms: 15_000,
            plan_bytes: 64 << 20,
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

    /// How many of the connections may be of a kind.
    #[must_use]
    pub fn share(&self, caller: Caller) -> usize {
        let eighth = self.connections / 8;
        match caller {
            Caller::Stranger | Caller::Workstation => eighth * 2,
            Caller::Drone => eighth * 3,
            Caller::Admin => eighth,
        }
    }

    /// The longest silence within a request's body.
    #[must_use]
    pub fn body_idle(&self) -> Duration {
        Duration::from_millis(self.body_idle_ms)
    }

    /// The longest time for a request's head.
    #[must_use]
    pub fn header(&self) -> Duration {
        Duration::from_millis(self.header_ms)
    }

    /// How long an assignment waits for the index.
    #[must_use]
    pub fn publish_wait(&self) -> Duration {
        Duration::from_millis(self.publish_wait_ms)
    }

    /// How long open requests get at the end.
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
