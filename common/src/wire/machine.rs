//! What a drone reports about its machine.

use super::{base::UsrMerge, cpu::Cpu, known, nix::NixMachine, plan::Toolchain};
use crate::name::Name;
use serde::{Deserialize, Serialize};

/// What a drone reports about its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroneFacts {
    /// Contents of `/etc/machine-id`, or empty.
    pub machine_id: String,
    /// Contents of `/proc/sys/kernel/random/boot_id`, or empty.
    pub boot_id: String,
    /// Usable processors.
    pub cores: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Version of `swarm-drone`.
    pub version: String,
    /// Profiles it builds for; empty means any.
    pub profiles: Vec<Name>,
    /// Its processor, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Toolchain of its own `/`, as far as it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<Box<Toolchain>>,
    /// Architecture of the images that it can build in, such as `x86_64`; none if it only builds in its
    /// own `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
    /// Whether its own `/` has a database of installed packages (`/var/db/pkg`). Unknown from older drones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_packages: Option<bool>,
    /// Which directories of its own `/` are links below `/usr`.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "UsrMerge::is_split")]
    pub usr: UsrMerge,
    /// Whether it can build in its own `/`. A drone without root cannot.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub host: bool,
    /// Version of the Nix that it builds with; none if it cannot build with Nix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nix: Option<String>,
    /// What it can build with Nix. None if it does not build with Nix, if its Nix does not tell, or if its
    /// `swarm-drone` is older than this field: it then gets derivations for every system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nix_machine: Option<Box<NixMachine>>,
    /// Number of parallel builds.
    #[serde(default = "one")]
    pub slots: u32,
    /// Memory limit of one build in bytes; none if unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_memory_bytes: Option<u64>,
    /// Missing programs that builds in its own `/` need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// Directories that it currently cannot use, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<String>,
}

impl Default for DroneFacts {
    /// The facts of a machine that reports nothing.
    fn default() -> Self {
        Self {
            machine_id: String::new(),
            boot_id: String::new(),
            cores: 1,
            memory_bytes: 1,
            version: String::new(),
            profiles: Vec::new(),
            cpu: None,
            toolchain: None,
            images: None,
            has_packages: None,
            usr: UsrMerge::default(),
            host: true,
            nix: None,
            nix_machine: None,
            slots: 1,
            build_memory_bytes: None,
            lacks: Vec::new(),
            unusable: Vec::new(),
        }
    }
}

impl DroneFacts {
    /// Memory available to one build, in bytes.
    #[must_use]
    pub fn memory_for_a_build(&self) -> u64 {
        self.build_memory_bytes.map_or(self.memory_bytes, |bytes| bytes.min(self.memory_bytes))
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_yes(yes: &bool) -> bool {
    *yes
}

/// Load and free resources of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Vitals {
    /// Load average of one minute.
    pub load1: f64,
    /// Free memory in bytes.
    pub memory_free_bytes: u64,
    /// Free bytes on the disk of the build roots.
    pub disk_free_bytes: u64,
}
