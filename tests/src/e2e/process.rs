//! A program that runs in the background, with its output in a file.
//!
//! When dropped, it is killed with everything it started, so that a failed test leaves nothing running.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use super::wait;

#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in its own process group. Appends its output to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its complete output so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, and with which status.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal to the program, but not to its children.
    ///
    /// # Errors
    /// It has already ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).context("the process is gone")
    }

    /// Kills the program and everything it started, as a power failure would.
    ///
    /// # Errors
    /// The system does not report its status.
    pub fn kill(&mut self) -> Result<()> {
        // The group may already be gone.
        let _gone = kill_process_group(self.pid()?, Signal::KILL);
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It is still running after `limit`.
    pub fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let log = self.log.clone();
        wait::until("the process ends", limit, || self.ended())
            .with_context(|| fs::read_to_string(log).unwrap_or_default())
    }

    fn pid(&self) -> Result<Pid> {
        let id = i32::try_from(self.child.id())?;
        match Pid::from_raw(id) {
            Some(pid) => Ok(pid),
            None => bail!("no process has the id {id}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("left running: {} ({error})", self.log.display());
        }
    }
}
