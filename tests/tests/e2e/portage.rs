//! The main job with real processes and the real Portage: a world update is planned, built, checked, signed,
//! published and installed; manipulated packages are not installed; and a run survives the death of a drone
//! or the orchestrator.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use anyhow::{Context as _, Result, ensure};
use std::{fs, path::Path, time::Duration};
use swarm_common::{
    cpv::Cpv,
    id::RunId,
    state::{PackageState, RunState},
    wire::channel::{ChannelView, StagingView},
};
use swarm_tests::e2e::{
    binhost::BinhostCopy,
    forger,
    programs::part,
    swarm::{PROFILE, Swarm},
    tamper,
    wait::until,
    workstation::{Workstation, copy},
};

/// A run of the whole example takes about a minute on an idle machine; test machines are busy.
const RUN: Duration = Duration::from_secs(900);
/// Upper limit for the start of the first build.
const FIRST: Duration = Duration::from_secs(300);

#[test]
fn a_workstation_follows_two_world_updates_and_compiles_nothing() {
    first_and_second_update().unwrap();
}

fn first_and_second_update() -> Result<()> {
    let swarm = Swarm::start(&["ada", "bob", "eve"], &[])?;

    // The first update builds everything except the one package that cannot be built.
    let run = swarm.start_run()?;
    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.state == RunState::Partial, "{ended:?}");
    ensure!(ended.counts.get(&PackageState::Quarantined) == Some(&1), "{:?}", ended.counts);
    let received = ended.counts[&PackageState::Received];
    ensure!(received >= 20, "{:?}", ended.counts);
    ensure!(swarm.exit_code(&["status"])? != 0, "a quarantined package needs somebody");
    let why = swarm.ctl(&["why", "app-misc/wontbuild"])?;
    ensure!(why.contains("quarantined") && why.contains("has no member named"), "{why}");

    // A workstation that requires signatures installs the world, and its programs run.
    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    workstation.update()?;
    says(&workstation, "wordtally", &["--version"], "wordtally 1.3 with libtally 1.0")?;
    says(&workstation, "reckon", &["2*(3+4)"], "2*(3+4) = 14")?;
    says(&workstation, "postcard", &["Ada"], "Greetings from postcard 1.0, Ada")?;
    says(&workstation, "glyphview", &["one line"], " 8 |one line")?;
    ensure!(!workstation.has("app-misc/wontbuild-0.1"), "a package that was never built is installed");

    // After an update of a library, only the library and packages linked to it are built; the rest is reused.
    copy(&part("examples/bump"), &swarm.repository())?;
    swarm.pin_anew()?;
    let run = swarm.start_run()?;
    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.counts.get(&PackageState::Received).copied().unwrap_or(0) >= 3, "{:?}", ended.counts);
    ensure!(ended.reused == received - 3, "{} reused of {received}", ended.reused);

    workstation.sync(&swarm.repository())?;
    workstation.update()?;
    says(&workstation, "wordtally", &["--version"], "wordtally 1.3 with libtally 2.0")?;
    ensure!(workstation.has("dev-libs/libtally-2.0") && !workstation.has("dev-libs/libtally-1.0"));

    refusals(&swarm)
}

/// A package that was changed between the swarm and a workstation is not installed, while the unchanged copy
/// is.
fn refusals(swarm: &Swarm) -> Result<()> {
    type Attack = fn(&Path) -> Result<()>;
    let attacks: [(&str, Attack, &str); 3] = [
        ("stripped", tamper::strip_signatures, "appears unsigned"),
        ("altered", tamper::alter, "BADSIG"),
        ("signed by a stranger", forger::sign_anew, "NO_PUBKEY"),
    ];
    let arguments = ["--oneshot", "--usepkgonly", "--getbinpkg", "app-misc/lifegame"];
    for (what, attack, reason) in attacks {
        let binhost = BinhostCopy::of(&swarm.binhost()?)?;
        attack(&binhost.file("app-misc/lifegame")?)?;
        binhost.reindex()?;
        let workstation = Workstation::new(&swarm.repository())?;
        swarm.set_up(&workstation)?;
        workstation.redirect(&binhost.uri())?;

        let (good, output) = workstation.emerge(&arguments)?;
        ensure!(!good && output.contains(reason), "{what}: {output}");
        ensure!(!workstation.has("app-misc/lifegame-1.0"), "a {what} package was installed");

        workstation.redirect(&swarm.binhost()?)?;
        let (good, output) = workstation.emerge(&arguments)?;
        ensure!(good, "the honest package after the {what} one: {output}");
    }
    Ok(())
}

