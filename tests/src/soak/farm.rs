//! The swarm for the soak: an orchestrator on its own small disk, Redis if wanted, and drones at the ends of
//! virtual cables.
//!
//! The caller has put this process into its own network and mount namespaces (`scripts/soak`), so nothing of
//! the machine is changed.

use super::{
    clock::Clock,
    damaged::{Damage, KnownDamage},
    liar::{self, LOG_BYTES},
    node::{self, BRIDGE, CENTRE, Node, must},
    proxy::Proxy,
    worker::Ground,
};
use crate::{
    e2e::{
        process::Process,
        programs::{part, program},
        wait,
        workstation::copy,
    },
    faults::redis::Redis,
};
use anyhow::{Context, Result, ensure};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::Duration,
};
use swarm_common::{
    state::{DroneState, RunState},
    wire::view::{RunView, StatusView},
};
use swarm_daemon::config::secret::write_private;
use tempfile::TempDir;

const PORT: u16 = 8100;

/// Upper limit for a start or a requested end, enough for a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// Size of the orchestrator's disk.
const DISK_MIB: u64 = 192;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalKind {
    /// In the embedded database.
    Sqlite,
    /// In a Redis that syncs every write (`appendfsync always`).
    Redis,
}

#[derive(Debug)]
pub struct Farm {
    pub nodes: Vec<Node>,
    /// The Redis, if the journal is stored there.
    pub redis: Option<Redis>,
    /// The current damage, if any.
    pub(super) damage: Option<Damage>,
    /// The files that clients may find damaged.
    pub(super) damaged: KnownDamage,
    pub(super) backup: Option<PathBuf>,
    /// Violations found while faults were injected.
    pub(super) breaches: Vec<String>,
    pub(super) clock: Clock,
    pub(super) proxy: Proxy,
    // Dropped before its files.
    orchestrator: Option<Process>,
    ground: Ground,
    disk: PathBuf,
    _folder: TempDir,
}

