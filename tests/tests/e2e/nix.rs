//! Nix with real processes and the real Nix: a host's system is planned, built on two drones, checked, signed
//! and served, and the host installs it without building anything. Only what depends on an updated package is
//! built again, and a host is not offered a system before all of it is available.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};
use swarm_common::{
    id::RunId,
    state::{PackageState, RunState},
    wire::{
        ready::Ready,
        view::{PackageRow, RunView},
    },
};
use swarm_tests::e2e::{
    mirror::Mirror,
    nix::{HOST, NixMachine, bump, world},
    swarm::Swarm,
    wait,
    workstation::Workstation,
};

/// A run takes less than a minute on an idle machine; test machines are busy.
const RUN: Duration = Duration::from_secs(900);
/// Upper limit for waiting for anything that does not require a build.
const SOON: Duration = Duration::from_secs(60);

/// The profile and its host.
const ATLAS: &str = "atlas";
/// The attributes of the example to build. Together they need everything.
const ROOTS: [&str; 2] = ["fireworks", HOST];

/// A swarm with the example world as its profile.
struct Farm {
    swarm: Swarm,
    mirror: Mirror,
    /// Evaluates what the swarm builds, for comparison.
    oracle: NixMachine,
}

impl Farm {
    fn start(roots: &[&str]) -> Result<Self> {
        let swarm = Swarm::bare()?;
        let source = swarm.path("world");
        world(&source)?;
        let mirror = Mirror::start(&source.join("distfiles"))?;
        let farm = Self { swarm, mirror, oracle: NixMachine::new("")? };
        farm.profile("add", roots)?;
        Ok(farm)
    }

    /// Runs `swarmctl profile add` or `update` with the current world.
    fn profile(&self, verb: &str, roots: &[&str]) -> Result<()> {
        let source = self.swarm.path("world").display().to_string();
        let mirror = format!("mirror={}", self.mirror.url());
        let from =
            ["profile", verb, ATLAS, "--nix", "--from", &source, "--file", "default.nix", "--arg", &mirror];
        self.swarm.ctl(&[&from[..], roots].concat())?;
        Ok(())
    }

    /// Starts a run and waits for its end.
    fn run(&self) -> Result<RunView> {
        let run = self.swarm.start_run_of(ATLAS)?;
        self.swarm.run_to_its_end(run, RUN)
    }

    /// Pins the current world and builds it.
    fn update(&self) -> Result<RunView> {
        self.profile("update", &WHOLE)?;
        self.run()
    }

    /// The path of an attribute of the world.
    fn path(&self, attribute: &str) -> Result<String> {
        let drv = self.oracle.evaluate(&self.swarm.path("world"), attribute)?;
        let outputs = self.oracle.query("--outputs", &drv)?;
        // The first output of the derivation is the expected one.
        outputs.into_iter().min_by_key(String::len).context("a derivation without outputs")
    }

    /// The derivations and sources of the world, by name.
    fn names(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for root in ROOTS {
            let drv = self.oracle.evaluate(&self.swarm.path("world"), root)?;
            for path in self.oracle.query("--requisites", &drv)? {
                let name = path.split_once('-').context("a path without a name")?.1;
                names.insert(name.trim_end_matches(".drv").to_owned());
            }
        }
        Ok(names)
    }

    fn packages(&self, run: RunId) -> Result<Vec<PackageRow>> {
        self.swarm.ask(&["queue", "--run", &run.to_string()])
    }

    /// The packages that the run built, by name.
    fn built(&self, run: RunId) -> Result<BTreeSet<String>> {
        let rows = self.packages(run)?.into_iter();
        let built = rows.filter(|row| row.state == PackageState::Received && row.attempts > 0);
        Ok(built.map(|row| row.title).collect())
    }

    /// Waits until the pointer of the host names a system.
    fn ready(&self, path: &str) -> Result<Ready> {
        let is = |ready: &Ready| ready.path == path;
        wait::until("the pointer of the host names the system", SOON, || {
            Ok(self.swarm.ready(ATLAS, ATLAS)?.filter(is))
        })
        .with_context(|| format!("{path}: {:?}", self.swarm.ready(ATLAS, ATLAS)))
    }

