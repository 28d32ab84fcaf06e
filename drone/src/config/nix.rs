//! The `[builder.nix]` section of the configuration.

use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_common::wire::nix::NixMachine;
use swarm_daemon::config::{Size, Span};

/// The smallest memory limit of an evaluation.
const LEAST_MEMORY: Size = Size::from_mib(256);

/// Settings for builds with Nix. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NixConfig {
    /// Whether this drone builds with Nix. Default `auto`: if Nix is installed.
    pub enabled: Enabled,
    /// Directory with the program `nix`. Default: the search path, then the directories where NixOS and the
    /// Nix installer put it.
    pub programs: Option<PathBuf>,
    /// Directory for the drone's own stores; the machine's `/nix/store` is not used. Default: `nix` in
    /// `cache_dir`. It may be removed at any time while no build runs.
    pub store_dir: Option<PathBuf>,
    /// Disk space for the store that builds use. Paths in use are never removed. Default 40 GiB.
    pub store_max: Size,
    /// Program that builds find as `/bin/sh`, such as a static busybox. Default: the one that Nix was
    /// compiled with, if any.
    pub shell: Option<PathBuf>,
    /// Systems other than its own for which this machine can build, such as those that binfmt_misc runs. They
    /// are added to the systems that Nix detects by itself. Default: none.
    pub extra_platforms: Vec<String>,
    /// Features (`requiredSystemFeatures`) of this machine, added to the features that Nix detects by itself.
    /// Default: none.
    pub system_features: Vec<String>,
    /// Program with arguments that evaluates instead of Nix's own, such as `nix-eval-jobs` with `--workers`.
    /// It must print a line of JSON for each attribute. Default: none.
    pub eval_command: Vec<String>,
    /// Memory limit of an evaluation. Default 8 GiB.
    pub evaluation_memory: Size,
    /// Time limit for the evaluation of one attribute. Default 10 min.
    pub evaluation_timeout: Span,
}

/// Whether a drone builds with Nix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Enabled {
    /// Always or never.
    Always(bool),
    /// If Nix is installed.
    Found(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// The drone decides.
    Auto,
}

impl Default for NixConfig {
    fn default() -> Self {
        Self {
            enabled: Enabled::Found(Auto::Auto),
            programs: None,
            store_dir: None,
            store_max: Size::from_gib(40),
            shell: None,
            extra_platforms: Vec::new(),
            system_features: Vec::new(),
            eval_command: Vec::new(),
            evaluation_memory: Size::from_gib(8),
            evaluation_timeout: Span::from_secs(600),
        }
    }
}

impl NixConfig {
    /// Directory of the stores.
    #[must_use]
    pub fn store_dir(&self, cache_dir: &Path) -> PathBuf {
        self.store_dir.clone().unwrap_or_else(|| cache_dir.join("nix"))
    }

    /// Disk budget in bytes of the store that builds use.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.store_max.bytes()
    }

    /// Memory limit of an evaluation in bytes.
    #[must_use]
    pub fn evaluation_memory(&self) -> u64 {
        self.evaluation_memory.bytes()
    }

    /// Time limit for the evaluation of one attribute.
    #[must_use]
    pub fn evaluation_timeout(&self) -> Duration {
        self.evaluation_timeout.duration()
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// A setting is invalid; the message names it and the reason.
    pub fn check(&self) -> Result<(), String> {
        for (field, path) in
            [("programs", &self.programs), ("store_dir", &self.store_dir), ("shell", &self.shell)]
        {
            let Some(path) = path else { continue };
            let text = path.to_string_lossy();
            if !path.is_absolute() || text.chars().any(|c| c.is_whitespace() || "?=,:#".contains(c)) {
                return Err(format!(
                    "builder.nix.{field} is `{text}`; Nix needs an absolute path without blanks and any of ?=,:#"
                ));
            }
        }
        let lists = [("extra_platforms", &self.extra_platforms), ("system_features", &self.system_features)];
        for (field, names) in lists {
            let is_name = |name: &String| {
                let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.+".contains(&b);
                (1..=NixMachine::LONGEST).contains(&name.len()) && name.bytes().all(is_plain)
            };
            if let Some(name) = names.iter().find(|name| !is_name(name)) {
                return Err(format!("builder.nix.{field} has `{name}`, which cannot be the name of one"));
            }
            if names.len() > NixMachine::MOST / 2 {
                return Err(format!("builder.nix.{field} has more than {} names", NixMachine::MOST / 2));
            }
        }
        if let Some(program) = self.eval_command.first() {
            let path = Path::new(program);
            if !path.is_absolute() || path.starts_with("/tmp") {
                return Err(format!(
                    "builder.nix.eval_command begins with `{program}`; it needs the absolute path of a program that is \
                     not in /tmp, which evaluation covers"
                ));
            }
        }
        if self.evaluation_memory < LEAST_MEMORY {
            let given = self.evaluation_memory;
            return Err(format!(
                "builder.nix.evaluation_memory is {given}; it must be at least {LEAST_MEMORY}"
            ));
        }
        if self.evaluation_timeout == Span::default() {
            return Err("builder.nix.evaluation_timeout is 0; it must be at least 1 s".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nix_is_used_if_it_is_there_unless_the_configuration_decides() {
        let with = |text: &str| toml::from_str::<NixConfig>(text).map(|config| config.enabled);
        assert_eq!(with(""), Ok(Enabled::Found(Auto::Auto)));
        assert_eq!(with("enabled = \"auto\""), Ok(Enabled::Found(Auto::Auto)));
        assert_eq!(with("enabled = false"), Ok(Enabled::Always(false)));
        assert!(with("enabled = \"yes\"").is_err());
    }

    #[test]
    fn what_nix_could_not_use_is_refused_with_the_settings_name() {
        let with = |text: &str| toml::from_str::<NixConfig>(text).unwrap().check();
        assert_eq!(with(""), Ok(()));
        for (bad, field) in [
            ("store_dir = \"nix\"", "store_dir"),
            ("store_dir = \"/a?b\"", "store_dir"),
            ("shell = \"/bin/a b\"", "shell"),
            ("extra_platforms = [\"a b\"]", "extra_platforms"),
            ("system_features = [\"kvm\\nsandbox = false\"]", "system_features"),
            ("eval_command = [\"nix-eval-jobs\"]", "eval_command"),
            ("eval_command = [\"/tmp/x\"]", "eval_command"),
            ("evaluation_memory = \"10MiB\"", "evaluation_memory"),
            ("evaluation_timeout = \"0\"", "evaluation_timeout"),
        ] {
            assert!(with(bad).unwrap_err().contains(field), "{bad}");
        }
    }
}
