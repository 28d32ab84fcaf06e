//! How a drone builds: the `[builder]` section of its configuration.

use super::{
    nix::NixConfig,
    slots::{self, Slots},
};
use crate::{namespace, vitals};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_daemon::config::{Size, Span};

/// The smallest memory limit of a build.
const LEAST_MEMORY: Size = Size::from_mib(64);

/// Settings for builds. Every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuilderConfig {
    /// Directory for build roots; each attempt gets a subdirectory. Default `/var/tmp/swarm-drone`.
    pub work_dir: PathBuf,
    /// Directory for data that outlives an attempt: distfiles, ebuild metadata, layers and bases. It may be
    /// removed at any time while no build runs. Default `/var/cache/swarm-drone`.
    pub cache_dir: PathBuf,
    /// Where Portage is installed, if not in `/usr`: a directory with `bin/emerge` and
    /// `share/portage/config`, such as a Python environment. Default: none.
    pub portage_prefix: Option<PathBuf>,
    /// Kind of build root: `overlay` or `live`. Default `overlay`.
    pub root_kind: RootKind,
    /// Permits `live`: packages are installed into this machine's own root and stay there. Default
    /// false.
    pub live_changes_this_machine: bool,
    /// Root file system to use instead of `/` for builds whose base is `host`, for example an unpacked
    /// stage3. It is only read. Default: none, so `/` is used.
    pub base_root: Option<PathBuf>,
    /// Disk space for the layers of installed packages, and the same amount again for package
    /// files. Default 20 GiB.
    pub layers_max: Size,
    /// Disk space for unpacked bases. A base in use is never removed. Default 20 GiB.
    pub bases_max: Size,
    /// Number of concurrent builds, or `auto` for one per 4 processors and 4 GiB of memory, from 1 to
    /// 8. Default `auto`. A `live` root allows only one.
    pub slots: Slots,
    /// Compiler processes that one build may run at once (`make -j`). Default 0: builds share the processors
    /// through a jobserver if `make` is 4.4 or newer; otherwise each build gets an equal share. An assignment
    /// may lower this but never raise it.
    pub jobs: u32,
    /// Load average above which no further compiler is started (`make -l`). Default 0: the number of
    /// processors.
    pub load: f64,
    /// Memory limit for all processes of a build together. When it is reached, the kernel reclaims page cache
    /// and then kills the build. Default 0: no limit. Requires a control group with the memory controller.
    pub memory_max: Size,
    /// CPU limit, in processors, for all processes of a build together, however many compilers it starts.
    /// Default 0: no limit. Requires a control group with the cpu controller.
    pub processors_max: u32,
    /// Disk space that a build may use in `work_dir`; a build that exceeds it is stopped.
    /// Default 0: no limit. A build that nearly fills the disk is stopped in any case.
    pub disk_max: Size,
    /// Portage FEATURES to add, or to remove with a leading `-`. Default: none. Features that change
    /// the content of packages belong in the profile instead.
    pub extra_features: Vec<String>,
    /// Time between SIGTERM and SIGKILL when a build is stopped. Default 3 s.
    pub grace: Span,
    /// The `[builder.nix]` section.
    pub nix: NixConfig,
}

impl Default for BuilderConfig {
    fn default() -> Self {
        Self {
            work_dir: "/var/tmp/swarm-drone".into(),
            cache_dir: "/var/cache/swarm-drone".into(),
            portage_prefix: None,
            root_kind: RootKind::Overlay,
            live_changes_this_machine: false,
            base_root: None,
            layers_max: Size::from_gib(20),
            bases_max: Size::from_gib(20),
            slots: Slots::Auto,
            jobs: 0,
            load: 0.0,
            memory_max: Size::default(),
            processors_max: 0,
            disk_max: Size::default(),
            extra_features: Vec::new(),
            grace: Span::from_secs(3),
            nix: NixConfig::default(),
        }
    }
}

/// The kind of a build root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// An overlay over the base. Needs root privileges, possibly those of a user namespace.
    #[default]
    Overlay,
    /// Packages are installed permanently into the machine's own `/`. For dedicated machines. Needs
    /// root.
    Live,
}

impl RootKind {
    /// The value of the setting in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Live => "live",
        }
    }
}

