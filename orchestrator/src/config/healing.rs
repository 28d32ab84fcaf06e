//! The `[healing]` section: which machines the healer may reach, what it may do there, and its limits.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_common::name::Name;
use swarm_core::policy::{HealPolicy, Reach, RebootRule};
use swarm_daemon::config::Span;

/// Generous upper bound for the time from the end of a step until its report is in the journal.
const REPORT_MS: u64 = 30_000;

/// `[healing]`: recovery of silent drones over SSH.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Healing {
    /// Host keys of the machines in OpenSSH format. Default: `ssh_known_hosts` in the state
    /// directory.
    pub known_hosts: Option<PathBuf>,
    /// Private key for the login, without a passphrase. Default: `ssh_key` in the state directory.
    pub key_file: Option<PathBuf>,
    /// Time limit for connecting and logging in. Default: 10 s.
    pub connect_timeout: Span,
    /// Time limit for one remote command. Default: 60 s.
    pub exec_timeout: Span,
    /// Time limit for a whole step, except a reboot. Default: 90 s.
    pub step_timeout: Span,
    /// How long a drone is offline before its first probe. Default: 1 min.
    pub patience: Span,
    /// Failed attempts to reach a machine before healing gives up. Default: 5.
    pub probes: u32,
    /// Restarts of the service before it is killed. Default: 2.
    pub restarts: u32,
    /// How long a drone may take to report again after a step. Default: 3 min.
    pub recover_timeout: Span,
    /// How long a machine may take to reboot. Default: 10 min.
    pub reboot_timeout: Span,
    /// How long a drone must keep reporting before its next healing starts at the first step again.
    /// Default: 30 min.
    pub calm: Span,
    /// Maximum restarts and kills of one drone's service per day. Default: 6.
    pub restarts_per_drone: u32,
    /// Maximum restarts and kills in the whole swarm per hour. Default: 10.
    pub restarts_per_hour: u32,
    /// Maximum reboots of one machine per day. Default: 1.
    pub reboots_per_drone: u32,
    /// Maximum reboots in the whole swarm per day. Default: 3.
    pub reboots_per_day: u32,
    /// `[healing.drone.NAME]`: the machines. Drones not listed here are not healed.
    pub drone: BTreeMap<Name, Host>,
}

/// `[healing.drone.NAME]`: a drone's machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Host name or IP address.
    pub address: String,
    /// SSH port. Default: 22.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Login user. Default: `root`; any other user needs passwordless `sudo`.
    #[serde(default = "default_user")]
    pub user: String,
    /// Whether the machine may be rebooted: `never` (default), `ask` or `allow`.
    #[serde(default)]
    pub reboot: RebootRule,
    /// Never reboot the machine, even if an administrator confirms it. Default: false.
    #[serde(default)]
    pub protected: bool,
    /// The service manager: `auto` (default), `openrc` or `systemd`.
    #[serde(default)]
    pub service: ServiceManager,
}

/// The service manager of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceManager {
    /// Detected on the machine.
    #[default]
    Auto,
    /// `rc-service`.
    Openrc,
    /// `systemctl`.
    Systemd,
}

fn default_port() -> u16 {
    22
}

fn default_user() -> String {
    "root".into()
}

impl Default for Healing {
    fn default() -> Self {
        let policy = HealPolicy::default();
        Self {
            known_hosts: None,
            key_file: None,
            connect_timeout: Span::from_secs(10),
            exec_timeout: Span::from_secs(60),
            step_timeout: Span::from_millis(policy.step_ms - REPORT_MS),
            patience: Span::from_millis(policy.patience_ms),
            probes: policy.probes,
            restarts: policy.restarts,
            recover_timeout: Span::from_millis(policy.recover_ms),
            reboot_timeout: Span::from_millis(policy.reboot_ms),
            calm: Span::from_millis(policy.calm_ms),
            restarts_per_drone: policy.restarts_per_drone,
            restarts_per_hour: policy.restarts_per_hour,
            reboots_per_drone: policy.reboots_per_drone,
            reboots_per_day: policy.reboots_per_day,
            drone: BTreeMap::new(),
        }
    }
}

impl Healing {
    /// The corresponding policy of the core.
    #[must_use]
    pub fn policy(&self) -> HealPolicy {
        let reach = |host: &Host| Reach { reboot: host.reboot, protected: host.protected };
        HealPolicy {
            patience_ms: self.patience.millis(),
            probes: self.probes,
            restarts: self.restarts,
            recover_ms: self.recover_timeout.millis(),
            step_ms: self.step_timeout.millis() + REPORT_MS,
            reboot_ms: self.reboot_timeout.millis(),
            calm_ms: self.calm.millis(),
            restarts_per_drone: self.restarts_per_drone,
            restarts_per_hour: self.restarts_per_hour,
            reboots_per_drone: self.reboots_per_drone,
            reboots_per_day: self.reboots_per_day,
            reach: self.drone.iter().map(|(name, host)| (name.clone(), reach(host))).collect(),
            ..HealPolicy::default()
        }
    }

