//! What drones report about their machines, and why they are away.

use super::{base::UsrMerge, enums, is_default, structs};
use swarm_common::{
    name::Name,
    wire::{concern, cpu, drone, nix, plan},
};

structs! {
    /// A machine and the configuration of its drone.
    DroneFacts of drone::DroneFacts {
        machine_id: String,
        boot_id: String,
        cores: u32,
        memory_bytes: u64,
        version: String,
        profiles: Vec<Name>,
        #[serde(default, skip_serializing_if = "is_default")]
        cpu: Option<Cpu>,
        #[serde(default, skip_serializing_if = "is_default")]
        toolchain: Option<Box<Toolchain>>,
        #[serde(default, skip_serializing_if = "is_default")]
        images: Option<String>,
        #[serde(default, skip_serializing_if = "is_default")]
        has_packages: Option<bool>,
        #[serde(default, skip_serializing_if = "is_default")]
        usr: UsrMerge,
        // Drones of versions without this field always ran as root.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        host: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        nix: Option<String>,
        #[serde(default, skip_serializing_if = "is_default")]
        nix_machine: Option<Box<NixMachine>>,
        #[serde(default = "one")]
        slots: u32,
        #[serde(default, skip_serializing_if = "is_default")]
        build_memory_bytes: Option<u64>,
        #[serde(default, skip_serializing_if = "is_default")]
        lacks: Vec<String>,
        #[serde(default, skip_serializing_if = "is_default")]
        unusable: Vec<String>,
    }

    Cpu of cpu::Cpu {
        #[serde(default)]
        vendor: String,
        #[serde(default)]
        family: u32,
        #[serde(default)]
        model: u32,
        #[serde(default, skip_serializing_if = "is_default")]
        x86_64_level: Option<u8>,
        #[serde(default)]
        flags: Vec<String>,
    }

    /// The tools that packages are built with, as far as known.
    #[derive(Default)]
    #[serde(default)]
    Toolchain of plan::Toolchain {
        chost: String,
        compiler: String,
        libc: String,
        binutils: String,
        bash: String,
        portage: String,
        cpu: String,
    }

    /// What a machine can build with Nix.
    NixMachine of nix::NixMachine {
        systems: Vec<String>,
        features: Vec<String>,
    }

    /// Load and free resources.
    Vitals of drone::Vitals {
        load1: f64,
        memory_free_bytes: u64,
        disk_free_bytes: u64,
    }

    /// An upload that makes no progress.
    Stuck of drone::Stuck {
        for_ms: u64,
        why: String,
    }
}

enums! {
    /// Why a drone is away.
    #[serde(rename_all = "snake_case")]
    Offline of concern::Offline {
        SignedOff(reason: String),
        Silent { ms: u64 },
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
