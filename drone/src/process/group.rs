//! Tracks all processes of one [`Invocation`].
//!
//! A control group knows all of them. Without one, descendants are found by parent, process group, session,
//! and an environment variable that they inherit even into a new session under a new parent. Both methods are
//! always used, so that nothing escapes if a control group could be created but not joined.

use super::{Invocation, Used, cgroup::Cgroups, table};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use swarm_common::digest::Digest;

/// Environment variable that names the owner of a process.
const OWNER: &str = "SWARM_DRONE_DIR";
/// Environment variable that names the job of a process.
const JOB: &str = "SWARM_DRONE_JOB";
/// Maximum number of rounds of the final cleanup, and the pause between them.
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
    /// The part of `cpu_ms` that [`Group::used`] has returned.
    counted_ms: u64,
    peak_memory_bytes: u64,
    over: bool,
}

/// Common prefix of the names of this owner's control groups.
fn prefix(owner: &Path) -> String {
    let digest = Digest::of(owner.as_os_str().as_bytes()).to_string();
    format!("swarm-drone-{}-", &digest[..12])
}

impl Group {
    /// Creates an empty group with the limits of a job.
    pub fn new(job: &Invocation) -> Self {
        let owner = &job.owner;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{count}", prefix(owner), std::process::id());
        let cgroups = Cgroups::new(&name);
        if !cgroups.limit_processes(job.processes_max) {
            // Every job has this limit, and many machines support no limits, so log it only once.
            static WARNED: Once = Once::new();
            WARNED.call_once(|| {
                tracing::warn!(
                    "no control group to limit processes; builds run without a limit of their number"
                );
            });
        }
        if let Some(bytes) = job.memory_max
            && !cgroups.limit_memory(bytes)
        {
            tracing::warn!("no control group to limit memory; builds run without a memory limit");
        }
        if let Some(processors) = job.processors_max
            && !cgroups.limit_processors(processors)
        {
            tracing::warn!("no control group to limit processors; builds run without a processor limit");
        }
        Self {
            cgroups,
            owner: owner.clone().into(),
            job: name,
            leader: 0,
            cpu_ms: 0,
            counted_ms: 0,
            peak_memory_bytes: 0,
            over: false,
        }
    }

    pub fn leader(mut self, pid: Option<u32>) -> Self {
        self.leader = pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        self
    }

    /// The files to which the first process writes its ID, separated by spaces. The names contain no spaces.
    pub fn join_list(&self) -> OsString {
        let files: Vec<_> = self.cgroups.procs().map(|p| p.display().to_string()).collect();
        files.join(" ").into()
    }

    /// Environment variables that identify descendants.
    pub fn marks(&self) -> [(OsString, OsString); 2] {
        [(OWNER.into(), self.owner.clone()), (JOB.into(), self.job.clone().into())]
    }

    fn family(&self) -> Vec<table::Entry> {
        table::family(self.leader, format!("{JOB}={}", self.job).as_bytes())
    }

    /// Records current CPU time and memory.
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

    /// Sends SIGTERM to the process group.
    pub fn terminate(&self) {
        if let Some(leader) = Pid::from_raw(self.leader).filter(|_| self.leader > 1) {
            // The group may have ended meanwhile.
            let _ = kill_process_group(leader, Signal::TERM);
        }
    }

    /// The resources used since the last call.
    pub fn used(&mut self) -> Used {
        self.sample();
        self.count()
    }

    fn count(&mut self) -> Used {
        let out_of_memory = self.cgroups.out_of_memory();
        if out_of_memory {
            self.peak_memory_bytes = self.peak_memory_bytes.max(self.cgroups.peak_bytes().unwrap_or(0));
        }
        let cpu_ms = self.cpu_ms - std::mem::replace(&mut self.counted_ms, self.cpu_ms);
        Used { cpu_ms, peak_memory_bytes: std::mem::take(&mut self.peak_memory_bytes), out_of_memory }
    }

    /// Kills all remaining processes and removes the control groups. Returns the resources used since
    /// [`Group::used`] was called.
    pub async fn end(&mut self) -> Used {
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
        let used = self.count();
        for _ in 0..ROUNDS {
            self.cgroups.remove();
            if self.cgroups.is_gone() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.over = true;
        used
    }

    /// Kills the processes found in the process table, once. Returns whether there were any.
    fn kill_family(&self) -> bool {
        kill_all(&self.family())
    }
}

impl Drop for Group {
    /// Cleans up after the caller's future was dropped. `drop` cannot await, so this waits only briefly.
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
    /// Simulates a machine whose control groups are not writable.
    pub fn forget_cgroups(&mut self) {
        self.cgroups.remove();
    }
}

/// Whether this machine supports a limit.
#[cfg(test)]
pub(super) fn can(owner: &Path, limit: impl FnOnce(&Cgroups) -> bool) -> bool {
    let mut cgroups = Cgroups::new(&format!("{}probe", prefix(owner)));
    let limits = limit(&cgroups);
    cgroups.remove();
    limits
}

/// Control groups that still exist for this owner.
#[cfg(test)]
pub(super) fn left_groups(owner: &Path) -> Vec<Cgroups> {
    Cgroups::left(&prefix(owner))
}

/// Kills these processes. Returns whether any was alive.
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

/// Kills processes and removes control groups left by an earlier drone with the same `owner` directory.
/// Returns the number of processes. Call this before the first job, because it would kill running jobs as
/// well.
pub async fn kill_orphans(owner: &Path) -> usize {
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
