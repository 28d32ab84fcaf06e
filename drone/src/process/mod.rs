//! Running one program so that nothing of it outlives the call.
//!
//! A build starts compilers, daemons and whatever an ebuild likes; each of them may leave
//! its session, ignore signals or hold the output open. So a program runs in a
//! [`Group`](group::Group): a control group of its own where one can be made, and in any
//! case a process group and a mark in the environment that descendants inherit. When
//! [`run`] returns, or its future is dropped, all of them are gone.
//!
//! The environment is empty but for what the [`Job`] names: what a build sees must not
//! depend on the shell that started the drone.

mod cgroup;
mod delegated;
mod group;
mod table;
#[cfg(test)]
mod tests;

pub use delegated::take_over;
pub use group::sweep_leftovers;

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

/// How often limits are looked at and memory is sampled.
const TICK: Duration = Duration::from_millis(200);
/// Output is handed on in pieces of at most this many bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// How long the rest of the output may take after the last process is gone.
const DRAIN: Duration = Duration::from_secs(5);

/// What to run, and for how long.
#[derive(Debug, Clone)]
pub struct Job {
    /// The program: an absolute path, or a name looked up in the `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Whose process it is, so that a later drone finds what an earlier one left: the
    /// working directory of the drone.
    pub owner: PathBuf,
    /// It may run this long.
    pub timeout: Duration,
    /// It may print nothing for this long.
    pub silence: Duration,
    /// How long it may take to end itself after SIGTERM.
    pub grace: Duration,
    /// All its processes together may have this much memory, in bytes.
    pub memory_max: Option<u64>,
    /// How many processes and threads it may have at once.
    pub processes_max: u32,
}

/// Takes the output, both streams in one, as it comes. It may take its time: the program
/// waits, and the silence is not counted.
pub trait Sink: Send {
    /// Takes a piece. `Break` stops the program.
    fn take(&mut self, piece: &[u8]) -> impl Future<Output = ControlFlow<()>> + Send;
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It ran longer than it may.
    TimedOut,
    /// It was silent for longer than it may be.
    Silent,
    /// The sink had enough.
    Stopped,
    /// The caller cancelled.
    Cancelled,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// User and system time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// Largest memory of all its processes together, sampled, in bytes. Page cache is not
    /// counted where the kernel tells it apart. When memory ran out it is all that was charged
    /// at that moment, which no sample catches.
    pub peak_memory_bytes: u64,
    /// The kernel killed a process of it for want of memory.
    pub out_of_memory: bool,
}

/// Runs the job and waits until nothing of it is left.
///
/// # Errors
/// The program cannot be started.
pub async fn run(job: &Job, sink: &mut impl Sink, cancel: &CancellationToken) -> io::Result<Ran> {
    let group = Group::new(job);
    let (reader, writer) = io::pipe()?;
    let mut command = command(job, &group, writer)?;
    let mut child = command
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot start {}: {e}", job.program.display())))?;
    // The command keeps the writing ends; with them open the output would never end.
    drop(command);
    let mut group = group.leader(child.id());

    let mut output = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())?;
    let started = Instant::now();
    // When there was output last, in milliseconds since the start; the sink's time is not
    // the program's, so while it is busy the silence does not grow.
    let heard_ms = AtomicU64::new(0);
    let busy = AtomicBool::new(false);
    let reading = async {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            // An error of a pipe is an end like any other: the exit status counts.
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
                    // Somebody has to read on, or the program cannot finish its last words.
                    _ = &mut reading, if open => open = false,
                }
            }
        };
        // Whether it obeyed makes no difference: the rest is killed either way.
        let _ = tokio::time::timeout(job.grace, ending).await;
    }
    let (cpu_ms, peak_memory_bytes, out_of_memory) = group.end().await;
    // Reaped already, or dead by now.
    let _ = child.wait().await;
    if open && !matches!(end, End::Stopped | End::Cancelled) {
        let _ = tokio::time::timeout(DRAIN, &mut reading).await;
    }
    Ok(Ran { end, cpu_ms, peak_memory_bytes, out_of_memory })
}

/// Whole milliseconds; five hundred million years are enough.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The program behind a few lines of shell that put it into its control groups. It joins
/// before it becomes the program, so no descendant can be missed.
fn command(job: &Job, group: &Group, writer: io::PipeWriter) -> io::Result<Command> {
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