    /// A host configured by `swarmctl client setup`.
    fn host(&self) -> Result<NixMachine> {
        NixMachine::new(&self.swarm.nix_conf(ATLAS)?)
    }
}

/// The options for the whole world.
const WHOLE: [&str; 4] = ["--attr", "fireworks", "--host", ATLAS];

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

// fault: 61
#[test]
fn a_host_gets_its_system_without_building_and_follows_when_all_of_the_next_one_is_there() {
    the_whole_way().unwrap();
}

fn the_whole_way() -> Result<()> {
    let mut farm = Farm::start(&WHOLE)?;
    farm.mirror.refuse(1);
    for drone in ["ada", "bob"] {
        farm.swarm.enrol(drone, "")?;
    }
    let first = first_run(&farm)?;
    let system = farm.path(HOST)?;
    let pointer = farm.ready(&system)?;
    ensure!(pointer.missing.is_empty() && pointer.boot.contains_key("kernel"), "{pointer:?}");
    let host = farm.host()?;
    installs(&farm, &host, &system)?;
    refuses_strangers(&farm, &system)?;

    // Nothing has changed, so nothing is built and no pointer changes.
    let again = farm.run()?;
    ensure!(farm.built(again.id)?.is_empty(), "{:?}", farm.built(again.id)?);
    ensure!(again.reused == first, "{} reused of {first}", again.reused);
    ensure!(farm.ready(&system)? == pointer);

    // A library is updated: only what is built with it is built again.
    bump(&farm.swarm.path("world"), "libtally", "1.0", "2.0")?;
    let bumped = farm.update()?;
    let expected =
        ["libtally-2.0", "wordtally-1.3", "topwords-1.0", "system-path-1.0", "nixos-system-atlas-1.0"];
    ensure!(farm.built(bumped.id)? == names(&expected), "{:?}", farm.built(bumped.id)?);
    let next = farm.path(HOST)?;
    let moved = farm.ready(&next)?;
    ensure!(moved.generation > pointer.generation && next != system, "{moved:?} after {pointer:?}");
    let (good, output) = host.realise(&next)?;
    ensure!(good && !output.contains("building '"), "{output}");
    says(&host, &next, &["wordtally", "--version"], "wordtally 1.3 with libtally 2.0")?;

    waits_for_all_of_it(&farm, &moved)?;
    ensure!(farm.swarm.exit_code(&["audit", "verify"])? == 0, "something is damaged");
    Ok(())
}

/// Everything is built except what cannot be built, for which a reason is given. Returns the number of
/// received packages.
fn first_run(farm: &Farm) -> Result<u64> {
    let ended = farm.run()?;
    ensure!(ended.state == RunState::Partial, "{ended:?}");
    let mut states: BTreeMap<PackageState, BTreeSet<String>> = BTreeMap::new();
    for row in farm.packages(ended.id)? {
        states.entry(row.state).or_default().insert(row.title);
    }
    let (broken, blocked) = (names(&["sparkle-0.1"]), names(&["fireworks-0.1"]));
    ensure!(states.get(&PackageState::Quarantined) == Some(&broken), "{states:?}");
    ensure!(states.get(&PackageState::Blocked) == Some(&blocked), "{states:?}");
    let all: BTreeSet<String> = states.values().flatten().cloned().collect();
    ensure!(all == farm.names()?, "{all:?} instead of {:?}", farm.names()?);
    let received = states.get(&PackageState::Received).map_or(0, BTreeSet::len);
    ensure!(received + 2 == all.len() && received >= 22, "{states:?}");
    let why = farm.swarm.ctl(&["why", "sparkle-0.1"])?;
    ensure!(why.contains("no library has a function 'text_sparkle'"), "{why}");

    // The mirror was down once, which cost only one more attempt.
    let attempts = farm.swarm.why("postcard-source-1.0")?.package.attempts;
    ensure!(attempts.len() == 2 && farm.mirror.asked() == 2, "{attempts:?}");
    Ok(received as u64)
}