impl Farm {
    /// Creates the cables and starts everything.
    ///
    /// # Errors
    /// A part does not start; the error contains its log.
    pub fn start(drones: usize, journal: JournalKind) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Portage drops its privileges for parts of its work, and must still be able to enter.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let at = |name: &str| folder.path().join(name);
        for command in [
            "ip link set lo up".to_owned(),
            format!("ip link add {BRIDGE} type bridge"),
            format!("ip addr add {CENTRE}/24 dev {BRIDGE}"),
            format!("ip link set {BRIDGE} up"),
        ] {
            must(&command)?;
        }
        let disk = at("orchestrator");
        fs::create_dir(&disk)?;
        must(&format!("mount -t tmpfs -o size={DISK_MIB}m soak {}", disk.display()))?;
        let ground = Ground {
            login: at("swarmctl.toml"),
            bundle: at("bundle"),
            repository: at("repository"),
            url: format!("http://{CENTRE}:{PORT}"),
        };
        copy(&part("examples/repository"), &ground.repository)?;
        copy(&part("examples/desktop"), &ground.bundle)?;
        let redis = match journal {
            JournalKind::Sqlite => None,
            JournalKind::Redis => Some(Redis::start()?),
        };
        let clock = Clock::new(folder.path())?;
        let proxy = Proxy::start(&at("proxy"), PORT)?;
        let mut farm = Self {
            nodes: Vec::new(),
            redis,
            damage: None,
            damaged: KnownDamage::default(),
            backup: None,
            breaches: Vec::new(),
            clock,
            proxy,
            orchestrator: None,
            ground,
            disk,
            _folder: folder,
        };
        farm.configure()?;
        farm.start_orchestrator()?;
        let state = farm.disk.display().to_string();
        farm.ground.ctl(&["init", "--state-dir", &state, "--address", &farm.ground.url])?;
        farm.ground.pin("add")?;
        let portage = Command::new(part("scripts/portage")).stdin(Stdio::null()).output()?;
        ensure!(portage.status.success(), "{}", String::from_utf8_lossy(&portage.stderr));
        let portage = String::from_utf8(portage.stdout)?;
        for number in 0..drones {
            farm.add_node(number, portage.trim())?;
        }
        wait::until("every drone is online", SOON, || {
            let drones = farm.status()?.drones;
            Ok(drones.iter().all(|d| d.state == DroneState::Online).then_some(()))
        })?;
        Ok(farm)
    }

    fn configure(&self) -> Result<()> {
        let journal = match &self.redis {
            None => String::new(),
            Some(redis) => {
                format!("[journal]\nkind = \"redis\"\nurl = \"{}\"\nswarm = \"soak\"\n", redis.url())
            }
        };
        // With short time limits, so that a soak of some minutes shows the consequences of silence.
        let text = format!(
            "state_dir = \"{}\"\nlisten = \"{CENTRE}:{PORT}\"\nplain_api = true\n\
             trusted_proxies = [\"{CENTRE}\"]\nfirst_cleaning = \"5s\"\n{journal}\
             [policy]\nlease = \"15s\"\noffline_after = \"15s\"\nstartup_grace = \"15s\"\n\
             ground = \"10s\"\nlog_size = \"{LOG_BYTES}B\"\n",
            self.disk.display()
        );
        fs::write(self.file("orchestrator.toml"), text)?;
        Ok(())
    }

    fn add_node(&mut self, number: usize, portage: &str) -> Result<()> {
        let folder = self.folder().to_owned();
        let mut node = Node::new(number, &folder)?;
        let token = self.ground.ctl(&["drone", "token", "--approved"])?;
        let name = node.name.clone();
        write_private(&folder.join(format!("{name}.token")), token.trim())?;
        let own = folder.join(&name);
        let text = format!(
            "name = \"{name}\"\norchestrators = [\"{url}\"]\ntoken_file = \"{own}.token\"\n\
             state_dir = \"{own}/state\"\ncache_dir = \"{own}/snapshots\"\nheartbeat = \"2s\"\ndrain_timeout = \"20s\"\n\
             [builder]\nwork_dir = \"{own}/roots\"\ncache_dir = \"{own}/cache\"\nportage_prefix = \"{portage}\"\n",
            url = if number.is_multiple_of(2) { self.address() } else { Proxy::url() },
            own = own.display(),
        );
        fs::write(node.config(), text)?;
        node.start()?;
        self.nodes.push(node);
        Ok(())
    }

    /// Enrols the lying drone, whose machine has the same facts as the first drone's.
    pub(super) fn start_liar(
        &self,
        seed: u64,
        over: Arc<AtomicBool>,
    ) -> Result<JoinHandle<liar::LieResults>> {
        let facts = self.status()?.drones.into_iter().next().context("no drone")?.facts;
        let token = self.ground.ctl(&["drone", "token", "--approved"])?;
        liar::start(&self.address(), token.trim(), facts, seed, over)
    }

    fn folder(&self) -> &Path {
        self.disk.parent().unwrap_or(&self.disk)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.disk.clone()
    }

    /// The address from which clients read.
    #[must_use]
    pub fn address(&self) -> String {
        self.ground.url.clone()
    }

    /// What the admin needs to work with this swarm.
    #[must_use]
    pub fn ground(&self) -> Ground {
        self.ground.clone()
    }

    /// `swarmctl status`.
    ///
    /// # Errors
    /// The orchestrator does not answer.
    pub fn status(&self) -> Result<StatusView> {
        self.ground.ask(&["status"])
    }

    /// All running processes with their names.
    #[must_use]
    pub fn processes(&self) -> Vec<(String, u32)> {
        let drones = self.nodes.iter().filter_map(|n| Some((n.name.clone(), n.process.as_ref()?.id())));
        let centre = self.orchestrator.iter().map(|p| ("orchestrator".to_owned(), p.id()));
        centre.chain(drones).collect()
    }

    /// Checks that no process has ended unexpectedly.
    ///
    /// # Errors
    /// One has; the error contains its log.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(process) = &mut self.orchestrator
            && let Some(status) = process.ended()?
        {
            // A supervisor would restart it. A broken journal must not be tolerated, though.
            ensure!(status.code() == Some(75), "the orchestrator ended ({status}):\n{}", process.output());
            self.orchestrator = None;
            self.start_orchestrator()?;
        }
        for node in &mut self.nodes {
            let Some(process) = &mut node.process else { continue };
            if let Some(status) = process.ended()? {
                ensure!(status.success(), "{} ended ({status}):\n{}", node.name, process.output());
            }
        }
        Ok(())
    }

    /// Starts the orchestrator.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_orchestrator(&mut self) -> Result<()> {
        let mut command = Command::new(program("swarm-orchestrator")?);
        command.arg("--config").arg(self.file("orchestrator.toml"));
        self.clock.give_to(&mut command);
        let mut process = Process::start(&mut command, &self.file("orchestrator.log"))?;
        let ready = format!("{}/healthz", self.ground.url);
        wait::until("the orchestrator answers", SOON, || {
            ensure!(process.ended()?.is_none(), "the orchestrator ended:\n{}", process.output());
            let mut wget = Command::new("wget");
            let answer = wget.args(["-q", "-O", "/dev/null", "--tries=1", "--timeout=5", &ready]).status()?;
            Ok(answer.success().then_some(()))
        })?;
        self.orchestrator = Some(process);
        Ok(())
    }

    /// Kills it as a power failure would.
    pub(super) fn kill_orchestrator(&mut self) -> Result<()> {
        self.orchestrator.take().context("no orchestrator runs")?.kill()
    }

    /// Stops it as a supervisor does.
    pub(super) fn stop_orchestrator(&mut self) -> Result<()> {
        let mut process = self.orchestrator.take().context("no orchestrator runs")?;
        process.signal(Signal::TERM)?;
        let status = process.end(SOON)?;
        ensure!(status.success(), "the orchestrator ended with {status}:\n{}", process.output());
        Ok(())
    }

    pub(super) fn signal_orchestrator(&self, signal: Signal) -> Result<()> {
        self.orchestrator.as_ref().context("no orchestrator runs")?.signal(signal)
    }

    /// Suspends all machines at the same time.
    pub(super) fn suspend(&self, length: Duration) -> Result<()> {
        let all = self.processes();
        let tell = |signal| {
            all.iter().try_for_each(|(_, id)| match kill_process(pid(*id)?, signal) {
                // It was asked to stop before.
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(error) => Err(anyhow::Error::from(error)),
            })
        };
        tell(Signal::STOP)?;
        std::thread::sleep(length);
        tell(Signal::CONT)
    }

    pub(super) fn kill_drone(&mut self, n: usize) -> Result<()> {
        self.nodes[n].process.take().context("the drone does not run")?.kill()
    }

    pub(super) fn signal_drone(&self, n: usize, signal: Signal) -> Result<()> {
        self.nodes[n].process.as_ref().context("the drone does not run")?.signal(signal)
    }

    /// Restarts a drone that was killed or asked to stop.
    pub(super) fn restart_drone(&mut self, n: usize) -> Result<()> {
        if let Some(mut process) = self.nodes[n].process.take() {
            let status = process.end(SOON)?;
            ensure!(status.success(), "{} ended with {status}", self.nodes[n].name);
        }
        self.nodes[n].start()
    }

    pub(super) fn with_redis(&mut self, act: impl FnOnce(&mut Redis) -> io::Result<()>) -> Result<()> {
        Ok(act(self.redis.as_mut().context("there is no Redis")?)?)
    }

    pub(super) fn signal_redis(&self, signal: Signal) -> Result<()> {
        let id = self.redis.as_ref().and_then(Redis::id).context("no Redis runs")?;
        Ok(kill_process(pid(id)?, signal)?)
    }

    /// Fills the orchestrator's disk completely.
    pub(super) fn fill_disk(&self) -> Result<()> {
        let mut filler = File::create(self.disk.join("filler"))?;
        let block = [0_u8; 1 << 16];
        loop {
            match io::Write::write_all(&mut filler, &block) {
                Ok(()) => {}
                Err(full) if full.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn free_disk(&self) -> Result<()> {
        Ok(fs::remove_file(self.disk.join("filler"))?)
    }

    /// Waits until every run has ended, and returns those that were not cancelled.
    ///
    /// # Errors
    /// A run has not ended after `limit`; the error contains the status.
    pub fn rest(&self, limit: Duration) -> Result<Vec<RunView>> {
        wait::until("every run has ended", limit, || {
            // While it recovers, it may refuse requests for a moment.
            let Ok(runs) = self.ground.ask::<Vec<RunView>>(&["run", "list"]) else { return Ok(None) };
            Ok(runs.iter().all(|run| run.state.is_over()).then_some(runs))
        })
        .with_context(|| self.ground.ctl_whatever(&["status"]))
        .map(|runs| runs.into_iter().filter(|r| r.state != RunState::Cancelled).collect())
    }
}

fn pid(id: u32) -> Result<Pid> {
    Pid::from_raw(i32::try_from(id)?).context("no process")
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.orchestrator = None;
        self.nodes.clear();
        if let Err(error) = node::must(&format!("umount -l {}", self.disk.display())) {
            eprintln!("{error:#}");
        }
    }
}