#[test]
fn a_drone_behind_nginx_plans_builds_and_delivers_though_nginx_restarts() {
    drone_behind_nginx().unwrap();
}

fn drone_behind_nginx() -> Result<()> {
    let mut swarm = Swarm::start(&[], &["app-misc/reckon"])?;
    let mut nginx = swarm.enrol_through_nginx("ada")?;
    let run = swarm.start_run()?;
    swarm.builds(FIRST)?;
    nginx.stop()?;
    nginx.go_on()?;
    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    workstation.update()?;
    ensure!(workstation.has("app-misc/reckon-1.1"), "it is not installed");
    Ok(())
}

#[test]
fn what_a_killed_drone_was_building_is_built_by_another() {
    drone_killed().unwrap();
}

fn drone_killed() -> Result<()> {
    let mut swarm = Swarm::start(&["ada", "bob"], &["app-misc/reckon", "app-text/banner"])?;
    let run = swarm.start_run()?;
    let (drone, package) = swarm.builds(FIRST)?;
    swarm.kill_drone(&drone)?;

    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    let attempts = swarm.why(&package)?.package.attempts;
    let built = attempts.last().is_some_and(|last| last.drone_name.as_str() != drone);
    ensure!(built && attempts.len() >= 2, "{package} after {drone} was killed: {attempts:#?}");
    Ok(())
}

#[test]
fn a_run_goes_on_when_the_killed_orchestrator_comes_back() {
    orchestrator_killed().unwrap();
}

fn orchestrator_killed() -> Result<()> {
    let mut swarm = Swarm::start(&["ada", "bob"], &["app-misc/reckon", "app-misc/lifegame"])?;
    let run = swarm.start_run()?;
    for _ in 0..3 {
        swarm.builds(FIRST)?;
        swarm.kill_orchestrator()?;
        swarm.start_orchestrator()?;
        if swarm.run_view(run)?.state.is_over() {
            break;
        }
    }
    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    ensure!(swarm.exit_code(&["audit", "verify"])? == 0, "the journal is damaged");

    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    let (good, output) = workstation.emerge(&["--usepkgonly", "--getbinpkg", "app-misc/reckon"])?;
    ensure!(good, "{output}");
    says(&workstation, "reckon", &["6*7"], "6*7 = 42")
}

fn says(workstation: &Workstation, program: &str, arguments: &[&str], expected: &str) -> Result<()> {
    let output = workstation.run(program, arguments)?;
    ensure!(output.trim_end() == expected.trim_end(), "{program} said {output:?}, not {expected:?}");
    Ok(())
}

#[test]
fn a_new_version_is_published_when_all_that_it_needs_at_run_time_is_there() {
    successor_without_its_library().unwrap();
}

