//! A swarm run by a machine's init: the orchestrator and a drone as services, and the admin.

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use std::time::Duration;
use swarm_common::{
    state::{DroneState, Phase},
    wire::view::{RunView, StatusView},
};

use super::machine::{Init, Machine};
use crate::e2e::{programs::portage, wait, workstation::text};

pub const ORCHESTRATOR: &str = "swarm-orchestrator";
pub const DRONE: &str = "swarm-drone";

/// Upper limit for waiting for anything that does not require a build.
pub const SOON: Duration = Duration::from_secs(60);

/// Upper limit for building a small package.
pub const BUILT: Duration = Duration::from_secs(240);

pub const ORCHESTRATOR_CONFIG: &str = "/etc/build-swarm/orchestrator.toml";

/// The orchestrator's settings. Short time limits, so that silence is noticed soon.
pub const SETTINGS: &str = "listen = \"127.0.0.1:8100\"\n[policy]\nstartup_grace = \"5s\"\nlease = \"20s\"\n";

#[derive(Debug)]
pub struct Services {
    pub machine: Machine,
}

impl Services {
    /// Starts a machine with a configured and running orchestrator, to which the admin is logged in.
    ///
    /// # Errors
    /// Something does not start; the error says why.
    pub fn start(init: Init) -> Result<Self> {
        let services = Self { machine: Machine::boot(init)? };
        services.machine.write(ORCHESTRATOR_CONFIG, SETTINGS)?;
        services.tell("start", ORCHESTRATOR)?;
        services.wait_for_address()?;
        services.machine.must(&["swarmctl", "init"])?;
        Ok(services)
    }

    /// Runs `start`, `stop`, `restart`, `reload` or another command for a service.
    ///
    /// # Errors
    /// It fails; the error contains the service's log.
    pub fn tell(&self, verb: &str, service: &str) -> Result<()> {
        let done = match self.machine.init {
            Init::Systemd => self.machine.run(&["systemctl", verb, service])?,
            Init::OpenRc => self.machine.run(&["rc-service", service, verb])?,
        };
        ensure!(
            done.status.success(),
            "{verb} {service}: {}\n{}\n{}",
            done.status,
            text(&done),
            self.log(service)
        );
        Ok(())
    }

    /// Reloads the orchestrator with a changed setting, which must be applied, and then with a mistake, which
    /// must be refused with a suggestion. The mistake stays in the file.
    ///
    /// # Errors
    /// The orchestrator behaves differently.
    pub fn reload_well_and_badly(&self) -> Result<()> {
        self.machine.write(ORCHESTRATOR_CONFIG, &format!("{SETTINGS}keep_runs = 3\n"))?;
        self.tell("reload", ORCHESTRATOR)?;
        self.says(ORCHESTRATOR, "policy.keep_runs")?;
        self.machine.write(ORCHESTRATOR_CONFIG, "lisen = 5\n")?;
        let refused =
            self.tell("reload", ORCHESTRATOR).err().context("a mistake was taken over")?.to_string();
        ensure!(refused.contains("did you mean `listen`?"), "{refused}");
        Ok(())
    }

    /// Waits until the orchestrator answers. With systemd, a service that has started answers at once.
    fn wait_for_address(&self) -> Result<()> {
        let answers = || {
            let ask =
                ["wget", "-q", "-O", "/dev/null", "--tries=1", "--timeout=5", "http://127.0.0.1:8100/readyz"];
            Ok(self.machine.run(&ask)?.status.success().then_some(()))
        };
        wait::until("the orchestrator answers", SOON, answers).with_context(|| self.log(ORCHESTRATOR))
    }

    #[must_use]
    pub fn log(&self, service: &str) -> String {
        match self.machine.init {
            Init::Systemd => {
                let read = self.machine.run(&["journalctl", "--no-pager", "--output=cat", "-u", service]);
                read.map(|read| text(&read)).unwrap_or_default()
            }
            Init::OpenRc => {
                let dir =
                    if service == ORCHESTRATOR { "/var/log/build-swarm" } else { "/var/log/swarm-drone" };
                let read = |file: &str| self.machine.read(&format!("{dir}/{file}"));
                read("start.log") + &read(&format!("{service}.log"))
            }
        }
    }

    /// Waits until a service's log contains a text.
    ///
    /// # Errors
    /// It does not; the error contains the log.
    pub fn says(&self, service: &str, words: &str) -> Result<()> {
        let look = || Ok(self.log(service).contains(words).then_some(()));
        wait::until(&format!("{service} says {words:?}"), SOON, look).with_context(|| self.log(service))
    }

