//! The admin of the soak: whenever a run has ended, changes the repository so that everything must be built
//! again, and starts the next run.

use crate::e2e::{programs::program, swarm::PROFILE};
use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use swarm_common::wire::view::RunView;

/// What an admin works with.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The login file of swarmctl.
    pub login: PathBuf,
    pub bundle: PathBuf,
    pub repository: PathBuf,
    pub url: String,
}

impl Ground {
    fn swarmctl(&self) -> Result<Command> {
        let mut command = Command::new(program("swarmctl")?);
        command.env("SWARMCTL_CONFIG", &self.login).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `swarmctl` and returns its output.
    pub(super) fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let done = self.swarmctl()?.args(arguments).output()?;
        let stderr = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "swarmctl {}: {stderr}", arguments.join(" "));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Like `ctl`, whatever its exit code, for text output.
    pub(super) fn ctl_whatever(&self, arguments: &[&str]) -> String {
        let done = self.swarmctl().and_then(|mut command| Ok(command.args(arguments).output()?));
        match done {
            Ok(done) => String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    /// The output of `swarmctl --json`, whatever its exit code.
    pub(super) fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let done = self.swarmctl()?.arg("--json").args(arguments).output()?;
        let output = || String::from_utf8_lossy(&[done.stdout.clone(), done.stderr].concat()).into_owned();
        serde_json::from_slice(&done.stdout).with_context(output)
    }

    /// Pins the profile to the current state of the repository. `verb` is `add` or `update`.
    pub(super) fn pin(&self, verb: &str) -> Result<()> {
        let at = |path: &Path| path.display().to_string();
        let (bundle, repository) = (at(&self.bundle), at(&self.repository));
        self.ctl(&["profile", verb, PROFILE, "--from", &bundle, "--repository", &repository])?;
        Ok(())
    }

    /// Changes every ebuild slightly, without changing what it does.
    fn touch(&self, folder: &Path, round: u64) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.touch(&path, round)?;
            } else if path.extension().is_some_and(|e| e == "ebuild") {
                writeln!(fs::File::options().append(true).open(&path)?, "# round {round}")?;
            }
        }
        Ok(())
    }

    /// Starts a new round unless a run is active. Returns whether it did.
    fn begin_round(&self, round: u64) -> Result<bool> {
        let runs: Vec<RunView> = self.ask(&["run", "list"])?;
        if runs.iter().any(|run| !run.state.is_over()) {
            return Ok(false);
        }
        self.touch(&self.repository, round)?;
        self.pin("update")?;
        self.ctl(&["run", "start", PROFILE])?;
        Ok(true)
    }
}

/// Works until `over`. Returns the number of runs that it started.
pub(super) fn start(ground: Ground, over: Arc<AtomicBool>) -> JoinHandle<Result<u64>> {
    thread::spawn(move || {
        let mut rounds = 0;
        while !over.load(Ordering::Relaxed) {
            // The orchestrator may be unreachable. Then the same round is tried again.
            if let Ok(true) = ground.begin_round(rounds) {
                rounds += 1;
            }
            thread::sleep(Duration::from_secs(1));
        }
        Ok(rounds)
    })
}