fn successor_without_its_library() -> Result<()> {
    let swarm = Swarm::start(&["ada", "bob"], &["app-misc/spyglass", "app-misc/bystander"])?;
    let install = ["--usepkg", "--usepkgonly", "--getbinpkg", "--update", "--deep", "app-misc/spyglass"];
    ebuild(&swarm, "app-misc/spyglass-1.0", "")?;
    ebuild(&swarm, "app-misc/bystander-1.0", "")?;
    swarm.pin_anew()?;
    let first = swarm.start_run()?;
    ensure!(swarm.run_to_its_end(first, RUN)?.state == RunState::Succeeded);
    let old = Workstation::new(&swarm.repository())?;
    swarm.set_up(&old)?;
    let (good, output) = old.emerge(&install)?;
    ensure!(good && old.has("app-misc/spyglass-1.0"), "{output}");

    // The next version is built, but not a library that it needs at run time.
    ebuild(&swarm, "app-misc/spyglass-2.0", "RDEPEND=\"dev-libs/lens\"")?;
    ebuild(&swarm, "app-misc/bystander-2.0", "")?;
    ebuild(&swarm, "dev-libs/lens-1.0", "src_compile() { die \"error: no glass\"; }")?;
    swarm.pin_anew()?;
    let run = swarm.start_run()?;
    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.counts.get(&PackageState::Received) == Some(&2), "{:?}", ended.counts);
    let new = Workstation::new(&swarm.repository())?;
    swarm.set_up(&new)?;
    for workstation in [&old, &new] {
        workstation.sync(&swarm.repository())?;
        let (good, output) = workstation.emerge(&install)?;
        ensure!(good && workstation.has("app-misc/spyglass-1.0"), "{output}");
    }
    let (good, output) = new.emerge(&["--usepkgonly", "--getbinpkg", "app-misc/bystander"])?;
    ensure!(good && new.has("app-misc/bystander-2.0"), "it has nothing to do with the failure: {output}");

    // Once the library is built, the new version is published too.
    ebuild(&swarm, "dev-libs/lens-1.0", "")?;
    swarm.pin_anew()?;
    let run = swarm.start_run()?;
    ensure!(swarm.run_to_its_end(run, RUN)?.state == RunState::Succeeded);
    for workstation in [&old, &new] {
        workstation.sync(&swarm.repository())?;
        let (good, output) = workstation.emerge(&install)?;
        ensure!(
            good && workstation.has("app-misc/spyglass-2.0") && workstation.has("dev-libs/lens-1.0"),
            "{output}"
        );
    }
    rolled_back(&swarm, first, &old, &install)
}

/// After a rollback, a world update returns a workstation from the new version to the old one, and a new
/// workstation gets the old one. After a promotion, the new version is back.
fn rolled_back(swarm: &Swarm, first: RunId, old: &Workstation, install: &[&str]) -> Result<()> {
    let change = |words: &[&str]| -> Result<()> {
        let channel: ChannelView = swarm.ask(&[&["channel"], words].concat())?;
        let number = channel.generations[0].number;
        until("it is published", RUN, || Ok((swarm.profile()?.generation == number).then_some(())))
    };
    let channel: ChannelView = swarm.ask(&["channel", "show", PROFILE])?;
    let generation = channel.generations.iter().find(|generation| generation.run == first);
    let number = generation.context("the first generation is not kept")?.number.to_string();
    change(&["rollback", PROFILE, "--generation", &number])?;
    let why = swarm.ctl(&["why", "app-misc/spyglass-2.0"])?;
    ensure!(why.contains("is stored but not published") && why.contains("channel promote"), "{why}");
    let fresh = Workstation::new(&swarm.repository())?;
    swarm.set_up(&fresh)?;
    let (good, output) = fresh.emerge(install)?;
    ensure!(good && fresh.has("app-misc/spyglass-1.0"), "{output}");
    fs::write(old.path("var/lib/portage/world"), "app-misc/spyglass\n")?;
    old.update()?;
    ensure!(old.has("app-misc/spyglass-1.0"), "the new version stays");
    change(&["promote", PROFILE])?;
    let (good, output) = old.emerge(install)?;
    ensure!(good && old.has("app-misc/spyglass-2.0"), "{output}");
    staged(swarm, old)
}

