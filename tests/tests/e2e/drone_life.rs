//! The life of a drone with real processes and the real Portage: stopped once and twice, stopped with little
//! patience, killed, without its orchestrator, told to drop its work, and removed. All of this happens in one
//! swarm, whose packages compile until the test lets them continue.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt as _;
use std::{collections::BTreeSet, fs, time::Duration};
use swarm_common::{
    state::{DroneState, PackageState},
    wire::view::{AttemptView, DroneView},
};
use swarm_tests::e2e::{process::Process, swarm::Swarm, wait};

/// Upper limit for every wait, enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The packages, which are independent of each other.
const PACKAGES: [&str; 3] = ["app-misc/ant", "app-misc/bee", "app-misc/cow"];

/// The swarm, and the folder that its packages watch while they are built.
struct Yard {
    swarm: Swarm,
    /// A package may continue when a file with its name exists here. Files that a build must see change have
    /// to be on a separate file system: an overlay may not notice changes in its base.
    gates: tempfile::TempDir,
}

impl Yard {
    fn new() -> Result<Self> {
        let swarm = Swarm::start(&["ada"], &PACKAGES)?;
        let yard = Self { gates: tempfile::tempdir_in("/dev/shm")?, swarm };
        fs::set_permissions(yard.gates.path(), fs::Permissions::from_mode(0o755))?;
        for package in PACKAGES {
            let (_, name) = package.split_once('/').context("no name")?;
            let folder = yard.swarm.repository().join(package);
            fs::create_dir_all(&folder)?;
            // The background process stands for a compiler that must not survive.
            let ebuild = format!(
                "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\n\
                 src_compile() {{\n\ttrap '' TERM\n\tsetsid -f sleep {mark}\n\techo \"compiling ${{PN}}\"\n\
                 \tuntil [[ -e {gates}/${{PN}} ]]; do sleep 0.1; done\n}}\n",
                mark = mark(),
                gates = yard.gates.path().display()
            );
            fs::write(folder.join(format!("{name}-1.ebuild")), ebuild)?;
        }
        yard.swarm.pin_anew()?;
        Ok(yard)
    }

    /// Lets the build of a package end.
    fn open_gate(&self, title: &str) -> Result<()> {
        Ok(fs::write(self.gates.path().join(name_of(title)), "")?)
    }

    /// Waits until `count` builds compile.
    fn compiling(&self, count: usize) -> Result<BTreeSet<u32>> {
        wait::until("the compilers run", LIMIT, || {
            let found = compilers()?;
            Ok((found.len() == count).then_some(found))
        })
        .with_context(|| self.swarm.ctl(&["status"]).unwrap_or_default())
    }

    /// Waits until a drone builds a package that is compiling. Returns the attempt.
    fn builds(&self, drone: &str) -> Result<AttemptOf> {
        wait::until("the drone builds", LIMIT, || {
            let work = self.view(drone)?.working_on.into_iter().find(|work| work.title.contains('/'));
            Ok(work.map(|work| AttemptOf { title: work.title, id: work.attempt.to_string() }))
        })
    }

    fn view(&self, drone: &str) -> Result<DroneView> {
        let found = self.swarm.status()?.drones.into_iter().find(|view| view.name.as_str() == drone);
        found.with_context(|| format!("{drone} is unknown"))
    }

    fn attempt(&self, of: &AttemptOf) -> Result<AttemptView> {
        let attempts = self.swarm.why(&of.title)?.package.attempts;
        attempts.into_iter().find(|a| a.id.to_string() == of.id).context("the attempt is unknown")
    }

    /// Waits until an attempt has ended. Returns its outcome.
    fn outcome(&self, of: &AttemptOf) -> Result<String> {
        wait::until("the attempt ends", LIMIT, || Ok(self.attempt(of)?.outcome))
    }

    fn state(&self, title: &str) -> Result<PackageState> {
        Ok(self.swarm.why(title)?.package.state)
    }

    /// Waits until a drone has logged this many requests to stop.
    fn was_asked(&mut self, drone: &str, times: usize) -> Result<()> {
        let drone = self.swarm.drone(drone)?;
        wait::until("the drone hears the signal", LIMIT, || {
            Ok((drone.output().matches("asked to stop").count() >= times).then_some(()))
        })
    }
}

/// An attempt at a package.
#[derive(Debug, PartialEq)]
struct AttemptOf {
    title: String,
    id: String,
}

fn name_of(title: &str) -> &str {
    let name = title.rsplit('/').next().unwrap_or(title);
    name.split('-').next().unwrap_or(name)
}

/// A number of seconds for which no other program on this machine sleeps.
fn mark() -> String {
    format!("{}", 100_000_000 + u64::from(std::process::id()))
}

/// The processes that stand for compilers, in any namespace.
fn compilers() -> Result<BTreeSet<u32>> {
    let command_line = format!("sleep\0{}\0", mark());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let id = entry.file_name().to_string_lossy().parse();
        // The process may have ended meanwhile.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if let Ok(id) = id
            && line == command_line.as_bytes()
        {
            found.insert(id);
        }
    }
    Ok(found)
}

// fault: 18, 19
#[test]
fn a_drone_is_stopped_killed_left_alone_and_thrown_out_and_no_work_or_compiler_goes_astray() {
    life().unwrap();
}