impl BuilderConfig {
    /// Compiler processes that one build may run at once.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        if self.jobs == 0 { vitals::processors().div_ceil(self.slots()) } else { self.jobs }
    }

    /// Number of concurrent builds.
    #[must_use]
    pub fn slots(&self) -> u32 {
        match self.slots {
            _ if self.root_kind == RootKind::Live => 1,
            Slots::Auto => slots::fitting(vitals::processors(), vitals::total_memory()),
            Slots::Number(number) => number,
        }
    }

    /// Whether builds share the processors through a jobserver.
    #[must_use]
    pub fn has_jobserver(&self) -> bool {
        self.jobs == 0 && self.slots() > 1
    }

    /// Load average above which no further compiler is started.
    #[must_use]
    pub fn load(&self) -> f64 {
        if self.load > 0.0 { self.load } else { f64::from(vitals::processors()) }
    }

    /// Time between SIGTERM and SIGKILL when a build is stopped.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace.duration()
    }

    /// Memory limit of a build in bytes; `None` for no limit.
    #[must_use]
    pub fn memory_max(&self) -> Option<u64> {
        Some(self.memory_max.bytes()).filter(|&bytes| bytes > 0)
    }

    /// CPU limit of a build in processors; `None` for no limit.
    #[must_use]
    pub fn processors_max(&self) -> Option<u32> {
        (self.processors_max > 0).then_some(self.processors_max)
    }

    /// Disk limit of a build in bytes; `None` for no limit.
    #[must_use]
    pub fn disk_max(&self) -> Option<u64> {
        Some(self.disk_max.bytes()).filter(|&bytes| bytes > 0)
    }

    #[must_use]
    pub fn base(&self) -> &Path {
        self.base_root.as_deref().unwrap_or(Path::new("/"))
    }

    /// Whether packages that a build installs are discarded with its build root.
    #[must_use]
    pub fn is_overlay(&self) -> bool {
        self.root_kind == RootKind::Overlay
    }

    /// The architecture of the images that this drone can build in; `None` for a live root, which
    /// uses none.
    #[must_use]
    pub fn images(&self) -> Option<String> {
        self.is_overlay().then(|| std::env::consts::ARCH.to_owned())
    }

    /// Disk budget for layers, in bytes.
    #[must_use]
    pub fn layers_max_bytes(&self) -> u64 {
        self.layers_max.bytes()
    }

    /// Disk budget for bases, in bytes.
    #[must_use]
    pub fn bases_max_bytes(&self) -> u64 {
        self.bases_max.bytes()
    }

    /// This configuration for builds in a base from an image, which contains its own Portage.
    #[must_use]
    pub fn within(&self, base: &Path) -> Self {
        Self { base_root: Some(base.to_owned()), portage_prefix: None, ..self.clone() }
    }

    /// Acquires the privileges that builds need. For an ordinary user, the process re-executes itself as root
    /// of a user namespace.
    ///
    /// # Errors
    /// The privileges are not available; the message says what is needed.
    pub fn take_rights(&self) -> Result<(), String> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        match self.root_kind {
            RootKind::Live => Err(
                "builder.root_kind is live, which installs packages into /, but the drone runs without root; \
                 run the drone as root"
                    .into(),
            ),
            RootKind::Overlay => namespace::enter().map(|never| match never {}),
        }
    }

    /// Checks that build roots can be made in `work_dir`, which must exist.
    ///
    /// # Errors
    /// The directory is on a file system that cannot hold the upper directory of an overlay.
    pub fn check_work_dir(&self) -> Result<(), String> {
        // Magic numbers from statfs(2).
        const UNFIT: [(i64, &str); 3] = [(0x794c_7630, "overlayfs"), (0x6969, "NFS"), (0x0102_1997, "9p")];
        let Ok(found) = rustix::fs::statfs(&self.work_dir) else { return Ok(()) };
        match UNFIT.iter().find(|(magic, _)| self.is_overlay() && *magic == found.f_type) {
            Some((_, name)) => Err(format!(
                "builder.work_dir is `{}`, which lies on {name}; an overlay cannot keep its changes there. Set it to a \
                 directory on a disk (ext4, xfs, btrfs) or a tmpfs; in a container that takes a volume",
                self.work_dir.display()
            )),
            None => Ok(()),
        }
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// A setting is invalid; the message names it and the reason.
    pub fn check(&self) -> Result<(), String> {
        for (field, path) in [("work_dir", &self.work_dir), ("cache_dir", &self.cache_dir)] {
            let text = path.to_string_lossy();
            if !path.is_absolute() {
                return Err(format!("builder.{field} is `{text}`; it must be an absolute path"));
            }
            // Portage's configuration files are shell-like, and its list of mirrors is separated by spaces.
            if text.chars().any(|c| c.is_whitespace() || "\"'$`\\#".contains(c)) {
                return Err(format!(
                    "builder.{field} is `{text}`; a path for Portage cannot contain blanks, quotes, $ or #"
                ));
            }
        }
        if self.is_overlay() {
            let base = self.base();
            if !base.is_absolute() {
                return Err(format!(
                    "builder.base_root is `{}`; it must be an absolute path",
                    base.display()
                ));
            }
            for (field, path) in
                [("base_root", base), ("work_dir", &self.work_dir), ("cache_dir", &self.cache_dir)]
            {
                if path.to_string_lossy().contains([',', ':', '\\']) {
                    return Err(format!(
                        "builder.{field} is `{}`; an overlay path cannot contain commas, colons or backslashes",
                        path.display()
                    ));
                }
            }
        }
        if self.root_kind == RootKind::Live {
            if !self.live_changes_this_machine {
                return Err(
                    "builder.root_kind is live: every build installs packages into this machine's own root, and \
                     nothing takes them out again; set builder.live_changes_this_machine = true if the machine is \
                     there for nothing else, or use overlay"
                        .into(),
                );
            }
            if self.portage_prefix.is_some() {
                return Err(
                    "builder.root_kind is live, which builds with the machine's own Portage; remove \
                            builder.portage_prefix, or use overlay"
                        .into(),
                );
            }
        }
        if self.memory_max != Size::default() && self.memory_max < LEAST_MEMORY {
            return Err(format!(
                "builder.memory_max is {}; it must be at least {LEAST_MEMORY}, or 0 for no limit",
                self.memory_max
            ));
        }
        if let Slots::Number(number) = self.slots
            && !(1..=slots::MOST).contains(&number)
        {
            let most = slots::MOST;
            return Err(format!("builder.slots is {number}; it must be \"auto\" or from 1 to {most}"));
        }
        if !self.load.is_finite() || self.load < 0.0 {
            return Err(format!("builder.load is {}; it must be 0 or more", self.load));
        }
        let word =
            |f: &String| !f.is_empty() && f.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+".contains(&b));
        if let Some(bad) = self.extra_features.iter().find(|f| !word(f)) {
            return Err(format!("builder.extra_features has `{bad}`, which is not a FEATURE"));
        }
        self.nix.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_a_misspelt_field_is_refused() {
        assert_eq!(toml::from_str::<BuilderConfig>("").unwrap(), BuilderConfig::default());
        assert!(toml::from_str::<BuilderConfig>("job = 3").unwrap_err().to_string().contains("job"));
        assert!(toml::from_str::<BuilderConfig>("root_kind = \"scratch\"").is_err());
    }

    #[test]
    fn what_portage_could_not_use_is_refused() {
        let with = |text: &str| toml::from_str::<BuilderConfig>(text).unwrap().check();
        assert_eq!(with(""), Ok(()));
        assert_eq!(with("extra_features = [\"-network-sandbox\", \"test\"]"), Ok(()));
        assert_eq!(with("base_root = \"/\""), Ok(()));
        assert_eq!(with("root_kind = \"live\"\nlive_changes_this_machine = true"), Ok(()));
        let refusal = with("root_kind = \"live\"").unwrap_err();
        assert!(refusal.contains("live_changes_this_machine = true"), "{refusal}");
        for bad in [
            "root_kind = \"live\"\nlive_changes_this_machine = true\nportage_prefix = \"/opt/portage\"",
            "memory_max = \"3MiB\"",
            "base_root = \"/a,b\"",
            "work_dir = \"x\"",
            "cache_dir = \"/a b\"",
            "load = -1.0",
            "extra_features = [\"$(x)\"]",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