/// A host installs the system with signatures required and builds forbidden, and its programs run.
fn installs(farm: &Farm, host: &NixMachine, system: &str) -> Result<()> {
    let (good, output) = host.realise(system)?;
    ensure!(good && !output.contains("building '"), "{output}");
    says(host, system, &["wordtally", "--version"], "wordtally 1.3 with libtally 1.0")?;
    says(host, system, &["reckon", "2*(3+4)"], "2*(3+4) = 14")?;
    says(host, system, &["factors", "360"], "360: 2 2 2 3 3 5")?;
    says(host, system, &["postcard", "Ada"], "Greetings from postcard 1.0, Ada")?;
    let there = host.names()?;
    for absent in ["libtext-2.1-dev", "framemaker-1.0", "frames-2.0-doc"] {
        ensure!(!there.iter().any(|name| name == absent), "{absent} is for building only");
    }
    // Packages that are built with these outputs get them too.
    for attribute in ["libtext.dev", "frames.doc"] {
        farm.host()?.install(&farm.swarm.path("world"), attribute)?;
    }
    let shown = host.run(system, "switch-to-configuration", &["dry-activate"])?;
    ensure!(shown == format!("would activate {system}"), "{shown}");
    // A host that evaluates the system itself gets the same path.
    let own = farm.host()?;
    ensure!(own.install(&farm.swarm.path("world"), HOST)? == system);
    Ok(())
}

/// Runs a program of a system and checks its output.
fn says(host: &NixMachine, system: &str, command: &[&str], expected: &str) -> Result<()> {
    let programs = fs::read_link(host.file(system).join("sw"))?;
    let (program, arguments) = command.split_first().context("no command")?;
    let output = host.run(&programs.display().to_string(), program, arguments)?;
    ensure!(output.lines().any(|line| line.trim() == expected), "{command:?}: {output}");
    Ok(())
}

/// A host that does not trust the swarm's key accepts nothing from it.
fn refuses_strangers(farm: &Farm, system: &str) -> Result<()> {
    let settings = farm.swarm.nix_conf(ATLAS)?;
    let trusting = |line: &&str| line.trim_start().contains("trusted-public-keys");
    ensure!(settings.lines().any(|line| trusting(&line)), "{settings}");
    let without: Vec<&str> = settings.lines().filter(|line| !trusting(line)).collect();
    let stranger = NixMachine::new(&(without.join("\n") + "\n"))?;
    let (good, output) = stranger.realise(system)?;
    ensure!(
        !good && (output.contains("not signed by any") || output.contains("lacks a signature")),
        "{output}"
    );
    ensure!(!stranger.has(system), "what was refused is there");
    Ok(())
}

/// A program of the next system cannot be built: the rest is served, and the host keeps its system until that
/// is fixed.
fn waits_for_all_of_it(farm: &Farm, pointer: &Ready) -> Result<()> {
    let source = farm.swarm.path("world");
    bump(&source, "libnumber", "1.0", "1.1")?;
    let script = source.join("programs/factors.sh");
    let sound = fs::read_to_string(&script)?;
    fs::write(&script, sound.replace("number_check", "number_verify"))?;
    let partial = farm.update()?;
    ensure!(partial.state == RunState::Partial, "{partial:?}");
    let built = names(&["factors.sh", "libnumber-1.1", "libexpr-1.2", "reckon-1.1"]);
    ensure!(farm.built(partial.id)? == built, "{:?}", farm.built(partial.id)?);
    let reckon = farm.path("reckon")?;
    let host = farm.host()?;
    wait::until("the rest is served", SOON, || Ok(host.realise(&reckon)?.0.then_some(())))?;
    let still = farm.swarm.ready(ATLAS, ATLAS)?;
    ensure!(still.as_ref() == Some(pointer), "{still:?}");
    ensure!(host.realise(&pointer.path)?.0, "the system that the host's pointer names is no longer whole");

    fs::write(&script, sound)?;
    farm.update()?;
    let moved = farm.ready(&farm.path(HOST)?)?;
    ensure!(moved.generation > pointer.generation, "{moved:?}");
    ensure!(host.realise(&moved.path)?.0, "the new system is not whole");
    Ok(())
}

