//! A swarm on this machine: an orchestrator and drones as real processes, and the admin's `swarmctl`, which
//! is logged in.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use swarm_common::state::DroneState;
use swarm_daemon::config::secret::write_private;
use tempfile::TempDir;

use super::{
    nginx::Nginx,
    process::Process,
    programs::{part, portage, program},
    wait,
    workstation::copy,
};

/// The profile that every such swarm has.
pub const PROFILE: &str = "desktop";

/// Upper limit for waiting for anything that does not require a build.
const SOON: Duration = Duration::from_secs(60);

/// A running swarm. Dropping it kills its processes and removes its files.
#[derive(Debug)]
pub struct Swarm {
    // Dropped in this order: the processes before their files.
    drones: BTreeMap<String, Process>,
    orchestrator: Option<Process>,
    /// Ports for plain HTTP, which workstations use, and for HTTPS, which all others use.
    ports: (u16, u16),
    folder: TempDir,
}

impl Swarm {
    /// Starts an orchestrator with the example repository as its profile, and `drones`. If `world` is not
    /// empty, it replaces the example's world set.
    ///
    /// # Errors
    /// A part of the swarm does not start; the error contains its log.
    pub fn start(drones: &[&str], world: &[&str]) -> Result<Self> {
        let mut swarm = Self::bare()?;
        copy(&part("examples/repository"), &swarm.repository())?;
        copy(&part("examples/desktop"), &swarm.bundle())?;
        if !world.is_empty() {
            swarm.set_world(world)?;
        }
        swarm.profile_verb("add", &[])?;
        for name in drones {
            swarm.enrol(name, "")?;
        }
        Ok(swarm)
    }

