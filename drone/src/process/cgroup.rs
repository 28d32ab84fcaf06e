//! Control groups: the kernel's own list of everything a build started.
//!
//! Version 2 (the unified tree) and version 1 (a tree for each controller) are both
//! found in practice, also mixed; every tree that may be written to gets a directory of
//! its own, below the group that the drone itself is in. Where none may be written to
//! there is no control group, and [`super::group`] falls back to what it can find itself.
//!
//! What the system gives is used, nothing is changed outside the directories that are made;
//! [`super::delegated`] is where a group that belongs to the drone is made ready for it.

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, io, path::PathBuf, time::Duration};

/// Where control groups are.
const ROOT: &str = "/sys/fs/cgroup";
/// The version 1 trees that are of use: to count memory, processes and time.
const V1: [&str; 3] = ["memory", "pids", "cpuacct"];
/// How often a killing is repeated before it is given up, and the pause between.
const KILL_ROUNDS: u32 = 400;
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// The directories of one build.
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
    CpuAcct,
}

/// The trees, each with the directory of the group that this process is in.
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
            // The groups of builds are beside the drone's own.
            let group = group.strip_suffix(super::delegated::OWN).unwrap_or(group);
            trees.extend(root.map(|r| Dir { path: PathBuf::from(r).join(group), kind: Kind::Unified }));
            continue;
        }
        let kind = match controllers.split(',').find(|c| V1.contains(c)) {
            Some("memory") => Kind::Memory,
            Some("pids") => Kind::Pids,
            Some("cpuacct") => Kind::CpuAcct,
            _ => continue,
        };
        trees.push(Dir { path: PathBuf::from(ROOT).join(controllers).join(group), kind });
    }
    trees
}

/// The groups of version 2 that this process, or the drone's own group, is in.
pub(super) fn unified() -> impl Iterator<Item = PathBuf> {
    trees().into_iter().filter(|tree| tree.kind == Kind::Unified).map(|tree| tree.path)
}

impl Cgroups {
    /// Makes a group called `name` in every tree that lets us.
    pub fn new(name: &str) -> Self {
        let mut dirs = Vec::new();
        for tree in trees() {
            let path = tree.path.join(name);
            // A refusal is the normal case for a drone without the rights: then this tree
            // is not used.
            if fs::create_dir(&path).is_ok() {
                dirs.push(Dir { path, kind: tree.kind });
            }
        }
        Self { dirs }
    }

    /// Those whose names begin with `prefix`: what an earlier drone left.
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

    /// The files to write a process id to, for it to join.
    pub fn procs(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(|d| d.path.join("cgroup.procs"))
    }

    /// Ids of the members.
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

    /// Kills all members, and those they make meanwhile, until none is left.
    pub async fn kill(&self) {
        for dir in &self.dirs {
            // No more forks: a bomb could otherwise outrun the killing.
            let file = match dir.kind {
                Kind::Pids => ("pids.max", "0"),
                Kind::Unified => ("cgroup.kill", "1"),
                Kind::Memory | Kind::CpuAcct => continue,
            };
            // An old kernel has no such file; the loop below does it, too.
            let _ = fs::write(dir.path.join(file.0), file.1);
        }
        for _ in 0..KILL_ROUNDS {
            if !self.kill_once() {
                return;
            }
            tokio::time::sleep(KILL_PAUSE).await;
        }
        tracing::error!(members = ?self.members(), "processes of a build cannot be killed");
    }

    /// One round of killing; whether there was anybody.
    pub fn kill_once(&self) -> bool {
        let members = self.members();
        for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid).filter(|_| *pid > 1)) {
            // Gone meanwhile is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
        !members.is_empty()
    }

    /// Time of all members so far, in milliseconds, if the kernel counts it.
    pub fn cpu_ms(&self) -> Option<u64> {
        self.dirs.iter().find_map(|dir| match dir.kind {
            Kind::CpuAcct => Some(read(dir, "cpuacct.usage").ok()?.trim().parse::<u64>().ok()? / 1_000_000),
            Kind::Unified => Some(field(&read(dir, "cpu.stat").ok()?, "usage_usec")? / 1000),
            Kind::Memory | Kind::Pids => None,
        })
    }

    /// Memory of all members now, without page cache, in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.dirs.iter().find_map(|dir| match dir.kind {
            Kind::Memory => field(&read(dir, "memory.stat").ok()?, "total_rss"),
            Kind::Unified => field(&read(dir, "memory.stat").ok()?, "anon"),
            Kind::Pids | Kind::CpuAcct => None,
        })
    }

    /// The most memory that was ever charged to them, page cache included, in bytes.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.dirs.iter().find_map(|dir| match dir.kind {
            Kind::Memory => read(dir, "memory.max_usage_in_bytes").ok()?.trim().parse().ok(),
            Kind::Unified => read(dir, "memory.peak").ok()?.trim().parse().ok(),
            Kind::Pids | Kind::CpuAcct => None,
        })
    }

    /// Lets members have so many bytes together, without swap. Whether the kernel will
    /// see to it.
    pub fn limit_memory(&self, bytes: u64) -> bool {
        let mut limited = false;
        for dir in &self.dirs {
            let (memory, swap, swap_bytes) = match dir.kind {
                Kind::Memory => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes),
                Kind::Unified => ("memory.max", "memory.swap.max", 0),
                Kind::Pids | Kind::CpuAcct => continue,
            };
            if fs::write(dir.path.join(memory), bytes.to_string()).is_ok() {
                limited = true;
                // There is no such file where the kernel does not count swap.
                let _ = fs::write(dir.path.join(swap), swap_bytes.to_string());
            }
        }
        limited
    }

    /// Lets members be so many processes and threads together. Whether the kernel will see to it.
    pub fn limit_processes(&self, count: u32) -> bool {
        let mut limited = false;
        for dir in self.dirs.iter().filter(|dir| matches!(dir.kind, Kind::Pids | Kind::Unified)) {
            // There is no such file where the controller was not given to us.
            limited |= fs::write(dir.path.join("pids.max"), count.to_string()).is_ok();
        }
        limited
    }

    /// Whether the kernel killed a member for want of memory.
    pub fn out_of_memory(&self) -> bool {
        self.dirs.iter().any(|dir| {
            let file = match dir.kind {
                Kind::Memory => "memory.oom_control",
                Kind::Unified => "memory.events",
                Kind::Pids | Kind::CpuAcct => return false,
            };
            read(dir, file).ok().and_then(|text| field(&text, "oom_kill")).is_some_and(|n| n > 0)
        })
    }

    /// Removes the directories; members must be gone.
    pub fn remove(&mut self) {
        self.dirs.retain(|dir| match fs::remove_dir(&dir.path) {
            Ok(()) => false,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            // Busy: the last member is dead but still on its way out.
            Err(_) => true,
        });
    }

    /// Whether [`remove`](Self::remove) removed all.
    pub fn is_gone(&self) -> bool {
        self.dirs.is_empty()
    }
}

fn read(dir: &Dir, file: &str) -> io::Result<String> {
    fs::read_to_string(dir.path.join(file))
}

/// The value of `key` in lines of `key value`.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