/// A machine that uses staging gets a new version first, and one that uses stable gets it after the
/// promotion.
fn staged(swarm: &Swarm, stable: &Workstation) -> Result<()> {
    let install = ["--usepkgonly", "--getbinpkg", "--update", "app-misc/bystander"];
    swarm.publish_to("staging")?;
    let canary = Workstation::new(&swarm.repository())?;
    swarm.set_up_for(&canary, "staging")?;
    let channel = || swarm.ask::<ChannelView>(&["channel", "show", PROFILE]);
    let published = |number: u64| {
        let newest = |view: ChannelView| {
            let made = |staging: &StagingView| staging.generations.first().map(|newest| newest.number);
            view.staging.filter(|s| s.generation >= number && made(s) == Some(s.generation))
        };
        until("it is staged", RUN, || Ok(channel().map(newest)?.map(|staging| staging.generation)))
    };
    let first = published(1)?;
    ebuild(swarm, "app-misc/bystander-3.0", "")?;
    swarm.pin_anew()?;
    ensure!(swarm.run_to_its_end(swarm.start_run()?, RUN)?.state == RunState::Succeeded);
    let second = published(first + 1)?;
    for workstation in [&canary, stable] {
        workstation.sync(&swarm.repository())?;
        let (good, output) = workstation.emerge(&install)?;
        let is_new = workstation.has("app-misc/bystander-3.0");
        ensure!(good && is_new == std::ptr::eq(workstation, &canary), "{output}");
    }
    ensure!(swarm.exit_code(&["status"])? == 0, "what waits in staging needs nobody");
    let output = swarm.ctl(&["status"])?;
    ensure!(output.contains(&format!("swarmctl channel promote {PROFILE}")), "{output}");
    swarm.ctl(&["channel", "promote", PROFILE, "--generation", &second.to_string()])?;
    let number = channel()?.generations[0].number;
    until("it is published", RUN, || Ok((swarm.profile()?.generation == number).then_some(())))?;
    let (good, output) = stable.emerge(&install)?;
    ensure!(good && stable.has("app-misc/bystander-3.0"), "{output}");
    Ok(())
}

/// A user patch, and the lines of an ebuild that fails without it.
const PATCH: &str = "--- /dev/null\n+++ b/patched\n@@ -0,0 +1 @@\n+yes\n";
const PATCHED: &str = "src_configure() { [[ $(<patched) == yes ]] || die \"the patch is not applied\"; }";

#[test]
fn a_fresh_workstation_gets_what_its_profile_names_as_the_system_and_a_package_with_a_users_patch() {
    system_set().unwrap();
}

fn system_set() -> Result<()> {
    let swarm = Swarm::start(&["ada"], &["app-misc/tool"])?;
    ebuild(&swarm, "app-misc/tool-1.0", PATCHED)?;
    let patched = |root: &Path| {
        let patches = root.join("etc/portage/patches/app-misc/tool");
        fs::create_dir_all(&patches)?;
        fs::write(patches.join("one.patch"), PATCH)
    };
    patched(&swarm.bundle())?;
    ebuild(&swarm, "app-misc/basebits-1.0", "")?;
    fs::write(swarm.repository().join("profiles/example/amd64/packages"), "*app-misc/basebits\n")?;
    swarm.pin_anew()?;
    let ended = swarm.run_to_its_end(swarm.start_run()?, RUN)?;
    ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    ensure!(ended.counts.get(&PackageState::Received) == Some(&2), "{:?}", ended.counts);
    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    // Portage refuses packages that were built with other patches than its own.
    patched(&workstation.path(""))?;
    fs::write(workstation.path("var/lib/portage/world"), "app-misc/tool\n")?;
    workstation.update()?;
    ensure!(workstation.has("app-misc/tool-1.0") && workstation.has("app-misc/basebits-1.0"));

    // Later its newer version is published as well.
    ebuild(&swarm, "app-misc/basebits-2.0", "")?;
    swarm.pin_anew()?;
    let ended = swarm.run_to_its_end(swarm.start_run()?, RUN)?;
    ensure!(ended.state == RunState::Succeeded, "{ended:?}");
    workstation.sync(&swarm.repository())?;
    workstation.update()?;
    ensure!(workstation.has("app-misc/basebits-2.0"));
    Ok(())
}

/// Writes an ebuild that installs one file to the repository. `more` are additional lines.
fn ebuild(swarm: &Swarm, cpv: &str, more: &str) -> Result<()> {
    let parsed: Cpv = cpv.parse()?;
    let folder = swarm.repository().join(parsed.cp());
    fs::create_dir_all(&folder)?;
    let text = format!(
        "EAPI=8\nDESCRIPTION=\"A package of a test\"\nHOMEPAGE=\"https://example.org/\"\nLICENSE=\"MIT\"\n\
         KEYWORDS=\"amd64\"\nS=\"${{WORKDIR}}\"\nSLOT=\"0\"\n{more}\n\
         src_install() {{ insinto /usr/share/${{PN}}; echo \"${{PF}}\" > info || die; doins info; }}\n"
    );
    fs::write(folder.join(format!("{}.ebuild", parsed.pf())), text)?;
    Ok(())
}
