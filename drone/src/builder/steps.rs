//! Runs the programs of an attempt one after another, with shared limits for time and log size, and sums up
//! their resource usage.

use super::{BuildContext, BuildUpdate, Stop, failure, log::Log, missing_resource::MissingResource};
use crate::{
    buildroot::stack::NO_ROOT,
    config::BuilderConfig,
    process::{self, Completed, DiskLimit, End, Excess, Invocation, Used},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::drone::Usage,
};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

/// Maximum number of processes and threads of a build, against fork bombs. A hundred compilers for a hundred
/// processors use a tenth of it.
const PROCESSES_MAX: u32 = 8192;

#[derive(Debug)]
pub(super) struct Steps {
    /// The log of all steps.
    pub log: Log,
    cancel: CancellationToken,
    started: Instant,
    timeout: Duration,
    silence: Duration,
    grace: Duration,
    owner: PathBuf,
    cpu_ms: u64,
    peak_memory_bytes: u64,
}

impl Steps {
    pub fn new(
        context: &BuildContext,
        notes: Sender<BuildUpdate>,
        cancel: CancellationToken,
        started: Instant,
    ) -> Self {
        let limits = &context.assignment.limits;
        Self {
            log: Log::new(notes, limits.log_bytes),
            cancel,
            started,
            timeout: Duration::from_millis(limits.build_timeout_ms),
            silence: Duration::from_millis(limits.silence_timeout_ms),
            grace: context.config.grace(),
            owner: context.config.work_dir.clone(),
            cpu_ms: 0,
            peak_memory_bytes: 0,
        }
    }

    pub async fn phase(&mut self, phase: Phase) {
        self.log.enter(phase).await;
    }

    pub fn usage(&self, started: Instant) -> Usage {
        Usage {
            wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cpu_ms: self.cpu_ms,
            peak_memory_bytes: self.peak_memory_bytes,
        }
    }

    /// Runs a job with its output in the log. Returns whether it succeeded. Timeouts, exceeded limits and
    /// errors of the drone itself are returned as [`Stop`]; the caller decides what an ordinary failure
    /// means. `program` is the program that the job runs, for messages.
    pub async fn run(&mut self, job: &Invocation, program: &Path) -> Result<bool, Stop> {
        self.log.begin();
        let ran = process::run(job, &mut self.log, &self.cancel)
            .await
            .map_err(|e| Stop::failed(FailureClass::Drone, self.log.phase(), e.to_string()))?;
        self.count(ran.used);
        self.judge(&ran, program)
    }

    /// A job with the attempt's limits in `dir`, which is the attempt's directory or below it.
    pub fn job(
        &self,
        config: &BuilderConfig,
        dir: &Path,
        program: PathBuf,
        args: Vec<OsString>,
        env: Vec<(OsString, OsString)>,
    ) -> Invocation {
        Invocation {
            program,
            args,
            env,
            dir: dir.to_owned(),
            owner: self.owner.clone(),
            timeout: self.left(),
            silence: self.silence,
            grace: self.grace,
            memory_max: config.memory_max(),
            processors_max: config.processors_max(),
            disk: DiskLimit { dir: dir.to_owned(), bytes: config.disk_max() },
            processes_max: PROCESSES_MAX,
        }
    }

    /// Time until the attempt must end.
    pub fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }

    /// Fires when the attempt is cancelled.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Adds the resources that a job used.
    pub fn count(&mut self, used: Used) {
        self.cpu_ms += used.cpu_ms;
        self.peak_memory_bytes = self.peak_memory_bytes.max(used.peak_memory_bytes);
    }

    /// Returns whether a program succeeded, or why the attempt ends.
    pub fn judge(&self, ran: &Completed, program: &Path) -> Result<bool, Stop> {
        let phase = self.log.phase();
        let timeout = |what: String| {
            let mut message = what;
            message.push_str("\nthe last lines were:\n");
            message.push_str(&self.log.errors.last());
            Err(Stop::Failed(failure::of(FailureClass::Timeout, phase, message)))
        };
        match ran.end {
            End::Cancelled | End::Stopped => Err(Stop::Cancelled),
            End::TimedOut => timeout(format!("stopped: time limit of {} s exceeded", self.timeout.as_secs())),
            End::Silent => timeout(format!("stopped: no output for {} s", self.silence.as_secs())),
            End::DiskFull(excess) => {
                let mut last_lines = self.log.errors.last();
                if let Excess::Left(bytes) = excess {
                    last_lines =
                        format!("stopped with {} MiB free; the last lines were:\n{last_lines}", bytes >> 20);
                }
                Err(Stop::Failed(failure::resource_failure(
                    &MissingResource::of_disk(excess),
                    phase,
                    None,
                    &last_lines,
                )))
            }
            End::Exited(status) if !status.success() && (ran.used.out_of_memory || killed(status)) => {
                let first_error = self.log.errors.first().unwrap_or_default();
                let (missing, peak) =
                    (MissingResource::of_memory(ran.used.out_of_memory), Some(ran.used.peak_memory_bytes));
                Err(Stop::Failed(failure::resource_failure(&missing, phase, peak, first_error)))
            }
            End::Exited(status) if status.code() == Some(NO_ROOT) => {
                let message = format!("the build root cannot be made\n{}", self.log.errors.last());
                Err(Stop::failed(FailureClass::Drone, phase, message))
            }
            // The shell's exit codes for a missing or non-executable program.
            End::Exited(status) if matches!(status.code(), Some(126 | 127)) => {
                let message = format!("cannot run {}\n{}", program.display(), self.log.errors.last());
                Err(Stop::failed(FailureClass::Drone, phase, message))
            }
            End::Exited(status) => Ok(status.success()),
        }
    }

    /// The failure of the last step according to its output. Its class is `class` unless the output indicates
    /// another one.
    pub fn failed(&self, class: FailureClass) -> Stop {
        Stop::Failed(self.log.errors.failure(class, self.log.phase(), self.peak_memory_bytes))
    }
}

/// Whether the program was killed by SIGKILL, directly or as the child of a shell.
fn killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9) || status.code() == Some(137)
}
