//! The real orchestrator as a separate process, with an admin and drones enrolled through the API, for
//! sections that measure it from outside.

use crate::{
    api::{FakeDrone, PROFILE, name, pebble_at, plan_of, snapshot},
    e2e::{process::Process, programs::program, wait},
};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use swarm_client::{Client, IdempotencyKey, parse_address};
use swarm_common::{
    state::RunClass,
    wire::{
        admin::{BuilderKind, EnrolTokenRequest, ProfileRequest, StartRunRequest},
        plan::PlanReport,
    },
};
use swarm_daemon::config::secret::{read_secret, write_private};

/// Upper limit for a start or an end, enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Settings with which a failed attempt removes its package from the queue permanently.
pub const FINAL_FAILURES: &str = "[policy]\npackage_failures = 1\nstartup_grace = \"0\"\n";

/// A running orchestrator. Killed when dropped.
pub struct Orchestrator {
    process: Process,
    /// The address it listens on.
    pub address: SocketAddr,
    pub admin: Client,
    /// Time from its execution until it reported that it is ready.
    pub started_in: Duration,
    folder: PathBuf,
}

impl Orchestrator {
    /// Starts an orchestrator with its files in `folder`, which may already contain some, and waits until it
    /// serves. `settings` is the rest of its configuration.
    ///
    /// # Errors
    /// It does not start; the error contains its log.
    pub fn start(folder: &Path, settings: &str) -> Result<Self> {
        Self::start_as(folder, settings, |_| {})
    }

    /// Like [`Orchestrator::start`], with a changed command.
    ///
    /// # Errors
    /// It does not start; the error contains its log.
    pub fn start_as(folder: &Path, settings: &str, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let state = folder.join("state");
        let token = state.join("admin.token");
        if !token.exists() {
            write_private(&token, "admin-of-the-benchmark")?;
        }
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.join("orchestrator.toml");
        let text = format!("listen = \"{address}\"\nstate_dir = \"{}\"\n{settings}", state.display());
        fs::write(&config, text)?;
        let mut command = Command::new(program("swarm-orchestrator")?);
        change(&mut command);
        let began = Instant::now();
        let mut process = Process::start(command.arg("--config").arg(&config), &folder.join("log"))?;
        // Not `/readyz`: an artificial journal names files that do not exist, so publishing fails.
        let ready = format!("ready address={address}");
        while !process.output().contains(&ready) {
            if let Some(status) = process.ended()? {
                bail!("the orchestrator ended with {status}:\n{}", process.output());
            }
            ensure!(began.elapsed() < SOON, "the orchestrator does not start:\n{}", process.output());
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let started_in = began.elapsed();
        let url = parse_address(&format!("http://{address}")).map_err(anyhow::Error::msg)?;
        let admin = Client::new(&[url], Some(read_secret(&token)?))?;
        Ok(Self { process, address, admin, started_in, folder: folder.to_owned() })
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The folder with its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops it with SIGTERM.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let ended = self.process.end(SOON)?;
        ensure!(ended.success(), "the orchestrator ended with {ended}:\n{}", self.process.output());
        Ok(())
    }

    /// Enrols and approves this many drones, each with its own credential, and creates a profile.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn crew(&self, count: usize) -> Result<Vec<FakeDrone>> {
        let nobody = self.admin.without_credential();
        let mut drones = Vec::with_capacity(count);
        for n in 0..count {
            let request = EnrolTokenRequest { valid_ms: 600_000, approved: true };
            let token = self.admin.make_enrol_token(&request, &IdempotencyKey::random()?).await?.token;
            drones.push(FakeDrone::enrol(&nobody, &token, &format!("drone-{n}")).await?);
        }
        let (digest, archive) = snapshot(&self.folder.join("snapshot.tar.zst"))?;
        self.admin.put_snapshot(digest, &archive).await?;
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: digest,
            source: "benchmark".into(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        self.admin.put_profile(&name(PROFILE), &request, &IdempotencyKey::random()?).await?;
        Ok(drones)
    }

    /// Starts a run, for which `drone` reports the plan.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn planned(&self, drone: &FakeDrone, plan: PlanReport) -> Result<()> {
        let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Nightly };
        self.admin.start_run(&request, &IdempotencyKey::random()?).await?;
        drone.bring_plan(plan).await?;
        Ok(())
    }
}

/// Packages without dependencies. Runs with another `series` have different packages.
#[must_use]
pub fn independent(series: usize, count: usize) -> PlanReport {
    let packages: Vec<_> = (0..count).map(|n| pebble_at(&format!("{series}.{n}"), "0")).collect();
    let mut plan = plan_of(&packages);
    plan.edges.clear();
    plan
}

/// The address at which a server reports that it is ready, read from its log.
///
/// # Errors
/// It ends instead.
pub fn announced(process: &mut Process) -> Result<SocketAddr> {
    let found = wait::until("the server is ready", SOON, || {
        ensure!(process.ended()?.is_none(), "the server ended");
        let output = process.output();
        let at = output.split("ready address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        Ok(at.map(str::to_owned))
    });
    let address = found.with_context(|| process.output())?;
    address.parse().with_context(|| format!("the server is ready at `{address}`"))
}

/// A value in `/proc/ID/FILE`, such as `VmHWM:`, in MB.
///
/// # Errors
/// The process has ended.
pub fn memory_mb(id: u32, file: &str, figure: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(figure));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no such figure")?;
    Ok(kib.parse::<f64>()? * 1024.0 / 1e6)
}
