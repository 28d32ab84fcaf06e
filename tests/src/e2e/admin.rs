//! The admin of a [`Swarm`], who uses only `swarmctl`.

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use std::{process::Command, time::Duration};
use swarm_common::{
    id::RunId,
    state::Phase,
    wire::{
        admin::StartRunReply,
        ready::Ready,
        view::{ProfileView, RunView, StatusView, WhyView, WorkView},
    },
};

use super::{
    nix::NixMachine,
    swarm::{PROFILE, Swarm},
    wait,
    workstation::{Workstation, text},
};

impl Swarm {
    /// Runs `swarmctl` and returns its output.
    ///
    /// # Errors
    /// It fails; the error contains its output.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let done = self.swarmctl()?.args(arguments).output()?;
        ensure!(done.status.success(), "swarmctl {}: {}\n{}", arguments.join(" "), done.status, text(&done));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Runs `swarmctl` on a machine with Nix. Returns whether it succeeded, and its output.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn ctl_on(&self, machine: &NixMachine, arguments: &[&str]) -> Result<(bool, String)> {
        let own = self.swarmctl()?;
        let mut command = machine.command(&own.get_program().to_string_lossy());
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let done = command.args(arguments).output()?;
        Ok((done.status.success(), text(&done)))
    }

    /// The exit code of a `swarmctl` command.
    ///
    /// # Errors
    /// It was killed.
    pub fn exit_code(&self, arguments: &[&str]) -> Result<i32> {
        self.swarmctl()?.args(arguments).output()?.status.code().context("swarmctl was killed")
    }

    /// The output of `swarmctl --json …`, whatever its exit code: problems of the swarm have exit codes of
    /// their own.
    ///
    /// # Errors
    /// The output cannot be parsed.
    pub fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let done = self.swarmctl()?.arg("--json").args(arguments).output()?;
        serde_json::from_slice(&done.stdout).with_context(|| format!("{arguments:?}: {}", text(&done)))
    }

    /// `swarmctl status`.
    ///
    /// # Errors
    /// The orchestrator does not answer.
    pub fn status(&self) -> Result<StatusView> {
        self.ask(&["status"])
    }

    /// `swarmctl why PACKAGE`.
    ///
    /// # Errors
    /// The package is unknown.
    pub fn why(&self, package: &str) -> Result<WhyView> {
        self.ask(&["why", package])
    }

    /// Starts a run without waiting for its end.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_run(&self) -> Result<RunId> {
        self.start_run_of(PROFILE)
    }

    /// Starts a run of a profile without waiting for its end.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_run_of(&self, profile: &str) -> Result<RunId> {
        let reply: StartRunReply = self.ask(&["run", "start", profile])?;
        Ok(reply.run)
    }

    /// The current state of a run.
    ///
    /// # Errors
    /// The orchestrator does not know it.
    pub fn run_view(&self, run: RunId) -> Result<RunView> {
        self.ask(&["run", "show", &run.to_string()])
    }

    /// Waits until a run has ended.
    ///
    /// # Errors
    /// It has not ended after `limit`; the error contains the status.
    pub fn run_to_its_end(&self, run: RunId, limit: Duration) -> Result<RunView> {
        wait::until("the run ends", limit, || {
            let view = self.run_view(run)?;
            Ok(view.state.is_over().then_some(view))
        })
        .with_context(|| self.ctl(&["status"]).unwrap_or_else(|error| format!("{error:#}")))
    }

    /// Waits until a drone builds a package. Returns the drone and the package.
    ///
    /// # Errors
    /// None does within `limit`.
    pub fn builds(&self, limit: Duration) -> Result<(String, String)> {
        wait::until("a drone builds a package", limit, || {
            let found = self.status()?.drones.into_iter().find_map(|drone| {
                // Making a plan is work too, but has no package.
                let package = |work: &&WorkView| work.phase == Phase::Building && work.title.contains('/');
                let work = drone.working_on.iter().find(package)?;
                Some((drone.name.to_string(), work.title.clone()))
            });
            Ok(found)
        })
    }

    /// The profile.
    ///
    /// # Errors
    /// The orchestrator does not answer.
    pub fn profile(&self) -> Result<ProfileView> {
        let all: Vec<ProfileView> = self.ask(&["profile", "list"])?;
        all.into_iter().find(|profile| profile.name.as_str() == PROFILE).context("no profile")
    }

    /// Configures a workstation for this swarm with `swarmctl client setup`.
    ///
    /// # Errors
    /// swarmctl or gpg fails.
    pub fn set_up(&self, workstation: &Workstation) -> Result<()> {
        self.set_up_for(workstation, "stable")
    }

    /// Like [`Swarm::set_up`], with the packages of a channel.
    ///
    /// # Errors
    /// swarmctl or gpg fails.
    pub fn set_up_for(&self, workstation: &Workstation, channel: &str) -> Result<()> {
        let root = workstation.path("").display().to_string();
        let own = ["client", "setup", PROFILE, "--channel", channel, "--out", &root];
        self.ctl(&[&own[..], &["--address", &self.url()]].concat())?;
        workstation.finish_setup(&format!("swarm-{PROFILE}"))
    }

    /// The lines of `nix.conf` with which a machine uses the cache of a Nix profile.
    ///
    /// # Errors
    /// The orchestrator does not answer.
    pub fn nix_conf(&self, profile: &str) -> Result<String> {
        let setup: serde_json::Value = self.ask(&["client", "setup", profile, "--address", &self.url()])?;
        Ok(setup["nix_conf"].as_str().context("no nix.conf")?.to_owned())
    }

    /// The system that a Nix profile serves for a host, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn ready(&self, profile: &str, host: &str) -> Result<Option<Ready>> {
        let mut wget = Command::new("wget");
        wget.args(["--quiet", "--tries=1", "--timeout=20", "-O", "-"]);
        let done = wget.arg(format!("{}/binhost/{profile}/ready/{host}", self.url())).output()?;
        done.status.success().then(|| Ok(serde_json::from_slice(&done.stdout)?)).transpose()
    }

    /// The URL from which workstations fetch packages.
    ///
    /// # Errors
    /// The orchestrator does not answer.
    pub fn binhost(&self) -> Result<String> {
        Ok(format!("{}/{}", self.url(), self.profile()?.binhost.trim_start_matches('/')))
    }
}
