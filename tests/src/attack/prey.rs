//! The attacked orchestrator, which runs as a separate process, and its misbehaving drones.

use super::tally::{Said, Tally};
use crate::{
    api::{FakeDrone, PROFILE, name},
    bench::server::{Orchestrator, memory_mb},
};
use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use swarm_client::IdempotencyKey;
use swarm_common::{
    id::AttemptId,
    state::RunClass,
    wire::{
        admin::StartRunRequest,
        drone::{Assignment, SignOffRequest, Work},
    },
};
use swarm_daemon::config::secret::read_secret;
use tempfile::TempDir;

/// Upper limit for every answer, enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Failures must have no consequences, so that there is always more to try.
const POLICY: &str = "[policy]\nstartup_grace = \"0\"\nlease = \"1d\"\noffline_after = \"1d\"\n\
    strikes_to_ground = 4000000000\npackage_failures = 1\nfailures_per_run = 4000000000\n\
    plan_attempts = 4000000000\nbackoff = \"1ms\"\nbackoff_max = \"1ms\"\n";

/// The orchestrator, its drones, and its log.
pub struct Prey {
    // Dropped before its files.
    pub orchestrator: Orchestrator,
    /// A well-behaved drone.
    pub honest: Arc<FakeDrone>,
    /// A drone that returns arbitrary results for the work that it gets.
    pub hostile: FakeDrone,
    /// A drone that lies about itself, for which it may lose its right to work.
    pub liar: FakeDrone,
    http: reqwest::Client,
    token: String,
    /// How many bytes of the log have been examined.
    read: usize,
    _folder: TempDir,
}

impl Prey {
    /// Starts an orchestrator.
    ///
    /// # Errors
    /// It does not start; the error contains its log.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let orchestrator = Orchestrator::start(folder.path(), POLICY)?;
        let mut crew = orchestrator.crew(3).await?.into_iter();
        let mut next = || crew.next().context("a drone is missing");
        let (honest, hostile, liar) = (Arc::new(next()?), next()?, next()?);
        let token = read_secret(&folder.path().join("state/admin.token"))?.expose().to_owned();
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { orchestrator, honest, hostile, liar, http, token, read: 0, _folder: folder })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.orchestrator.address
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends a request unchanged. Returns the result and its duration.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        credential: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> (Said, Duration) {
        let began = Instant::now();
        let mut request = self.http.request(method, format!("http://{}/api/v1{path}", self.address()));
        if !credential.is_empty() {
            request = request.bearer_auth(credential);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let said = match request.body(body).send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let problem: serde_json::Value = answer.json().await.unwrap_or_default();
                Said::Status(status, problem["type"].as_str().unwrap_or_default().to_owned())
            }
            Err(error) => Said::Nothing(format!("{:#}", anyhow::Error::from(error))),
        };
        (said, began.elapsed())
    }

    /// Starts a run and assigns its plan to the hostile drone.
    ///
    /// # Errors
    /// The drone is not assigned one.
    pub async fn plan_to_make(&self) -> Result<AttemptId> {
        self.end_runs().await?;
        let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Nightly };
        self.orchestrator.admin.start_run(&request, &IdempotencyKey::random()?).await?;
        let work = self.work().await?;
        ensure!(work.work == Work::Plan, "{work:?} is no plan");
        Ok(work.attempt)
    }

    /// Work for the hostile drone. If there is none, takes over the liar's.
    ///
    /// # Errors
    /// There is no work.
    pub async fn work(&self) -> Result<Assignment> {
        match self.hostile.work_within(5_000).await {
            Ok(work) => Ok(work),
            Err(_) => {
                // The liar may have been removed meanwhile; then it has no work.
                let _answer = self.liar.client.sign_off(&SignOffRequest { reason: String::new() }).await;
                self.hostile.work().await
            }
        }
    }

    /// Cancels all active runs.
    ///
    /// # Errors
    /// The orchestrator refuses.
    pub async fn end_runs(&self) -> Result<()> {
        let runs = self.orchestrator.admin.runs().await?;
        for run in runs.into_iter().filter(|run| !run.state.is_over()) {
            self.orchestrator.admin.cancel_run(run.id, &IdempotencyKey::random()?).await?;
        }
        Ok(())
    }

    /// Checks that everything admins look at can still be read.
    pub async fn read_all(&self, tally: &mut Tally) {
        let admin = &self.orchestrator.admin;
        let found = [
            ("status", admin.status().await.err()),
            ("runs", admin.runs().await.err()),
            ("drones", admin.drones().await.err()),
            ("profiles", admin.profiles().await.err()),
            ("artifacts", admin.artifacts(None).await.err()),
        ];
        for (what, error) in found {
            if let Some(error) = error {
                tally.wrong(format!("{what} cannot be read: {error}"));
            }
        }
    }

    /// Resets the measurement of peak memory.
    ///
    /// # Errors
    /// The process has ended.
    pub fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.orchestrator.id()), "5").context("it has ended")
    }

    /// Records whether the process is alive, its log and its memory. Returns whether to continue.
    pub fn look(&mut self, tally: &mut Tally) -> bool {
        let log = self.orchestrator.log();
        let panics = log.get(self.read..).unwrap_or_default().matches("panicked at").count();
        self.read = log.len();
        let peak = memory_mb(self.orchestrator.id(), "status", "VmHWM:");
        tally.peak_mb = tally.peak_mb.max(*peak.as_ref().unwrap_or(&0.0));
        tally.crashes += panics as u64 + u64::from(peak.is_err());
        if panics > 0 || peak.is_err() {
            tally.wrong(format!("it crashed:\n{}", tail(&log)));
        }
        peak.is_ok()
    }

    /// Stops it with SIGTERM.
    ///
    /// # Errors
    /// It does not end, or ends with an error.
    pub fn stop(self) -> Result<()> {
        self.orchestrator.stop()
    }
}

pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
