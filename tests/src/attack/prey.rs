//! The orchestrator that is attacked: a process of its own, with drones that do not behave.

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

/// Nothing is answered later than this, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// No failure makes it try less: what is tried must not run out.
const POLICY: &str = "[policy]\nstartup_grace = \"0\"\nlease = \"1d\"\noffline_after = \"1d\"\n\
    strikes_to_ground = 4000000000\npackage_failures = 1\nfailures_per_run = 4000000000\n\
    plan_attempts = 4000000000\nbackoff = \"1ms\"\nbackoff_max = \"1ms\"\n";

/// The orchestrator, who speaks to it, and what it has said.
pub struct Prey {
    // Dropped before its files.
    pub orchestrator: Orchestrator,
    /// A drone that behaves.
    pub honest: Arc<FakeDrone>,
    /// One that brings what it likes for the work that it gets.
    pub hostile: FakeDrone,
    /// One that says anything of itself, and may so lose its right to work.
    pub liar: FakeDrone,
    http: reqwest::Client,
    token: String,
    /// Bytes of its log that were looked at.
    read: usize,
    _folder: TempDir,
}

impl Prey {
    /// Starts one.
    ///
    /// # Errors
    /// It does not start; the error has its log.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.orchestrator.address
    }

    /// The admin's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends a request as it is. What came of it, and how long that took.
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

    /// Has the hostile drone get the plan of a new run to make.
    ///
    /// # Errors
    /// It gets none.
    pub async fn plan_to_make(&self) -> Result<AttemptId> {
        self.end_runs().await?;
        let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Nightly };
        self.orchestrator.admin.start_run(&request, &IdempotencyKey::random()?).await?;
        let work = self.work().await?;
        ensure!(work.work == Work::Plan, "{work:?} is no plan");
        Ok(work.attempt)
    }

    /// Work for the hostile drone, if need be what the liar has.
    ///
    /// # Errors
    /// There is none.
    pub async fn work(&self) -> Result<Assignment> {
        match self.hostile.work_within(5_000).await {
            Ok(work) => Ok(work),
            Err(_) => {
                // It may have been thrown out meanwhile, and has then nothing.
                let _answer = self.liar.client.sign_off(&SignOffRequest { reason: String::new() }).await;
                self.hostile.work().await
            }
        }
    }

    /// Cancels whatever is under way.
    ///
    /// # Errors
    /// That is refused.
    pub async fn end_runs(&self) -> Result<()> {
        let runs = self.orchestrator.admin.runs().await?;
        for run in runs.into_iter().filter(|run| !run.state.is_over()) {
            self.orchestrator.admin.cancel_run(run.id, &IdempotencyKey::random()?).await?;
        }
        Ok(())
    }

    /// Whatever people look at can be read still.
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

    /// Has its memory be measured from now on.
    ///
    /// # Errors
    /// The process is gone.
    pub fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.orchestrator.id()), "5").context("it has ended")
    }

    /// Notes whether it lives, what it has logged and what it took of memory. Whether it can go on.
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

    /// Stops it in order.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn stop(self) -> Result<()> {
        self.orchestrator.stop()
    }
}

/// The last lines.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
