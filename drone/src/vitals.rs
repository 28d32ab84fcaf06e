//! Measures load, memory and disk. This is the only module that uses `sysinfo`.

use std::path::Path;
use swarm_common::wire::drone::Vitals;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// The current measurements. `work_dir` is the directory for build roots.
#[must_use]
pub fn read(work_dir: &Path) -> Vitals {
    let memory = memory();
    Vitals {
        load1: System::load_average().map_or(0.0, |load| load.one),
        memory_free_bytes: memory.map_or(0, |(_, free)| free),
        disk_free_bytes: disk_free(work_dir),
    }
}

/// Total memory in bytes; 0 if unknown.
#[must_use]
pub fn total_memory() -> u64 {
    memory().map_or(0, |(total, _)| total)
}

/// Number of processors available to this process.
#[must_use]
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Total and available memory in bytes.
fn memory() -> Option<(u64, u64)> {
    let only_memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(only_memory).ok()?;
    Some((system.total_memory(), system.available_memory()))
}

/// Free bytes on the file system of `path` or its nearest existing parent.
fn disk_free(path: &Path) -> u64 {
    let status = path.ancestors().find_map(|p| rustix::fs::statvfs(p).ok());
    status.map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_machine_has_memory_and_disk() {
        let vitals = read(Path::new("/tmp/not/there/yet"));
        assert!(vitals.memory_free_bytes > 0 && vitals.memory_free_bytes <= total_memory());
        assert!(vitals.disk_free_bytes > 0);
    }
}
