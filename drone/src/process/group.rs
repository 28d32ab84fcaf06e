//! All processes of one [`Job`](super::Job), found by every means there is.
//!
//! The control group knows them all. Where there is none, descendants are found by
//! parentage, process group, session, and a mark in the environment that even a process
//! with a new session and a new parent inherits. Both are always used: a control group
//! that could be made but not joined must not let anything escape.

use super::{Job, cgroup::Cgroups, table};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use swarm_common::digest::Digest;

/// The variable that says whose process it is.
const OWNER: &str = "SWARM_DRONE_DIR";
/// The variable that says of which job.
const JOB: &str = "SWARM_DRONE_JOB";
/// How often the last traces are looked for, and the pause between.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// The processes of one job. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Group {
    cgroups: Cgroups,
    owner: OsString,
    job: String,
    leader: i32,
    cpu_ms: u64,
    peak_memory_bytes: u64,
    over: bool,
}

/// The beginning of the names of this owner's control groups.
fn prefix(owner: &Path) -> String {
    let digest = Digest::of(owner.as_os_str().as_bytes()).to_string();
    format!("swarm-drone-{}-", &digest[..12])
}

impl Group {
    /// A group without members as yet, with the limits of a job.
    pub fn new(job: &Job) -> Self {
        let owner = &job.owner;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{count}", prefix(owner), std::process::id());
        let cgroups = Cgroups::new(&name);
        cgroups.limit_processes(job.processes_max);
        if let Some(bytes) = job.memory_max
            && !cgroups.limit_memory(bytes)
        {
            tracing::warn!("there is no control group to limit memory with; builds take what they like");
        }
        Self {
            cgroups,
            owner: owner.clone().into(),
            job: name,
            leader: 0,
            cpu_ms: 0,
            peak_memory_bytes: 0,
            over: false,
        }
    }

    /// Says who the first member is.
    pub fn leader(mut self, pid: Option<u32>) -> Self {
        self.leader = pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        self
    }

    /// The files that the first member writes its id to, separated by spaces. (Their
    /// names are the kernel's and ours, and have none.)
    pub fn join_list(&self) -> OsString {
        let files: Vec<_> = self.cgroups.procs().map(|p| p.display().to_string()).collect();
        files.join(" ").into()
    }

    /// The variables by which descendants are known.
    pub fn marks(&self) -> [(OsString, OsString); 2] {
        [(OWNER.into(), self.owner.clone()), (JOB.into(), self.job.clone().into())]
    }

    fn family(&self) -> Vec<table::Entry> {
        table::family(self.leader, format!("{JOB}={}", self.job).as_bytes())
    }

    /// Notes how much time and memory they take now.
    pub fn sample(&mut self) {
        let (cpu, memory) = (self.cgroups.cpu_ms(), self.cgroups.memory_bytes());
        if let (Some(cpu), Some(memory)) = (cpu, memory) {
            self.cpu_ms = self.cpu_ms.max(cpu);
            self.peak_memory_bytes = self.peak_memory_bytes.max(memory);
            return;
        }
        let family = self.family();
        let page = rustix::param::page_size() as u64;
        let tick_ms = 1000 / rustix::param::clock_ticks_per_second().max(1);
        let resident = family.iter().map(|e| e.pages * page).sum();
        let ticks: u64 = family.iter().map(|e| e.ticks).sum();
        self.cpu_ms = self.cpu_ms.max(cpu.unwrap_or(ticks * tick_ms));
        self.peak_memory_bytes = self.peak_memory_bytes.max(memory.unwrap_or(resident));
    }

    /// Asks all to end.
    pub fn terminate(&self) {
        if let Some(leader) = Pid::from_raw(self.leader).filter(|_| self.leader > 1) {
            // Gone meanwhile is what is wanted.
            let _ = kill_process_group(leader, Signal::TERM);
        }
    }

    /// Kills whoever is left, removes the control groups, and gives time in milliseconds,
    /// memory in bytes, and whether memory ran out.
    pub async fn end(&mut self) -> (u64, u64, bool) {
        self.cgroups.kill().await;
        for _ in 0..ROUNDS {
            if !self.kill_family() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(cpu) = self.cgroups.cpu_ms() {
            self.cpu_ms = self.cpu_ms.max(cpu);
        }
        let out_of_memory = self.cgroups.out_of_memory();
        if out_of_memory {
            self.peak_memory_bytes = self.peak_memory_bytes.max(self.cgroups.peak_bytes().unwrap_or(0));
        }
        for _ in 0..ROUNDS {
            self.cgroups.remove();
            if self.cgroups.is_gone() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.over = true;
        (self.cpu_ms, self.peak_memory_bytes, out_of_memory)
    }

    /// One round of killing what the process table shows; whether there was anybody.
    fn kill_family(&self) -> bool {
        kill_all(&self.family())
    }
}

impl Drop for Group {
    /// The way out when the caller is gone: the same, but without waiting for long.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        for _ in 0..20 {
            let members = self.cgroups.kill_once();
            if !self.kill_family() && !members {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.cgroups.remove();
    }
}

#[cfg(test)]
impl Group {
    /// As on a machine whose control groups cannot be written to.
    pub fn forget_cgroups(&mut self) {
        self.cgroups.remove();
    }
}

/// Whether this machine lets this process limit the memory of others.
#[cfg(test)]
pub(super) fn limits_memory(owner: &Path) -> bool {
    let mut cgroups = Cgroups::new(&format!("{}probe", prefix(owner)));
    let limits = cgroups.limit_memory(1 << 30);
    cgroups.remove();
    limits
}

/// Whether this machine lets this process limit how many others there are.
#[cfg(test)]
pub(super) fn limits_processes(owner: &Path) -> bool {
    let mut cgroups = Cgroups::new(&format!("{}probe", prefix(owner)));
    let limits = cgroups.limit_processes(1000);
    cgroups.remove();
    limits
}

/// Control groups of this owner that are still there.
#[cfg(test)]
pub(super) fn left_groups(owner: &Path) -> Vec<Cgroups> {
    Cgroups::left(&prefix(owner))
}

/// Kills these; whether one of them was alive.
fn kill_all(entries: &[table::Entry]) -> bool {
    let mut any = false;
    for entry in entries.iter().filter(|e| !e.zombie) {
        if let Some(pid) = entry.id() {
            any = true;
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    any
}

/// Kills what an earlier drone with the same `owner` directory left behind, and removes
/// its control groups; gives how many processes that were. Call it before the first job:
/// it does not tell the living apart from the forgotten.
pub async fn sweep_leftovers(owner: &Path) -> usize {
    let mut mark = OsString::from(format!("{OWNER}="));
    mark.push(owner);
    let mut killed = 0;
    for mut cgroups in Cgroups::left(&prefix(owner)) {
        killed += cgroups.members().len();
        cgroups.kill().await;
        cgroups.remove();
    }
    for _ in 0..ROUNDS {
        let left = table::family(0, mark.as_bytes());
        if !kill_all(&left) {
            break;
        }
        killed += left.iter().filter(|e| !e.zombie).count();
        tokio::time::sleep(PAUSE).await;
    }
    killed
}
