//! Facts about this machine.

use crate::{buildroot::Tree, config::BuilderConfig, cpu, fitness, namespace, vitals};
use std::{fs, path::Path};
use swarm_common::{
    name::Name,
    wire::{base::UsrMerge, drone::DroneFacts, plan::Toolchain},
};
use swarm_daemon::version::VERSION;

/// The facts that the drone reports to the orchestrator.
#[must_use]
pub fn facts(
    profiles: &[Name],
    builder: &BuilderConfig,
    toolchain: Option<Box<Toolchain>>,
    fitness: fitness::Found,
) -> DroneFacts {
    let root = Tree::at(builder.base());
    DroneFacts {
        lacks: fitness.equipment.lacks,
        unusable: fitness.unusable,
        machine_id: line(Path::new("/etc/machine-id")),
        boot_id: boot_id(),
        cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_bytes: vitals::total_memory(),
        version: VERSION.into(),
        profiles: profiles.to_vec(),
        cpu: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu::parse(&text)),
        toolchain,
        has_packages: Some(root.has(Path::new("/var/db/pkg"))),
        usr: UsrMerge::of(|path, to| root.resolve(&Path::new("/").join(path)) == Path::new("/").join(to)),
        // The builds report a missing base.
        host: namespace::can_change(builder.base()).unwrap_or(true),
        nix: fitness.equipment.nix,
        nix_machine: fitness.equipment.nix_machine,
        slots: builder.slots(),
        images: builder.images(),
        build_memory_bytes: builder.memory_max(),
    }
}

/// The ID of the current boot, which changes with every reboot.
#[must_use]
pub fn boot_id() -> String {
    line(Path::new("/proc/sys/kernel/random/boot_id"))
}

/// The machine's host name; `None` if it is not a valid drone name.
#[must_use]
pub fn host_name() -> Option<Name> {
    let host = line(Path::new("/proc/sys/kernel/hostname")).to_ascii_lowercase();
    host.split('.').next()?.parse().ok()
}

/// The content of a one-line file. Empty if it is missing, because not every machine has these files.
fn line(path: &Path) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