    /// Checks what the types cannot express.
    ///
    /// # Errors
    /// A setting is invalid; the message says what to change.
    pub fn check(&self) -> Result<(), String> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("exec_timeout", self.exec_timeout),
            ("step_timeout", self.step_timeout),
            ("reboot_timeout", self.reboot_timeout),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| *time == Span::default()) {
            return Err(format!("`{name}` of `[healing]` must be more than 0"));
        }
        let numbers = [
            ("probes", self.probes),
            ("restarts_per_drone", self.restarts_per_drone),
            ("restarts_per_hour", self.restarts_per_hour),
            ("reboots_per_drone", self.reboots_per_drone),
            ("reboots_per_day", self.reboots_per_day),
        ];
        if let Some((name, _)) = numbers.iter().find(|(_, number)| *number == 0) {
            return Err(format!("`{name}` of `[healing]` must be at least 1"));
        }
        let mut places = BTreeMap::new();
        for (name, host) in &self.drone {
            let bad = |text: &str| text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '@');
            if bad(&host.address) || bad(&host.user) {
                return Err(format!(
                    "`[healing.drone.{name}]`: `address` is a name or an IP address, `user` a user's name"
                ));
            }
            if let Some(other) = places.insert((&host.address, host.port), name) {
                return Err(format!(
                    "`[healing.drone.{other}]` and `[healing.drone.{name}]` have the same address and port, \
                     so one would be healed in place of the other"
                ));
            }
        }
        Ok(())
    }

    /// The file with host keys.
    #[must_use]
    pub fn known_hosts(&self, state_dir: &Path) -> PathBuf {
        self.known_hosts.clone().unwrap_or_else(|| state_dir.join("ssh_known_hosts"))
    }

    /// The file with the private key.
    #[must_use]
    pub fn key_file(&self, state_dir: &Path) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| state_dir.join("ssh_key"))
    }

    /// Time limit for a whole step, except a reboot.
    #[must_use]
    pub fn step(&self) -> Duration {
        self.step_timeout.duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use swarm_daemon::config;

    fn read(text: &str) -> Result<Config, String> {
        let config = config::parse::<Config>(Path::new("o.toml"), text).map_err(|e| e.to_string())?;
        config.healing.check().map(|()| config)
    }

    #[test]
    fn a_table_for_each_drone_says_what_may_be_done_with_its_machine() {
        let text = "[healing.drone.oak]\naddress = \"oak.lan\"\n\
                    [healing.drone.elm]\naddress = \"10.0.0.7\"\nport = 2222\nuser = \"heal\"\n\
                    reboot = \"ask\"\nprotected = true\nservice = \"openrc\"\n";
        let config = read(text).unwrap();
        let reach: Vec<Reach> = config.core_policy().heal.reach.into_values().collect();
        let (elm, oak) = (reach[0], reach[1]);
        assert_eq!(oak, Reach { reboot: RebootRule::Never, protected: false });
        assert_eq!(elm, Reach { reboot: RebootRule::Ask, protected: true });
        let host = &config.healing.drone.values().next().unwrap();
        assert_eq!((host.port, host.user.as_str(), host.service), (2222, "heal", ServiceManager::Openrc));
    }

    #[test]
    fn a_typing_mistake_in_a_machines_table_is_named_with_what_was_meant() {
        for (text, meant) in [
            ("[healing]\nknown_host = \"/k\"\n", "`known_hosts`"),
            ("[healing.drone.oak]\naddress = \"a\"\nreeboot = \"ask\"\n", "`reboot`"),
            ("[healing.drone.oak]\naddress = \"a\"\nreboot = \"always\"\n", "allow"),
            ("[healing.drone.oak]\naddress = \"a\"\nservice = \"upstart\"\n", "openrc"),
            ("[healing.drone.oak]\nport = 22\n", "address"),
            ("[healing.drone.oak]\naddress = \"root@oak\"\n", "`user`"),
            ("[healing]\nprobes = 0\n", "`probes`"),
            ("[healing]\nexec_timeout = \"0s\"\n", "`exec_timeout`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(meant), "{text}: {error}");
        }
    }

    #[test]
    fn two_drones_at_one_address_are_refused() {
        let table =
            |name: &str, port: u16| format!("[healing.drone.{name}]\naddress = \"nat.lan\"\nport = {port}\n");
        assert!(read(&(table("oak", 22) + &table("elm", 23))).is_ok());
        let error = read(&(table("oak", 22) + &table("elm", 22))).unwrap_err();
        assert!(error.contains("elm") && error.contains("oak"), "{error}");
    }

    #[test]
    fn the_core_waits_longer_for_a_report_than_the_shell_for_its_step() {
        let healing = Healing::default();
        assert!(healing.policy().step_ms > healing.step_timeout.millis());
        assert_eq!(healing.policy(), HealPolicy::default());
    }
}
