//! A swarm on this machine: one orchestrator and some drones as real processes, and the
//! admin's `swarmctl` logged in to it.

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

/// A wait for something that takes no building.
const SOON: Duration = Duration::from_secs(60);

/// A running swarm. Dropping it kills its processes and removes its files.
#[derive(Debug)]
pub struct Swarm {
    // Dropped in this order: the processes before their files.
    drones: BTreeMap<String, Process>,
    orchestrator: Option<Process>,
    /// For plain HTTP, which workstations use, and for HTTPS, which all others do.
    ports: (u16, u16),
    folder: TempDir,
}

impl Swarm {
    /// Starts an orchestrator with the example repository as its profile, and `drones`.
    /// `world` replaces the example's world set if it is not empty.
    ///
    /// # Errors
    /// Some part of it does not start; the error has its log.
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
    /// It does not start; the error has its log.
    pub fn bare() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // The orchestrator must come back on the same port after it was killed.
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

    /// Replaces the world set; [`Swarm::pin_anew`] takes it along.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_world(&self, world: &[impl AsRef<str>]) -> Result<()> {
        let lines = world.iter().map(|atom| format!("{}\n", atom.as_ref()));
        Ok(fs::write(self.bundle().join("world"), lines.collect::<String>())?)
    }

    /// A file or folder beside those of the orchestrator and the drones.
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

    /// Pins the profile to the repository as it is now.
    ///
    /// # Errors
    /// swarmctl refuses.
    pub fn pin_anew(&self) -> Result<()> {
        self.profile_verb("update", &[])
    }

    /// Makes the profile build in a base.
    ///
    /// # Errors
    /// swarmctl refuses.
    pub fn pin_to(&self, base: &str) -> Result<()> {
        self.profile_verb("update", &["--base", base])
    }

    /// Makes the profile publish what its runs build in a channel.
    ///
    /// # Errors
    /// swarmctl refuses.
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
                // Silence is noticed soon, so that a test need not wait for it.
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

    /// Kills the orchestrator as a power cut would.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill_orchestrator(&mut self) -> Result<()> {
        self.orchestrator.take().context("no orchestrator runs")?.kill()
    }

    /// Enrols a drone, with `settings` beside its usual ones, and waits until it is online.
    ///
    /// # Errors
    /// It does not come.
    pub fn enrol(&mut self, name: &str, settings: &str) -> Result<()> {
        self.configure(name, settings)?;
        self.start_drone(name)
    }

    /// Enrols a drone that does so many builds at a time, and waits until it is online.
    ///
    /// # Errors
    /// It does not come.
    pub fn enrol_with_slots(&mut self, name: &str, slots: u32) -> Result<()> {
        self.configure(name, "")?;
        // The last table is that of the builder.
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

    /// Enrols a drone that reaches the orchestrator through nginx, set up as the handbook says, and waits
    /// until it is online.
    ///
    /// # Errors
    /// nginx does not start, or the drone does not come.
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
    /// It does not come.
    pub fn start_drone(&mut self, name: &str) -> Result<()> {
        let mut command = Command::new(program("swarm-drone")?);
        command.arg("--config").arg(self.path(&format!("{name}.toml")));
        self.launch(name, command)
    }

    /// Starts a drone by this command, and waits until it is online.
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
        // Where scripts/all-nix runs the tests, there is only Nix.
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

    /// Kills a drone and everything it builds with, as a power cut would.
    ///
    /// # Errors
    /// There is no such drone.
    pub fn kill_drone(&mut self, name: &str) -> Result<()> {
        self.drones.remove(name).context("no such drone")?.kill()
    }

    /// Asks a drone to stop, and waits until it has.
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
