//! How a drone builds: the `[builder]` section of its configuration.

use crate::buildroot::RootKind;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Settings of the builder. Every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuilderConfig {
    /// Where build roots are made; the drone makes the attempts' directories in it.
    /// Default `/var/tmp/swarm-drone`.
    pub work_dir: PathBuf,
    /// What outlives an attempt: downloaded sources and ebuild metadata. It may be removed
    /// at any time while no build runs. Default `/var/cache/swarm-drone`.
    pub cache_dir: PathBuf,
    /// Where Portage is installed, if not in `/usr`: a directory with `bin/emerge` and
    /// `share/portage/config`, such as a Python environment. Default: none.
    pub portage_prefix: Option<PathBuf>,
    /// How build roots are made: `scratch` or `overlay`. Default `scratch`.
    pub root_kind: RootKind,
    /// What an `overlay` is laid over, such as an unpacked stage3; `/` is the machine
    /// itself. It is only read. Default: none.
    pub base_root: Option<PathBuf>,
    /// Compilers that may run at once (`make -j`). Default 0: as many as there are
    /// processors. An assignment may ask for fewer, never for more.
    pub jobs: u32,
    /// Load average above which no further compiler is started (`make -l`). Default 0: the
    /// number of processors.
    pub load: f64,
    /// Portage FEATURES to add, or with a leading `-` to take away. Default: none. What
    /// changes the content of packages belongs into the profile instead.
    pub extra_features: Vec<String>,
    /// How long a build that is stopped may take to end itself before it is killed, in
    /// seconds. Default 3.
    pub grace_seconds: u64,
}

impl Default for BuilderConfig {
    fn default() -> Self {
        Self {
            work_dir: "/var/tmp/swarm-drone".into(),
            cache_dir: "/var/cache/swarm-drone".into(),
            portage_prefix: None,
            root_kind: RootKind::Scratch,
            base_root: None,
            jobs: 0,
            load: 0.0,
            extra_features: Vec::new(),
            grace_seconds: 3,
        }
    }
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

impl BuilderConfig {
    /// Compilers that may run at once.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        if self.jobs == 0 { processors() } else { self.jobs }
    }

    /// Load average above which no further compiler is started.
    #[must_use]
    pub fn load(&self) -> f64 {
        if self.load > 0.0 { self.load } else { f64::from(processors()) }
    }

    /// How long a build that is stopped may take to end itself.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// Which field cannot, and why.
    pub fn check(&self) -> Result<(), String> {
        for (field, path) in [("work_dir", &self.work_dir), ("cache_dir", &self.cache_dir)] {
            let text = path.to_string_lossy();
            if !path.is_absolute() {
                return Err(format!("builder.{field} is `{text}`; it must be an absolute path"));
            }
            // Portage's configuration files are shell-like, and its mirrors are separated
            // by spaces.
            if text.chars().any(|c| c.is_whitespace() || "\"'$`\\#".contains(c)) {
                return Err(format!(
                    "builder.{field} is `{text}`; Portage can use no path with blanks, quotes, $ or #"
                ));
            }
        }
        if self.root_kind == RootKind::Overlay {
            let Some(base) = &self.base_root else {
                return Err(
                    "builder.root_kind is overlay; set builder.base_root to what it is laid over".into()
                );
            };
            if !base.is_absolute() {
                return Err(format!(
                    "builder.base_root is `{}`; it must be an absolute path",
                    base.display()
                ));
            }
            for (field, path) in [("base_root", base), ("work_dir", &self.work_dir)] {
                if path.to_string_lossy().contains([',', ':', '\\']) {
                    return Err(format!(
                        "builder.{field} is `{}`; an overlay can use no path with commas, colons or backslashes",
                        path.display()
                    ));
                }
            }
        }
        if !self.load.is_finite() || self.load < 0.0 {
            return Err(format!("builder.load is {}; it must be 0 or more", self.load));
        }
        let word =
            |f: &String| !f.is_empty() && f.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+".contains(&b));
        if let Some(bad) = self.extra_features.iter().find(|f| !word(f)) {
            return Err(format!("builder.extra_features has `{bad}`, which is not a FEATURE"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_a_misspelt_field_is_refused() {
        assert_eq!(toml::from_str::<BuilderConfig>("").unwrap(), BuilderConfig::default());
        assert!(toml::from_str::<BuilderConfig>("job = 3").unwrap_err().to_string().contains("job"));
        assert!(toml::from_str::<BuilderConfig>("root_kind = \"none\"").is_err());
    }

    #[test]
    fn what_portage_could_not_use_is_refused() {
        let with = |text: &str| toml::from_str::<BuilderConfig>(text).unwrap().check();
        assert_eq!(with(""), Ok(()));
        assert_eq!(with("extra_features = [\"-network-sandbox\", \"test\"]"), Ok(()));
        assert_eq!(with("root_kind = \"overlay\"\nbase_root = \"/\""), Ok(()));
        for bad in [
            "root_kind = \"overlay\"",
            "work_dir = \"x\"",
            "cache_dir = \"/a b\"",
            "load = -1.0",
            "extra_features = [\"$(x)\"]",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
