//! A running program, with its group and its output.

use super::{Completed, End, Invocation, Sink, Used, disk, group::Group};
use std::{
    future::Future,
    io,
    ops::ControlFlow,
    os::fd::OwnedFd,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// Interval at which limits are checked and memory is sampled.
const TICK: Duration = Duration::from_millis(200);
/// Maximum size in bytes of a piece of output.
const PIECE_BYTES: usize = 64 * 1024;
/// How long to read remaining output after the last process has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// A running program. Dropping it kills all its processes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: Group,
    output: Receiver,
    /// The end of `output` again, to see how much it holds.
    unread: OwnedFd,
}

/// What ended [`Running::attend`].
#[derive(Debug)]
pub enum Attended<T> {
    /// The program ended, and all its processes are gone.
    Ended(Completed),
    /// It answered and still runs. The resources are those used since it was last attended.
    Answered(Box<Running>, T, Used),
}

impl Running {
    /// Starts a program without input. Its output is stdout and stderr combined.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(job: &Invocation) -> io::Result<Self> {
        Self::spawn(job, |command, output| {
            command.stdin(Stdio::null()).stdout(output);
        })
    }

    /// Starts a program that reads requests from its input and answers on stdout. Its output is stderr.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_server(job: &Invocation) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut running = Self::spawn(job, |command, _| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        })?;
        match (running.child.stdin.take(), running.child.stdout.take()) {
            (Some(requests), Some(answers)) => Ok((running, requests, answers)),
            _ => Err(io::Error::other("a started program has no pipes")),
        }
    }

    fn spawn(job: &Invocation, connect: impl FnOnce(&mut Command, io::PipeWriter)) -> io::Result<Self> {
        let group = Group::new(job);
        let (reader, writer) = io::pipe()?;
        let mut command = command(job, &group);
        command.stderr(writer.try_clone()?);
        connect(&mut command, writer);
        let child = command
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot start {}: {e}", job.program.display())))?;
        // The command holds write ends of the pipe, so the output would never end.
        drop(command);
        let group = group.leader(child.id());
        let unread = reader.try_clone()?.into();
        let output = Receiver::from_owned_fd(reader.into())?;
        Ok(Self { child, group, output, unread })
    }

    /// Waits until the program ends, `answer` is ready, or a limit of `job` is exceeded; other fields of `job` do
    /// not matter. The time limits begin now.
    ///
    /// # Errors
    /// The kernel does not say whether the program has ended.
    pub async fn attend<T>(
        mut self,
        job: &Invocation,
        sink: &mut impl Sink,
        cancel: &CancellationToken,
        answer: impl Future<Output = T>,
    ) -> io::Result<Attended<T>> {
        Ok(match self.watch(job, sink, cancel, answer).await? {
            Ok((answer, used)) => Attended::Answered(Box::new(self), answer, used),
            Err(completed) => Attended::Ended(completed),
        })
    }

    async fn watch<T>(
        &mut self,
        job: &Invocation,
        sink: &mut impl Sink,
        cancel: &CancellationToken,
        answer: impl Future<Output = T>,
    ) -> io::Result<Result<(T, Used), Completed>> {
        let Self { child, group, output, unread } = self;
        let started = Instant::now();
        // Time of the last output in milliseconds since the start. Time spent in the sink does not count as
        // silence.
        let heard_ms = AtomicU64::new(0);
        let busy = AtomicBool::new(false);
        let taken = Notify::new();
        let reading = async {
            let mut buffer = vec![0; PIECE_BYTES];
            loop {
                // A read error ends the output too. The exit status decides.
                let Ok(n @ 1..) = output.read(&mut buffer).await else { return ControlFlow::Continue(()) };
                busy.store(true, Relaxed);
                let verdict = sink.take(&buffer[..n]).await;
                busy.store(false, Relaxed);
                taken.notify_one();
                heard_ms.store(millis(started.elapsed()), Relaxed);
                if verdict.is_break() {
                    return verdict;
                }
            }
        };
        tokio::pin!(reading);
        tokio::pin!(answer);
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
                answer = &mut answer => {
                    // What it printed before it answered is in the pipe by now.
                    while open && (busy.load(Relaxed) || rustix::io::ioctl_fionread(&*unread)? > 0) {
                        tokio::select! {
                            _ = &mut reading => open = false,
                            () = taken.notified() => {}
                        }
                    }
                    return Ok(Ok((answer, group.used())));
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
        let used = group.end().await;
        // It was already reaped, or is dead by now.
        let _ = child.wait().await;
        if open && !matches!(end, End::Stopped | End::Cancelled) {
            let _ = tokio::time::timeout(DRAIN, &mut reading).await;
        }
        Ok(Err(Completed { end, used }))
    }

    /// Kills the program, and waits until all its processes are gone.
    pub async fn kill(mut self) {
        self.group.end().await;
        // It is dead by now.
        let _ = self.child.wait().await;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Wraps the program in a shell script that joins the control groups before it executes the program,
/// so that no descendant is missed.
pub(super) fn command(job: &Invocation, group: &Group) -> Command {
    const JOIN: &str = r#"for procs in $SWARM_JOIN; do echo $$ >"$procs" || :; done 2>/dev/null
unset SWARM_JOIN; exec "$0" "$@""#;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(JOIN).arg(&job.program).args(&job.args);
    command.env_clear().envs(job.env.iter().map(|(k, v)| (k, v)));
    command.env("SWARM_JOIN", group.join_list()).envs(group.marks());
    command.current_dir(&job.dir).process_group(0).kill_on_drop(true);
    command
}
