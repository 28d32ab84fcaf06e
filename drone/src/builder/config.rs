//! How a drone builds: the `[builder]` section of its configuration.

use super::slots::{self, Slots};
use crate::{buildroot::RootKind, namespace, vitals};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    /// How build roots are made: `overlay` or `live`. Default `overlay`.
    pub root_kind: RootKind,
    /// Allows `live`: packages are installed into this machine's own root, and stay there.
    /// Default no.
    pub live_changes_this_machine: bool,
    /// What stands for this machine in builds whose base is `host`: an unpacked stage3, for one. It
    /// is only read. Default: none, the machine's own `/`.
    pub base_root: Option<PathBuf>,
    /// Disk space in GiB for the layers of installed packages, and as much again for package
    /// files. Default 20.
    pub layers_max_gib: u64,
    /// Disk space in GiB for unpacked bases. One that is in use is never removed. Default 20.
    pub bases_max_gib: u64,
    /// Builds at a time: a number, or `auto` for one for every 4 processors and 4 GiB of
    /// memory, from 1 to 8. Default `auto`. A `live` root takes one at a time.
    pub slots: Slots,
    /// Compilers that one build may run at once (`make -j`). Default 0: all builds share the
    /// processors by a jobserver where `make` is 4.4 or newer, and else each has its part of
    /// them. An assignment may ask for fewer, never for more.
    pub jobs: u32,
    /// Load average above which no further compiler is started (`make -l`). Default 0: the
    /// number of processors.
    pub load: f64,
    /// Memory in MiB that all processes of a build may take together; past it the kernel
    /// ends the build and not the machine. Page cache is given back before. Default 0: all
    /// there is. Takes a control group with the memory controller.
    pub memory_max_mib: u64,
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
            root_kind: RootKind::Overlay,
            live_changes_this_machine: false,
            base_root: None,
            layers_max_gib: 20,
            bases_max_gib: 20,
            slots: Slots::Auto,
            jobs: 0,
            load: 0.0,
            memory_max_mib: 0,
            extra_features: Vec::new(),
            grace_seconds: 3,
        }
    }
}

/// Processors that this process may use.
#[must_use]
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

impl BuilderConfig {
    /// Compilers that may run at once.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        if self.jobs == 0 { processors().div_ceil(self.slots()) } else { self.jobs }
    }

    /// Builds at a time.
    #[must_use]
    pub fn slots(&self) -> u32 {
        match self.slots {
            _ if self.root_kind == RootKind::Live => 1,
            Slots::Auto => slots::fitting(processors(), vitals::total_memory()),
            Slots::Number(number) => number,
        }
    }

    /// Whether builds share the processors by a jobserver.
    #[must_use]
    pub fn has_jobserver(&self) -> bool {
        self.jobs == 0 && self.slots() > 1
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

    /// Memory that a build may take, in bytes.
    #[must_use]
    pub fn memory_max(&self) -> Option<u64> {
        (self.memory_max_mib > 0).then(|| self.memory_max_mib.saturating_mul(1 << 20))
    }

    /// What builds are laid over.
    #[must_use]
    pub fn base(&self) -> &Path {
        self.base_root.as_deref().unwrap_or(Path::new("/"))
    }

    /// Whether what a build installs is thrown away with it.
    #[must_use]
    pub fn is_overlay(&self) -> bool {
        self.root_kind == RootKind::Overlay
    }

    /// The architecture of the images that it can build in. A live root is this machine's own.
    #[must_use]
    pub fn images(&self) -> Option<String> {
        self.is_overlay().then(|| std::env::consts::ARCH.to_owned())
    }

    /// Disk space for layers, in bytes.
    #[must_use]
    pub fn layers_max_bytes(&self) -> u64 {
        self.layers_max_gib.saturating_mul(1 << 30)
    }

    /// Disk space for bases, in bytes.
    #[must_use]
    pub fn bases_max_bytes(&self) -> u64 {
        self.bases_max_gib.saturating_mul(1 << 30)
    }

    /// The same in a base that is no machine's: all is the base's own, Portage included.
    #[must_use]
    pub fn within(&self, base: &Path) -> Self {
        Self { base_root: Some(base.to_owned()), portage_prefix: None, ..self.clone() }
    }

    /// Sees to it that this process has the rights it takes: an ordinary user's is started again
    /// as root of a user namespace.
    ///
    /// # Errors
    /// It cannot have them; what it would take.
    pub fn take_rights(&self) -> Result<(), String> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        match self.root_kind {
            RootKind::Live => Err(
                "builder.root_kind is live: packages are installed into /, which only root may change, and \
                                   the drone runs as an ordinary user; run it as root"
                    .into(),
            ),
            RootKind::Overlay => namespace::enter().map(|never| match never {}),
        }
    }

    /// Whether build roots can be made in `work_dir`, which must be there.
    ///
    /// # Errors
    /// It lies on a file system that cannot hold what an overlay changes.
    pub fn check_work_dir(&self) -> Result<(), String> {
        // Magic numbers of Linux' statfs(2).
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
                        "builder.{field} is `{}`; an overlay can use no path with commas, colons or backslashes",
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
        if self.memory_max_mib != 0 && self.memory_max_mib < 64 {
            return Err(format!(
                "builder.memory_max_mib is {}; nothing builds with less than 64 (0: no limit)",
                self.memory_max_mib
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
            "memory_max_mib = 3",
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
