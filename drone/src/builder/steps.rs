//! The programs that an attempt runs, one after another, within one budget: time, log,
//! and the count of what they used.

use super::{BuildContext, BuildNote, Stop, failure, lack::Lack, log::Log};
use crate::{
    buildroot::Root,
    process::{self, End, Job, Ran},
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

/// Processes and threads of one build: a compiler for each of a hundred processors takes a
/// tenth of it, and a build that forks without end does not take the machine with it.
const PROCESSES_MAX: u32 = 8192;

/// What an attempt has to run with.
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

/// One program to run in a build root.
pub(super) struct Step<'a> {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment on top of the build root's.
    pub env: Vec<(OsString, OsString)>,
    /// The build root.
    pub root: &'a Root,
}

impl Steps {
    pub fn new(
        context: &BuildContext,
        notes: Sender<BuildNote>,
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

    /// Tells of a phase.
    pub async fn phase(&mut self, phase: Phase) {
        self.log.enter(phase).await;
    }

    /// What was used so far.
    pub fn usage(&self, started: Instant) -> Usage {
        Usage {
            wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cpu_ms: self.cpu_ms,
            peak_memory_bytes: self.peak_memory_bytes,
        }
    }

    /// Runs one program to its end; gives whether it succeeded. What is an error of the
    /// drone's own, or no error of the program at all, is a [`Stop`]; what it means that
    /// the program failed is the caller's to say.
    pub async fn run(&mut self, step: Step<'_>) -> Result<bool, Stop> {
        let mut env = step.root.environment();
        env.extend(step.env);
        let (program, args) = step.root.command(&step.program, step.args);
        let job = Job {
            program,
            args,
            env,
            dir: step.root.attempt().to_owned(),
            owner: self.owner.clone(),
            timeout: self.timeout.saturating_sub(self.started.elapsed()),
            silence: self.silence,
            grace: self.grace,
            memory_max: step.root.config().memory_max(),
            processes_max: PROCESSES_MAX,
        };
        self.log.begin();
        let ran = process::run(&job, &mut self.log, &self.cancel)
            .await
            .map_err(|e| Stop::failed(FailureClass::Drone, self.log.phase(), e.to_string()))?;
        self.cpu_ms += ran.cpu_ms;
        self.peak_memory_bytes = self.peak_memory_bytes.max(ran.peak_memory_bytes);
        self.judge(&ran, &step.program)
    }

    fn judge(&self, ran: &Ran, program: &Path) -> Result<bool, Stop> {
        let phase = self.log.phase();
        let timeout = |what: String| {
            let mut message = what;
            message.push_str("\nthe last lines were:\n");
            message.push_str(&self.log.errors.last());
            Err(Stop::Failed(failure::of(FailureClass::Timeout, phase, message)))
        };
        match ran.end {
            End::Cancelled | End::Stopped => Err(Stop::Cancelled),
            End::TimedOut => timeout(format!("stopped: it took longer than {} s", self.timeout.as_secs())),
            End::Silent => timeout(format!("stopped: it printed nothing for {} s", self.silence.as_secs())),
            End::Exited(status) if !status.success() && (ran.out_of_memory || killed(status)) => {
                let said = self.log.errors.first().unwrap_or_default();
                let (lack, peak) = (Lack::of_memory(ran.out_of_memory), Some(ran.peak_memory_bytes));
                Err(Stop::Failed(failure::for_want(&lack, phase, peak, said)))
            }
            // The shell's word for a program that is not there or not one.
            End::Exited(status) if matches!(status.code(), Some(126 | 127)) => {
                let message = format!("{} cannot be run\n{}", program.display(), self.log.errors.last());
                Err(Stop::failed(FailureClass::Drone, phase, message))
            }
            End::Exited(status) => Ok(status.success()),
        }
    }

    /// What the last step's output says of its failure, for a step that fails with `class`
    /// if nothing speaks for another one.
    pub fn failed(&self, class: FailureClass) -> Stop {
        Stop::Failed(self.log.errors.failure(class, self.log.phase(), self.peak_memory_bytes))
    }
}

/// Killed by SIGKILL, or a shell that tells so of its child.
fn killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9) || status.code() == Some(137)
}