fn life() -> Result<()> {
    let mut yard = Yard::new()?;
    let run = yard.swarm.start_run()?;
    finishes_after_the_first_stop(&mut yard)?;
    hands_back_when_there_is_no_time(&mut yard)?;
    dies_and_comes_back(&mut yard)?;
    outlives_the_orchestrator(&mut yard)?;

    // The run is cancelled while its last package is built.
    yard.compiling(1)?;
    let last = yard.builds("ada")?;
    yard.swarm.ctl(&["run", "cancel", &run.to_string(), "--yes"])?;
    yard.compiling(0)?;
    ensure!(yard.outcome(&last)? == "cancelled", "{:?}", yard.attempt(&last)?);
    let idle = wait::until("the drone is idle", LIMIT, || {
        let view = yard.view("ada")?;
        Ok(view.working_on.is_empty().then_some(view))
    })?;
    ensure!(idle.state == DroneState::Online, "{idle:?}");

    // A removed drone ends, and reports that to its supervisor.
    yard.swarm.ctl(&["drone", "remove", "ada", "--yes"])?;
    let status = yard.swarm.drone("ada")?.end(LIMIT)?;
    ensure!(status.code() == Some(77), "{status}");
    Ok(())
}

/// The first SIGTERM: the build completes, its package is delivered, and the drone signs off. Meanwhile
/// `swarmctl logs -f` shows the output of the build.
fn finishes_after_the_first_stop(yard: &mut Yard) -> Result<()> {
    yard.compiling(1)?;
    let work = yard.builds("ada")?;
    let mut following = yard.swarm.swarmctl()?;
    following.args(["logs", "-f", &work.title]);
    let mut following = Process::start(&mut following, &yard.swarm.path("followed"))?;
    wait::until("the log is shown live", LIMIT, || {
        Ok(following.output().contains(&format!("compiling {}", name_of(&work.title))).then_some(()))
    })?;

    yard.swarm.drone("ada")?.signal(Signal::TERM)?;
    yard.was_asked("ada", 1)?;
    ensure!(compilers()?.len() == 1, "the first stop ended the build");
    ensure!(yard.swarm.drone("ada")?.ended()?.is_none(), "the drone did not wait for its build");
    yard.open_gate(&work.title)?;
    let status = yard.swarm.drone("ada")?.end(LIMIT)?;
    ensure!(status.code() == Some(0), "{status}: {}", yard.swarm.drone("ada")?.output());
    ensure!(yard.state(&work.title)? == PackageState::Received, "{work:?}");
    ensure!(following.end(LIMIT)?.success(), "{}", following.output());
    ensure!(
        following.output().contains("Completed installing") || following.output().contains(">>> Done"),
        "{}",
        following.output()
    );
    yard.compiling(0)?;
    Ok(())
}

/// A second SIGTERM, or the end of the drain time: the build is killed and handed back, without a strike for
/// the drone.
fn hands_back_when_there_is_no_time(yard: &mut Yard) -> Result<()> {
    yard.swarm.start_drone("ada")?;
    yard.swarm.enrol("bob", "drain_timeout = \"1s\"")?;
    yard.compiling(2)?;
    let (twice, hurried) = (yard.builds("ada")?, yard.builds("bob")?);

    yard.swarm.drone("bob")?.signal(Signal::TERM)?;
    yard.swarm.drone("ada")?.signal(Signal::TERM)?;
    yard.was_asked("ada", 2)?;
    yard.swarm.drone("ada")?.signal(Signal::TERM)?;
    for (name, work) in [("ada", &twice), ("bob", &hurried)] {
        let status = yard.swarm.drone(name)?.end(LIMIT)?;
        ensure!(status.code() == Some(0), "{name}: {status}: {}", yard.swarm.drone(name)?.output());
        ensure!(yard.outcome(work)? == "handed back", "{:?}", yard.attempt(work)?);
        ensure!(yard.view(name)?.strikes == 0, "{name} has a strike for being stopped");
    }
    yard.compiling(0)?;
    Ok(())
}

/// SIGKILL during a build: the processes that it left are killed, and the work is assigned again.
fn dies_and_comes_back(yard: &mut Yard) -> Result<()> {
    yard.swarm.start_drone("ada")?;
    let left = yard.compiling(1)?;
    let lost = yard.builds("ada")?;
    yard.swarm.drone("ada")?.signal(Signal::KILL)?;
    yard.swarm.drone("ada")?.end(LIMIT)?;
    yard.swarm.start_drone("ada")?;
    ensure!(compilers()?.is_disjoint(&left), "a compiler survived the drone that started it");
    ensure!(yard.outcome(&lost)? == "lost", "{:?}", yard.attempt(&lost)?);
    wait::until("the work is given out again", LIMIT, || {
        let why = yard.swarm.why(&lost.title)?.package;
        Ok(matches!(why.state, PackageState::Needed | PackageState::Delegated).then_some(()))
    })
}

/// The orchestrator dies twice during a build: the build continues, and its result is delivered when an
/// orchestrator is back.
fn outlives_the_orchestrator(yard: &mut Yard) -> Result<()> {
    let compiler = yard.compiling(1)?;
    let work = yard.builds("ada")?;
    yard.swarm.kill_orchestrator()?;
    yard.swarm.start_orchestrator()?;
    ensure!(yard.builds("ada")? == work, "the build was lost with the orchestrator");

    yard.swarm.kill_orchestrator()?;
    ensure!(compilers()? == compiler, "the build ended with the orchestrator");
    yard.open_gate(&work.title)?;
    let report = yard.swarm.path("ada/state/spool").join(&work.id).join("report.json");
    wait::until("the result is spooled", LIMIT, || Ok(report.exists().then_some(())))?;
    yard.swarm.start_orchestrator()?;
    ensure!(yard.outcome(&work)? == "built", "{:?}", yard.attempt(&work)?);
    ensure!(yard.state(&work.title)? == PackageState::Received, "{work:?}");
    Ok(())
}
