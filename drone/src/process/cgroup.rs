//! Control groups: the kernel's own list of all processes of a build.
//!
//! Version 2 (the unified hierarchy) and version 1 (one hierarchy per controller) are both in use, also
//! together. A build gets a group in every hierarchy that the drone may write to, below the drone's own
//! group. Without such a hierarchy, [`super::group`] finds processes in other ways.
//!
//! This module changes nothing outside the groups that it creates; [`super::delegated`] prepares a
//! group that was delegated to the drone.

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, io, path::PathBuf, time::Duration};

/// Mount point of the control groups.
const ROOT: &str = "/sys/fs/cgroup";
/// Name of the child group for the drone itself.
pub(super) const OWN: &str = "swarm-drone.own";
/// The version 1 controllers that are used.
const V1: [&str; 4] = ["memory", "pids", "cpu", "cpuacct"];
/// Period of the CPU limit in microseconds; the kernel's default.
const PERIOD_US: u64 = 100_000;
/// Maximum number of rounds of killing, and the pause between them.
const KILL_ROUNDS: u32 = 400;
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// The control groups of one build.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    dirs: Vec<Dir>,
}

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unified,
    Memory,
    Pids,
    /// `cpu` and `cpuacct`, which usually share a hierarchy.
    Cpu,
}

/// The hierarchies, each with the directory of this process's group.
fn trees() -> Vec<Dir> {
    let Ok(own) = fs::read_to_string("/proc/self/cgroup") else { return Vec::new() };
    let mut trees = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let group = group.trim_start_matches('/');
        if controllers.is_empty() {
            let root = [ROOT.to_owned(), format!("{ROOT}/unified")]
                .into_iter()
                .find(|r| PathBuf::from(r).join("cgroup.controllers").exists());
            // Groups of builds are siblings of the drone's own group.
            let group = group.strip_suffix(OWN).unwrap_or(group);
            trees.extend(root.map(|r| Dir { path: PathBuf::from(r).join(group), kind: Kind::Unified }));
            continue;
        }
        let kind = match controllers.split(',').find(|c| V1.contains(c)) {
            Some("memory") => Kind::Memory,
            Some("pids") => Kind::Pids,
            Some("cpu" | "cpuacct") => Kind::Cpu,
            _ => continue,
        };
        trees.push(Dir { path: PathBuf::from(ROOT).join(controllers).join(group), kind });
    }
    trees
}

/// The version 2 groups of this process. If [`super::delegated`] has moved the process, this is the delegated
/// group.
pub(super) fn unified() -> impl Iterator<Item = PathBuf> {
    trees().into_iter().filter(|tree| tree.kind == Kind::Unified).map(|tree| tree.path)
}

impl Cgroups {
    /// Creates a group called `name` in every hierarchy that permits it.
    pub fn new(name: &str) -> Self {
        let mut dirs = Vec::new();
        for tree in trees() {
            let path = tree.path.join(name);
            // Failure is normal for a drone without privileges. This hierarchy is then not used.
            if fs::create_dir(&path).is_ok() {
                dirs.push(Dir { path, kind: tree.kind });
            }
        }
        Self { dirs }
    }

    /// Groups whose names begin with `prefix`, which an earlier drone left behind.
    pub fn left(prefix: &str) -> Vec<Self> {
        let of = |tree: Dir| -> Vec<Dir> {
            let Ok(entries) = fs::read_dir(&tree.path) else { return Vec::new() };
            entries
                .flatten()
                .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
                .map(|e| Dir { path: e.path(), kind: tree.kind })
                .collect()
        };
        trees().into_iter().flat_map(of).map(|dir| Self { dirs: vec![dir] }).collect()
    }

    /// The files to which a process writes its ID to join the groups.
    pub fn procs(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(|d| d.path.join("cgroup.procs"))
    }