// fault: 19
#[test]
fn the_derivation_that_a_killed_drone_was_building_is_built_by_another() {
    drone_killed().unwrap();
}

fn drone_killed() -> Result<()> {
    let mut farm = Farm::start(&["--attr", "postcard"])?;
    for drone in ["ada", "bob"] {
        farm.swarm.enrol(drone, "")?;
    }
    // A builder waits for the mirror for as long as the test wants.
    farm.mirror.hold(true);
    let run = farm.swarm.start_run_of(ATLAS)?;
    let source = "postcard-source-1.0";
    let drone = wait::until("the source is fetched", RUN, || {
        let drones = farm.swarm.status()?.drones.into_iter();
        let mut busy = drones.filter(|drone| drone.working_on.iter().any(|work| work.title == source));
        Ok(busy.next().filter(|_| farm.mirror.asked() > 0).map(|drone| drone.name.to_string()))
    })?;
    farm.swarm.kill_drone(&drone)?;
    farm.mirror.hold(false);

    let ended = farm.swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    let attempts = farm.swarm.why(source)?.package.attempts;
    let built = attempts.last().is_some_and(|last| last.drone_name.as_str() != drone);
    ensure!(built && attempts.len() >= 2, "after {drone} was killed: {attempts:#?}");

    // It returns, and continues to work in the store that it left during a build.
    farm.swarm.start_drone(&drone)?;
    let other = if drone == "ada" { "bob" } else { "ada" };
    ensure!(farm.swarm.stop_drone(other, SOON)?, "{other} did not stop well");
    farm.profile("update", &["--attr", "postcard", "--attr", "reckon"])?;
    let ended = farm.run()?;
    ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    let host = farm.host()?;
    let postcard = farm.path("postcard")?;
    wait::until("it is served", SOON, || Ok(host.realise(&postcard)?.0.then_some(())))?;
    let output = host.run(&postcard, "postcard", &["Bob"])?;
    ensure!(output.contains("postcard 1.0, Bob"), "{output}");
    Ok(())
}

#[test]
fn a_gentoo_and_a_nix_profile_are_built_in_one_night_on_one_fleet() {
    both_in_one_night().unwrap();
}

fn both_in_one_night() -> Result<()> {
    let swarm = Swarm::start(&["ada", "bob"], &["app-misc/lifegame"])?;
    let source = swarm.path("world");
    world(&source)?;
    let from = source.display().to_string();
    // The same as a flake, where a package has a shorter name.
    swarm.ctl(&["profile", "add", ATLAS, "--nix", "--from", &from, "--attr", "reckon"])?;
    let runs = [swarm.start_run()?, swarm.start_run_of(ATLAS)?];
    for run in runs {
        let ended = swarm.run_to_its_end(run, RUN)?;
        ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    }
    let status = swarm.ctl(&["status"])?;
    ensure!(status.contains(ATLAS) && status.contains("desktop"), "{status}");

    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    workstation.update()?;
    ensure!(workstation.has("app-misc/lifegame-1.0"), "it is not installed");
    let host = NixMachine::new(&swarm.nix_conf(ATLAS)?)?;
    let reckon = installed(&host, &source, "reckon")?;
    ensure!(host.run(&reckon, "reckon", &["6*7"])? == "6*7 = 42");
    Ok(())
}

/// Waits until an attribute is served, and installs it.
fn installed(host: &NixMachine, source: &Path, attribute: &str) -> Result<String> {
    wait::until("it is served", SOON, || Ok(host.install(source, attribute).ok()))
        .with_context(|| host.install(source, attribute).unwrap_or_else(|error| format!("{error:#}")))
}
