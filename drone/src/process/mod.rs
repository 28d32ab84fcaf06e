//! Runs a program so that no process of it outlives the call.
//!
//! A build starts compilers, daemons and arbitrary other programs. Each may leave its session, ignore signals
//! or keep the output open. So a program runs in a [`Group`]: a control group if one can be created, and
//! always a process group and an environment variable that descendants inherit. When [`run`] returns or its
//! future is dropped, all of these processes are gone.
//!
//! The environment contains only what the [`Invocation`] specifies, so that builds do not depend on the drone's
//! environment.

mod cgroup;
mod delegated;
mod disk;
mod group;
mod table;
#[cfg(test)]
mod tests;

pub use delegated::take_over;
pub use disk::{DiskLimit, Excess, disk_usage, too_little_free};
pub use group::kill_orphans;

use group::Group;
use std::{
    ffi::OsString,
    future::Future,
    io,
    ops::ControlFlow,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, process::Command};
use tokio_util::sync::CancellationToken;

/// Interval at which limits are checked and memory is sampled.
const TICK: Duration = Duration::from_millis(200);
/// Maximum size in bytes of a piece of output.
const PIECE_BYTES: usize = 64 * 1024;
/// How long to read remaining output after the last process has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// A program to run and its limits.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// An absolute path, or a name to look up in the `PATH` of `env`.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub dir: PathBuf,
    /// The drone's working directory. It identifies the owner of the processes, so that a restarted drone
    /// finds those left behind.
    pub owner: PathBuf,
    pub timeout: Duration,
    pub silence: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Memory limit for all processes together, in bytes.
    pub memory_max: Option<u64>,
    /// CPU limit for all processes together, in processors.
    pub processors_max: Option<u32>,
    pub disk: DiskLimit,
    /// Maximum number of processes and threads.
    pub processes_max: u32,
}

/// Receives the output, stdout and stderr combined. While it is busy the program waits, and this time does
/// not count as silence.
pub trait Sink: Send {
    /// Receives a piece. `Break` stops the program.
    fn take(&mut self, piece: &[u8]) -> impl Future<Output = ControlFlow<()>> + Send;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited, or a signal from elsewhere killed it.
    Exited(ExitStatus),
    /// It exceeded its run time.
    TimedOut,
    /// It printed nothing for too long.
    Silent,
    /// It exceeded its disk limit, or the disk is almost full.
    DiskFull(Excess),
    Stopped,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    pub end: End,
    /// User and system time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory of all its processes together, in bytes. It is sampled and excludes page cache if the
    /// kernel counts that separately. If memory ran out, it is the peak that the control group recorded,
    /// including page cache.
    pub peak_memory_bytes: u64,
    /// Whether the kernel killed one of its processes because memory ran out.
    pub out_of_memory: bool,
}

/// Runs the job and waits until all its processes are gone.
///
/// # Errors
/// The program cannot be started.
pub async fn run(
    job: &Invocation,
    sink: &mut impl Sink,
    cancel: &CancellationToken,
) -> io::Result<Completed> {
    let group = Group::new(job);
    let (reader, writer) = io::pipe()?;
    let mut command = command(job, &group, writer)?;
    let mut child = command
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot start {}: {e}", job.program.display())))?;
    // The command holds write ends of the pipe, so the output would never end.
    drop(command);
    let mut group = group.leader(child.id());

    let mut output = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())?;
    let started = Instant::now();
    // Time of the last output in milliseconds since the start. Time spent in the sink does not count as
    // silence.
    let heard_ms = AtomicU64::new(0);
    let busy = AtomicBool::new(false);
    let reading = async {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            // A read error ends the output too. The exit status decides.
            let Ok(n @ 1..) = output.read(&mut buffer).await else { return ControlFlow::Continue(()) };
            busy.store(true, Relaxed);
            let verdict = sink.take(&buffer[..n]).await;
            busy.store(false, Relaxed);
            heard_ms.store(millis(started.elapsed()), Relaxed);
            if verdict.is_break() {
                return verdict;
            }
        }
    };
    tokio::pin!(reading);
    let excess = disk::excess(&job.disk);
    tokio::pin!(excess);
    let mut ticks = tokio::time::interval(TICK);
    let mut open = true;

    let end = loop {
        tokio::select! {
            verdict = &mut reading, if open => {
                open = false;
                if verdict.is_break() {
                    break End::Stopped;
                }
            }
            status = child.wait() => break End::Exited(status?),
            () = cancel.cancelled() => break End::Cancelled,
            excess = &mut excess => break End::DiskFull(excess),
            _ = ticks.tick() => {
                group.sample();
                if started.elapsed() >= job.timeout {
                    break End::TimedOut;
                }
                if !busy.load(Relaxed)
                    && millis(started.elapsed()) >= heard_ms.load(Relaxed).saturating_add(millis(job.silence)) {
                    break End::Silent;
                }
            }
        }
    };

    if !matches!(end, End::Exited(_)) {
        group.terminate();
        let ending = async {
            loop {
                tokio::select! {
                    _ = child.wait() => break,
                    // Keep reading; otherwise the program could block on a full pipe and never exit.
                    _ = &mut reading, if open => open = false,
                }
            }
        };
        // After a timeout, the group is killed below.
        let _ = tokio::time::timeout(job.grace, ending).await;
    }
    let (cpu_ms, peak_memory_bytes, out_of_memory) = group.end().await;
    // It was already reaped, or is dead by now.
    let _ = child.wait().await;
    if open && !matches!(end, End::Stopped | End::Cancelled) {
        let _ = tokio::time::timeout(DRAIN, &mut reading).await;
    }
    Ok(Completed { end, cpu_ms, peak_memory_bytes, out_of_memory })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Wraps the program in a shell script that joins the control groups before it executes the program,
/// so that no descendant is missed.
fn command(job: &Invocation, group: &Group, writer: io::PipeWriter) -> io::Result<Command> {
    const JOIN: &str = r#"for procs in $SWARM_JOIN; do echo $$ >"$procs" || :; done 2>/dev/null
unset SWARM_JOIN; exec "$0" "$@""#;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(JOIN).arg(&job.program).args(&job.args);
    command.env_clear().envs(job.env.iter().map(|(k, v)| (k, v)));
    command.env("SWARM_JOIN", group.join_list()).envs(group.marks());
    command.current_dir(&job.dir).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    Ok(command)
}