    /// The only process of a service.
    ///
    /// # Errors
    /// There is none in time.
    pub fn process(&self, service: &str) -> Result<u32> {
        self.other_process(service, 0)
    }

    /// Waits until a service has one process, which is not `old`.
    ///
    /// # Errors
    /// There is none in time; the error contains the log.
    pub fn other_process(&self, service: &str, old: u32) -> Result<u32> {
        let look = || match self.machine.processes(service)?[..] {
            [pid] if pid != old => Ok(Some(pid)),
            _ => Ok(None),
        };
        wait::until(&format!("{service} runs anew"), SOON, look).with_context(|| self.log(service))
    }

    /// Enrols the drone and starts it. `settings` are added to its configuration.
    ///
    /// # Errors
    /// It does not come online.
    pub fn start_drone(&self, settings: &str) -> Result<()> {
        let token = self.machine.must(&["swarmctl", "drone", "token", "--approved"])?;
        self.machine.write("/etc/build-swarm/token", &token)?;
        self.machine.must(&["chmod", "600", "/etc/build-swarm/token"])?;
        let config = format!(
            "name = \"oak\"\norchestrators = [\"http://127.0.0.1:8100\"]\ntoken_file = \"/etc/build-swarm/token\"\n\
             heartbeat = \"2s\"\n{settings}\n[builder]\nwork_dir = \"/var/tmp/swarm-drone\"\nportage_prefix = \"{}\"\n",
            portage()?.display()
        );
        self.machine.write("/etc/build-swarm/drone.toml", &config)?;
        self.tell("start", DRONE)?;
        let online = || Ok(self.status()?.drones.iter().any(|d| d.state == DroneState::Online).then_some(()));
        wait::until("the drone is online", SOON, online).with_context(|| self.log(DRONE))
    }

    /// Starts a run of a small package whose build takes `seconds`, and waits until the build has started.
    ///
    /// # Errors
    /// It does not start.
    pub fn build_something(&self, seconds: u32) -> Result<()> {
        let ebuild = format!(
            "EAPI=8\nDESCRIPTION=\"Takes its time\"\nSLOT=0\nLICENSE=MIT\nKEYWORDS=amd64\nS=${{WORKDIR}}\n\
             src_compile() {{ sleep {seconds}; echo done > slow; }}\n\
             src_install() {{ insinto /usr/share; doins slow; }}\n"
        );
        self.machine.write("/root/repository/app-misc/slow/slow-1.0.ebuild", &ebuild)?;
        let script = "set -e; cp -r /srv/build-swarm/examples/repository /srv/build-swarm/examples/desktop /root; \
                      echo app-misc/slow > /root/desktop/world; \
                      swarmctl profile add desktop --from /root/desktop --repository /root/repository; \
                      swarmctl run start desktop";
        self.machine.must(&["sh", "-c", script])?;
        let building = || {
            let working = self.status()?.drones.into_iter().flat_map(|d| d.working_on);
            let mut packages =
                working.filter(|work| work.title.contains('/') && work.phase == Phase::Building);
            Ok(packages.next().map(|_| ()))
        };
        wait::until("the package is built", BUILT, building)
            .with_context(|| format!("{}\n{}", self.log(DRONE), self.log(ORCHESTRATOR)))
    }

    /// The output of `swarmctl --json …`.
    ///
    /// # Errors
    /// The output cannot be parsed.
    pub fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let done = self.machine.run(&[&["swarmctl", "--json"], arguments].concat())?;
        serde_json::from_slice(&done.stdout).with_context(|| format!("{arguments:?}: {}", text(&done)))
    }

    /// `swarmctl status`.
    ///
    /// # Errors
    /// The orchestrator does not answer.
    pub fn status(&self) -> Result<StatusView> {
        self.ask(&["status"])
    }

    /// Waits for the end of the first run.
    ///
    /// # Errors
    /// It does not end; the error contains both logs.
    pub fn run_ends(&self) -> Result<RunView> {
        let look = || {
            // The orchestrator may be unreachable for a moment.
            let view = self.ask::<RunView>(&["run", "show", "r1"]).ok();
            Ok(view.filter(|view| view.state.is_over()))
        };
        wait::until("the run ends", BUILT, look)
            .with_context(|| format!("{}\n{}", self.log(DRONE), self.log(ORCHESTRATOR)))
    }
}