    pub fn members(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = Vec::new();
        for procs in self.procs() {
            let text = fs::read_to_string(procs).unwrap_or_default();
            pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills all members, including those created meanwhile, until none are left.
    pub async fn kill(&self) {
        for dir in &self.dirs {
            // Forbid forks, or kill all members at once: a fork bomb could outrun the loop below.
            let file = match dir.kind {
                Kind::Pids => ("pids.max", "0"),
                Kind::Unified => ("cgroup.kill", "1"),
                Kind::Memory | Kind::Cpu => continue,
            };
            // Old kernels do not have this file. There, only the loop kills.
            let _ = fs::write(dir.path.join(file.0), file.1);
        }
        for _ in 0..KILL_ROUNDS {
            if !self.kill_once() {
                return;
            }
            tokio::time::sleep(KILL_PAUSE).await;
        }
        tracing::error!(members = ?self.members(), "cannot kill processes of a build");
    }

    /// Runs one round of killing. Returns whether there were members.
    pub fn kill_once(&self) -> bool {
        let members = self.members();
        for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid).filter(|_| *pid > 1)) {
            // The process may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        !members.is_empty()
    }

    /// CPU time of all members so far in milliseconds; `None` if the kernel does not count it.
    pub fn cpu_ms(&self) -> Option<u64> {
        self.dirs.iter().find_map(|dir| match dir.kind {
            Kind::Cpu => Some(read(dir, "cpuacct.usage").ok()?.trim().parse::<u64>().ok()? / 1_000_000),
            Kind::Unified => Some(field(&read(dir, "cpu.stat").ok()?, "usage_usec")? / 1000),
            Kind::Memory | Kind::Pids => None,
        })
    }

    /// Current memory of all members in bytes, without page cache; `None` if unknown.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.dirs.iter().find_map(|dir| match dir.kind {
            Kind::Memory => field(&read(dir, "memory.stat").ok()?, "total_rss"),
            Kind::Unified => field(&read(dir, "memory.stat").ok()?, "anon"),
            Kind::Pids | Kind::Cpu => None,
        })
    }

    /// Peak memory of all members in bytes, including page cache; `None` if unknown.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.dirs.iter().find_map(|dir| match dir.kind {
            Kind::Memory => read(dir, "memory.max_usage_in_bytes").ok()?.trim().parse().ok(),
            Kind::Unified => read(dir, "memory.peak").ok()?.trim().parse().ok(),
            Kind::Pids | Kind::Cpu => None,
        })
    }

    /// Limits the memory of all members together, without swap. Returns whether the limit is in
    /// effect.
    pub fn limit_memory(&self, bytes: u64) -> bool {
        let mut limited = false;
        for dir in &self.dirs {
            let (memory, swap, swap_bytes) = match dir.kind {
                Kind::Memory => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes),
                Kind::Unified => ("memory.max", "memory.swap.max", 0),
                Kind::Pids | Kind::Cpu => continue,
            };
            if fs::write(dir.path.join(memory), bytes.to_string()).is_ok() {
                limited = true;
                // The file does not exist if the kernel does not account for swap.
                let _ = fs::write(dir.path.join(swap), swap_bytes.to_string());
            }
        }
        limited
    }

    /// Limits the number of processes and threads. Returns whether the limit is in effect.
    pub fn limit_processes(&self, count: u32) -> bool {
        let mut limited = false;
        for dir in self.dirs.iter().filter(|dir| matches!(dir.kind, Kind::Pids | Kind::Unified)) {
            // The file does not exist if the controller was not delegated.
            limited |= fs::write(dir.path.join("pids.max"), count.to_string()).is_ok();
        }
        limited
    }

    /// Limits the CPU time of all members together to `count` processors. Returns whether the limit
    /// is in effect.
    pub fn limit_processors(&self, count: u32) -> bool {
        let quota = u64::from(count) * PERIOD_US;
        let mut limited = false;
        for dir in &self.dirs {
            // The files do not exist if the controller was not delegated.
            limited |= match dir.kind {
                Kind::Cpu => {
                    let period = fs::write(dir.path.join("cpu.cfs_period_us"), PERIOD_US.to_string());
                    period.and_then(|()| fs::write(dir.path.join("cpu.cfs_quota_us"), quota.to_string()))
                }
                Kind::Unified => fs::write(dir.path.join("cpu.max"), format!("{quota} {PERIOD_US}")),
                Kind::Memory | Kind::Pids => continue,
            }
            .is_ok();
        }
        limited
    }

    /// Whether the kernel killed a member because memory ran out.
    pub fn out_of_memory(&self) -> bool {
        self.dirs.iter().any(|dir| {
            let file = match dir.kind {
                Kind::Memory => "memory.oom_control",
                Kind::Unified => "memory.events",
                Kind::Pids | Kind::Cpu => return false,
            };
            read(dir, file).ok().and_then(|text| field(&text, "oom_kill")).is_some_and(|n| n > 0)
        })
    }

    /// Removes the groups, which must be empty.
    pub fn remove(&mut self) {
        self.dirs.retain(|dir| match fs::remove_dir(&dir.path) {
            Ok(()) => false,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            // Busy: the last member is dead but has not been removed yet.
            Err(_) => true,
        });
    }

    /// Whether [`remove`](Self::remove) has removed all groups.
    pub fn is_gone(&self) -> bool {
        self.dirs.is_empty()
    }
}

fn read(dir: &Dir, file: &str) -> io::Result<String> {
    fs::read_to_string(dir.path.join(file))
}

/// The value of `key` in lines of the form `key value`.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
