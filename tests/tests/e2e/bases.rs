//! Bases with real processes and the real Portage: a root file system becomes an image, a drone without it
//! downloads it, and builds in it what another profile builds in the drone's own `/` at the same time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use anyhow::{Result, ensure};
use std::{fs, os::unix::fs::MetadataExt as _, time::Duration};
use swarm_common::{
    id::RunId,
    state::RunState,
    wire::{admin::StartRunReply, base::BaseView, view::ProfileView},
};
use swarm_tests::e2e::{base::small_root, swarm::Swarm, workstation::Workstation};

/// A run takes about a minute on an idle machine; test machines are busy.
const RUN: Duration = Duration::from_secs(900);

/// Records in its package where it was built.
const WHERE: &str = "EAPI=8\nDESCRIPTION=\"x\"\nLICENSE=MIT\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\nDEPEND=\"dev-libs/libgrid:=\"\n\
    src_compile() {\n\
    base=$(cat /etc/name-of-the-base 2>/dev/null || echo host)\n\
    echo \"${base} $(command -v emerge)\" >where || die\n}\n\
    src_install() { insinto /usr/share; doins where; }\n";

/// Installs files with several owners.
const OWNED: &str = "doins where; newins where owned; newins where program
    fowners nobody:nogroup /usr/share/owned; fowners root:root /usr/share/program; fperms 4755 /usr/share/program; }";

#[test]
fn a_drone_fetches_a_base_and_builds_in_it_beside_its_own_root() {
    in_a_base().unwrap();
}

fn in_a_base() -> Result<()> {
    let mut swarm = Swarm::start(&[], &["app-misc/lifegame", "app-misc/where"])?;
    let ebuild = swarm.repository().join("app-misc/where");
    fs::create_dir_all(&ebuild)?;
    fs::write(ebuild.join("where-1.ebuild"), WHERE)?;
    let root = swarm.path("root");
    small_root(&root)?;
    fs::write(root.join("etc/name-of-the-base"), "june\n")?;
    let root = root.display().to_string();

    // Missing files are refused.
    let at = |name: &str| swarm.path(name).display().to_string();
    let (bundle, repository) = (at("bundle"), at("repository"));
    let pin = ["profile", "update", "desktop", "--from", &bundle, "--repository", &repository];
    let in_gentoo = [&pin[..], &["--base", "gentoo"]].concat();
    let refused = swarm.ctl(&in_gentoo).unwrap_err().to_string();
    ensure!(refused.contains("no base `gentoo`"), "{refused}");

    swarm.ctl(&["base", "add", "gentoo", "--from", &root])?;
    swarm.ctl(&in_gentoo)?;
    // Other flags give other packages, so nothing is reused.
    let make_conf = format!("{bundle}/etc/portage/make.conf");
    fs::write(&make_conf, fs::read_to_string(&make_conf)? + "\nCFLAGS=\"-O1\"\n")?;
    swarm.ctl(&["profile", "add", "other", "--from", &bundle, "--repository", &repository])?;
    swarm.enrol("ada", "")?;

    let runs = ["desktop", "other"]
        .map(|profile| -> Result<RunId> { Ok(swarm.ask::<StartRunReply>(&["run", "start", profile])?.run) });
    for run in runs {
        succeeds(&swarm, run?)?;
    }

    // The packages built in the base are installed.
    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    let args = ["--oneshot", "--usepkgonly", "--getbinpkg", "app-misc/where", "app-misc/lifegame"];
    let (good, output) = workstation.emerge(&args)?;
    ensure!(good, "{output}");
    ensure!(fs::read_to_string(workstation.path("usr/share/where"))? == "june /usr/bin/emerge\n");

    // A profile keeps its base until another is named, and a run uses its newest generation.
    fs::write(swarm.path("root/etc/name-of-the-base"), "july\n")?;
    swarm.ctl(&["base", "update", "gentoo", "--from", &root])?;
    fs::write(ebuild.join("where-2.ebuild"), WHERE)?;
    swarm.ctl(&pin)?;
    let profile: ProfileView = swarm.ask(&["profile", "show", "desktop"])?;
    ensure!(profile.base.is_some_and(|base| base.as_str() == "gentoo"));
    succeeds(&swarm, swarm.start_run()?)?;
    workstation.sync(&swarm.repository())?;
    let (good, output) = workstation.emerge(&args)?;
    ensure!(
        good && fs::read_to_string(workstation.path("usr/share/where"))?.starts_with("july "),
        "{output}"
    );
    let base: BaseView = swarm.ask(&["base", "show", "gentoo"])?;
    for generation in &base.generations {
        let kept = swarm.path("ada/cache/bases").join(generation.image.digest.to_string());
        ensure!(kept.join("files/usr/bin/emerge").exists(), "both generations are kept unpacked");
        ensure!(!kept.join("files/usr/share/where").exists(), "a base is only read");
    }
    ensure!(
        fs::read_dir(swarm.path("ada/cache/images"))?.next().is_none(),
        "what is unpacked is not kept packed"
    );
    by_an_ordinary_user(&mut swarm, &workstation, &pin)?;

    swarm.ctl(&[&pin[..], &["--base", "host"]].concat())?;
    let profile: ProfileView = swarm.ask(&["profile", "show", "desktop"])?;
    ensure!(profile.base.is_none());
    Ok(())
}

/// A drone without root privileges builds in the same base, and its packages have the owners that the ebuild
/// sets. It must not use what was built in a drone's own `/`.
fn by_an_ordinary_user(swarm: &mut Swarm, workstation: &Workstation, pin: &[&str]) -> Result<()> {
    ensure!(swarm.stop_drone("ada", Duration::from_secs(60))?, "ada stops in order");
    let ebuild = swarm.repository().join("app-misc/where");
    fs::write(ebuild.join("where-3.ebuild"), WHERE.replace("doins where; }", OWNED))?;
    swarm.ctl(pin)?;
    swarm.enrol_ordinary("eve")?;
    let other = swarm.ask::<StartRunReply>(&["run", "start", "other"])?.run;
    succeeds(swarm, swarm.start_run()?)?;
    workstation.sync(&swarm.repository())?;
    let (good, output) =
        workstation.emerge(&["--oneshot", "--usepkgonly", "--getbinpkg", "app-misc/where"])?;
    ensure!(good, "{output}");
    let owners = ["where", "owned", "program"].map(|name| {
        let found = fs::metadata(workstation.path("usr/share").join(name))?;
        Ok::<_, std::io::Error>((found.uid(), found.gid(), found.mode() & 0o7777))
    });
    let owners = owners.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(owners == [(0, 0, 0o644), (65_534, 65_534, 0o644), (0, 0, 0o4755)], "{owners:?}");
    let waiting = swarm.run_view(other)?;
    ensure!(!waiting.state.is_over() && waiting.plan_attempts.is_empty(), "{waiting:?}");
    Ok(())
}

fn succeeds(swarm: &Swarm, run: RunId) -> Result<()> {
    let ended = swarm.run_to_its_end(run, RUN)?;
    let logs = || swarm.ctl(&["logs", "plan"]).unwrap_or_else(|error| format!("{error:#}"));
    ensure!(ended.state == RunState::Succeeded, "{ended:?}\n{}", logs());
    Ok(())
}
