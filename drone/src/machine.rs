//! What the machine says of itself.

use crate::{builder::BuilderConfig, cpu, fitness, namespace, vitals};
use std::{fs, path::Path};
use swarm_common::{
    name::Name,
    wire::{drone::DroneFacts, plan::Toolchain},
};

/// What the orchestrator is told of the machine.
#[must_use]
pub fn facts(
    profiles: &[Name],
    builder: &BuilderConfig,
    toolchain: Option<Box<Toolchain>>,
    fitness: fitness::Found,
) -> DroneFacts {
    DroneFacts {
        lacks: fitness.lacks,
        unusable: fitness.unusable,
        machine_id: line(Path::new("/etc/machine-id")),
        boot_id: boot_id(),
        cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_bytes: vitals::total_memory(),
        version: env!("CARGO_PKG_VERSION").into(),
        profiles: profiles.to_vec(),
        cpu: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu::parse(&text)),
        toolchain,
        // A base that is not there is the builds' to complain of.
        host: namespace::can_change(builder.base()).unwrap_or(true),
        slots: builder.slots(),
        images: builder.images(),
        build_memory_bytes: builder.memory_max(),
    }
}

/// The id of the present boot, by which a reboot is seen.
#[must_use]
pub fn boot_id() -> String {
    line(Path::new("/proc/sys/kernel/random/boot_id"))
}

/// The machine's host name as a drone's name, if it can be one.
#[must_use]
pub fn host_name() -> Option<Name> {
    let host = line(Path::new("/proc/sys/kernel/hostname")).to_ascii_lowercase();
    host.split('.').next()?.parse().ok()
}

/// A file's only line, or nothing: these files are not on every machine.
fn line(path: &Path) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
