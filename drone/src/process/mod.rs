//! Runs a program so that no process of it outlives the call.
//!
//! A build starts compilers, daemons and arbitrary other programs. Each may leave its session, ignore signals
//! or keep the output open. So a program runs in a [`Group`](group::Group): a control group if one can be created, and
//! always a process group and an environment variable that descendants inherit. When [`run`] returns or its
//! future is dropped, all of these processes are gone. A [`Running`] program that answers several requests is gone
//! when it is dropped.
//!
//! The environment contains only what the [`Invocation`] specifies, so that builds do not depend on the drone's
//! environment.

mod cgroup;
mod delegated;
mod disk;
mod group;
mod running;
mod table;
#[cfg(test)]
mod tests;

pub use delegated::take_over;
pub use disk::{DiskLimit, Excess, disk_usage, too_little_free};
pub use group::kill_orphans;
pub use running::{Attended, Running};

use std::{
    convert::Infallible,
    ffi::OsString,
    future::{self, Future},
    io,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

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

/// The resources that a program used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// User and system time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory of all its processes together, in bytes. It is sampled and excludes page cache if the
    /// kernel counts that separately. If memory ran out, it is the peak that the control group recorded,
    /// including page cache.
    pub peak_memory_bytes: u64,
    /// Whether the kernel killed one of its processes because memory ran out.
    pub out_of_memory: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    pub end: End,
    pub used: Used,
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
    let running = Running::start(job)?;
    let Attended::Ended(completed) =
        Box::pin(running.attend(job, sink, cancel, future::pending::<Infallible>())).await?;
    Ok(completed)
}