    /// Starts an orchestrator without profiles and drones.
    ///
    /// # Errors
    /// It does not start; the error contains its log.
    pub fn bare() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // The orchestrator must use the same ports again after it was killed.
        let (plain, tls) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let ports = (plain.local_addr()?.port(), tls.local_addr()?.port());
        drop((plain, tls));
        let mut swarm = Self { drones: BTreeMap::new(), orchestrator: None, ports, folder };
        swarm.start_orchestrator()?;
        let state = shown(&swarm.path("orchestrator"));
        swarm.ctl(&["init", "--state-dir", &state, "--address", &swarm.https()])?;
        Ok(swarm)
    }

    /// The package repository that [`Swarm::pin_anew`] pins.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// The bundle of the profile, which [`Swarm::pin_anew`] pins.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.path("bundle")
    }

    /// Replaces the world set. [`Swarm::pin_anew`] includes it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_world(&self, world: &[impl AsRef<str>]) -> Result<()> {
        let lines = world.iter().map(|atom| format!("{}\n", atom.as_ref()));
        Ok(fs::write(self.bundle().join("world"), lines.collect::<String>())?)
    }

    /// The path of a file or folder in the swarm's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    fn https(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.1)
    }

    /// Pins the profile to the current state of the repository.
    ///
    /// # Errors
    /// swarmctl fails.
    pub fn pin_anew(&self) -> Result<()> {
        self.profile_verb("update", &[])
    }

    /// Makes the profile build in a base.
    ///
    /// # Errors
    /// swarmctl fails.
    pub fn pin_to(&self, base: &str) -> Result<()> {
        self.profile_verb("update", &["--base", base])
    }

    /// Makes the profile publish the results of its runs in a channel.
    ///
    /// # Errors
    /// swarmctl fails.
    pub fn publish_to(&self, channel: &str) -> Result<()> {
        self.profile_verb("update", &["--publish", channel])
    }

    fn profile_verb(&self, verb: &str, more: &[&str]) -> Result<()> {
        let (bundle, repository) = (shown(&self.bundle()), shown(&self.repository()));
        let own = ["profile", verb, PROFILE, "--from", &bundle, "--repository", &repository];
        self.ctl(&[&own[..], more].concat())?;
        Ok(())
    }

    /// Starts the orchestrator, for the first time or again.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_orchestrator(&mut self) -> Result<()> {
        let config = self.path("orchestrator.toml");
        fs::write(
            &config,
            format!(
                // With short time limits, so that tests need not wait until silence is noticed.
                "state_dir = \"{}\"\nlisten = \"127.0.0.1:{}\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
                 [tls]\nlisten = \"127.0.0.1:{}\"\n\
                 [policy]\nlease = \"10s\"\noffline_after = \"10s\"\nstartup_grace = \"10s\"\n",
                self.path("orchestrator").display(),
                self.ports.0,
                self.ports.1
            ),
        )?;
        let mut command = Command::new(program("swarm-orchestrator")?);
        command.arg("--config").arg(config);
        let mut process = Process::start(&mut command, &self.path("orchestrator.log"))?;
        let ready = format!("{}/readyz", self.url());
        wait::until("the orchestrator is ready", SOON, || {
            ensure!(process.ended()?.is_none(), "the orchestrator ended:\n{}", process.output());
            let mut wget = Command::new("wget");
            let answer = wget.args(["-q", "-O", "/dev/null", "--tries=1", "--timeout=5", &ready]).status()?;
            Ok(answer.success().then_some(()))
        })
        .with_context(|| process.output())?;
        self.orchestrator = Some(process);
        Ok(())
    }

    /// Kills the orchestrator as a power failure would.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill_orchestrator(&mut self) -> Result<()> {
        self.orchestrator.take().context("no orchestrator runs")?.kill()
    }

    /// Enrols a drone with additional `settings`, and waits until it is online.
    ///
    /// # Errors
    /// It does not come online.
    pub fn enrol(&mut self, name: &str, settings: &str) -> Result<()> {
        self.configure(name, settings)?;
        self.start_drone(name)
    }

    /// Enrols a drone with this many slots, and waits until it is online.
    ///
    /// # Errors
    /// It does not come online.
    pub fn enrol_with_slots(&mut self, name: &str, slots: u32) -> Result<()> {
        self.configure(name, "")?;
        // The last table in the file is `[builder]`.
        let config = self.path(&format!("{name}.toml"));
        let usual = fs::read_to_string(&config)?;
        fs::write(&config, format!("{usual}slots = {slots}\n"))?;
        self.start_drone(name)
    }

    /// Writes the token and the configuration of a drone.
    pub(super) fn configure(&self, name: &str, settings: &str) -> Result<()> {
        let token = self.ctl(&["drone", "token", "--approved"])?;
        write_private(&self.path(&format!("{name}.token")), token.trim())?;
        let config = self.path(&format!("{name}.toml"));
        Ok(fs::write(&config, format!("{settings}\n{}", self.drone_settings(name)?))?)
    }

    /// Enrols a drone that reaches the orchestrator through an nginx configured as in the handbook, and waits
    /// until it is online.
    ///
    /// # Errors
    /// nginx does not start, or the drone does not come online.
    pub fn enrol_through_nginx(&mut self, name: &str) -> Result<Nginx> {
        let plain = ([127, 0, 0, 1], self.ports.0).into();
        let nginx = Nginx::of_the_handbook(&self.path("orchestrator"), plain, Ok)?;
        self.configure(name, "")?;
        let config = self.path(&format!("{name}.toml"));
        let (direct, through) = (self.https(), format!("https://{}/swarm/", nginx.address));
        fs::write(&config, fs::read_to_string(&config)?.replace(&direct, &through))?;
        self.start_drone(name)?;
        Ok(nginx)
    }

    /// Starts a drone that was enrolled before, and waits until it is online.
    ///
    /// # Errors
    /// It does not come online.
    pub fn start_drone(&mut self, name: &str) -> Result<()> {
        let mut command = Command::new(program("swarm-drone")?);
        command.arg("--config").arg(self.path(&format!("{name}.toml")));
        self.launch(name, command)
    }

    /// Starts a drone with this command, and waits until it is online.
    pub(super) fn launch(&mut self, name: &str, mut command: Command) -> Result<()> {
        let process = Process::start(&mut command, &self.path(&format!("{name}.log")))?;
        self.drones.insert(name.to_owned(), process);
        wait::until("the drone is online", SOON, || {
            let mut drones = self.status()?.drones.into_iter();
            Ok(drones.any(|d| d.name.as_str() == name && d.state == DroneState::Online).then_some(()))
        })
        .with_context(|| self.drones[name].output())
    }

    fn drone_settings(&self, name: &str) -> Result<String> {
        let folder = self.path(name);
        let fingerprint = fs::read_to_string(self.path("orchestrator/tls.fingerprint"))?;
        // `scripts/all-nix` runs tests where only Nix is available.
        let portage = match std::env::var_os("SWARM_WITHOUT_PORTAGE") {
            Some(_) => String::new(),
            None => format!("portage_prefix = \"{}\"\n", portage()?.display()),
        };
        Ok(format!(
            "name = \"{name}\"\norchestrators = [\"{url}\"]\nfingerprint = \"{pin}\"\ntoken_file = \"{folder}.token\"\n\
             state_dir = \"{folder}/state\"\ncache_dir = \"{folder}/snapshots\"\nheartbeat = \"2s\"\n\
             [builder]\nwork_dir = \"{folder}/roots\"\ncache_dir = \"{folder}/cache\"\n{portage}",
            url = self.https(),
            pin = fingerprint.trim(),
            folder = folder.display(),
        ))
    }

    /// The process of a drone.
    ///
    /// # Errors
    /// There is no such drone.
    pub fn drone(&mut self, name: &str) -> Result<&mut Process> {
        self.drones.get_mut(name).context("no such drone")
    }

    /// Kills a drone and its builds, as a power failure would.
    ///
    /// # Errors
    /// There is no such drone.
    pub fn kill_drone(&mut self, name: &str) -> Result<()> {
        self.drones.remove(name).context("no such drone")?.kill()
    }

    /// Asks a drone to stop, and waits for its end. Returns whether it ended with success.
    ///
    /// # Errors
    /// There is no such drone, or it does not stop within `limit`.
    pub fn stop_drone(&mut self, name: &str, limit: Duration) -> Result<bool> {
        let mut drone = self.drones.remove(name).context("no such drone")?;
        drone.signal(Signal::TERM)?;
        Ok(drone.end(limit)?.success())
    }

    /// `swarmctl`, logged in.
    ///
    /// # Errors
    /// It does not compile.
    pub fn swarmctl(&self) -> Result<Command> {
        let mut command = Command::new(program("swarmctl")?);
        command.env("SWARMCTL_CONFIG", self.path("swarmctl.toml")).stdin(Stdio::null());
        Ok(command)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
