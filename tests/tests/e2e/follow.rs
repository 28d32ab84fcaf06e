//! A base follows the tree, with real processes and the real Portage: packages of the base that a run has
//! built are installed on it, the next run is built in the result, and a package that would break the base is
//! omitted and named.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use swarm_common::{id::RunId, state::RunState, wire::base::BaseView};
use swarm_tests::e2e::{base::small_root, swarm::Swarm, wait, workstation::Workstation};

/// A run takes about a minute on an idle machine; test machines are busy.
const RUN: Duration = Duration::from_secs(900);

/// Upper limit for waiting for anything that does not require a build.
const SOON: Duration = Duration::from_secs(60);

/// The common part of the two ebuilds.
const EBUILD: &str = "EAPI=8\nDESCRIPTION=\"x\"\nLICENSE=MIT\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\nsrc_compile() { :; }\n";
/// Installs a file with its own version.
const MARKER: &str = "src_install() { echo \"${PV}\" >marker || die; insinto /usr/share; doins marker; }\n";
/// Records which version of the marker was installed where it was built, without depending on it.
const PROBE: &str = "src_install() { cp /usr/share/marker probe || die; insinto /usr/share; doins probe; }\n";
/// Breaks the compiler of a base, which the checks must detect.
const BREAKS_GCC: &str =
    "pkg_postinst() { rm \"${EROOT}/usr/bin/gcc\" && cp /bin/false \"${EROOT}/usr/bin/gcc\" || die; }\n";
/// Breaks only the C++ compiler.
const BREAKS_CXX: &str =
    "pkg_postinst() { rm -f \"${EROOT}/usr/bin/g++\" && cp /bin/false \"${EROOT}/usr/bin/g++\" || die; }\n";

/// Lists compilers like Gentoo's program, prints the current one, and records which one is selected.
const GCC_CONFIG: &str = r#"#!/bin/sh
case "$*" in
*--list-profiles*) printf ' [1] %s\n' 'x86_64-pc-linux-gnu-9.5.0 *' x86_64-pc-linux-gnu-14 riscv64-unknown-linux-gnu-15 ;;
-c) echo x86_64-pc-linux-gnu-9.5.0 ;;
*) echo "$*" >>/usr/share/selected ;;
esac
"#;

#[test]
fn a_base_gets_what_a_run_built_of_it_and_stays_as_it_was_if_that_would_break_it() {
    follows().unwrap();
}

fn follows() -> Result<()> {
    let mut swarm = Swarm::start(&[], &["app-misc/marker", "app-misc/probe"])?;
    ebuild(&swarm, "marker-1", MARKER)?;
    ebuild(&swarm, "probe-1", PROBE)?;

    // A base in which the marker is installed and registered.
    let workstation = Workstation::new(&swarm.repository())?;
    let (good, output) = workstation.emerge(&["--oneshot", "app-misc/marker"])?;
    ensure!(good, "{output}");
    let root = swarm.path("root");
    small_root(&root)?;
    for (part, into) in [("usr/share/marker", "usr/share"), ("var/db/pkg", "var/db")] {
        fs::create_dir_all(root.join(into))?;
        let copied =
            Command::new("cp").arg("-a").arg(workstation.path(part)).arg(root.join(into)).status()?;
        ensure!(copied.success(), "{part} cannot be copied");
    }
    let gcc_config = root.join("usr/bin/gcc-config");
    fs::write(&gcc_config, GCC_CONFIG)?;
    fs::set_permissions(&gcc_config, fs::Permissions::from_mode(0o755))?;
    swarm.ctl(&["base", "add", "gentoo", "--from", &root.display().to_string()])?;
    let at = |name: &str| swarm.path(name).display().to_string();
    let (bundle, repository) = (at("bundle"), at("repository"));
    let pin = ["profile", "update", "desktop", "--from", &bundle, "--repository", &repository];
    ebuild(&swarm, "marker-2", MARKER)?;
    swarm.ctl(&[&pin[..], &["--base", "gentoo"]].concat())?;
    swarm.enrol("ada", "")?;
    swarm.set_up(&workstation)?;

    let first = succeeds(&swarm)?;
    ensure!(probed(&swarm, &workstation)? == "1\n", "the run itself is built in what the base was before");
    let base = rests(&swarm)?;
    let current = base.generations.first().context("no generation")?;
    let installed: Vec<&str> = current.installed.iter().map(|d| d.cpv.as_str()).collect();
    ensure!((current.number, current.run) == (2, Some(first)), "{base:?}\n{:?}", swarm.status()?.concerns);
    ensure!(installed == ["app-misc/marker-2"], "the base has no probe: {installed:?}");
    let shown = swarm.ctl(&["base", "list"])?;
    ensure!(
        shown.lines().any(|line| line.contains("gentoo") && line.contains(&format!("{first} of desktop")))
    );

    // The next run is built in it, also by a drone that still has to make it.
    ensure!(swarm.stop_drone("ada", SOON)?, "ada did not stop well");
    swarm.enrol("bob", "")?;
    ebuild(&swarm, "probe-2", PROBE)?;
    swarm.ctl(&pin)?;
    succeeds(&swarm)?;
    ensure!(probed(&swarm, &workstation)? == "2\n");
    ensure!(rests(&swarm)?.generations.len() == 2, "nothing of the base has changed since");
    let image = current.image.digest.to_string();
    let kept = |drone: &str| fs::read_dir(swarm.path(drone).join("cache/bases"));
    for base in kept("ada")?.chain(kept("bob")?) {
        let base = base?.path();
        let expected = if base.ends_with(&image) { "1\n" } else { "2\n" };
        ensure!(fs::read_to_string(base.join("files/usr/share/marker"))? == expected, "{}", base.display());
        ensure!(!base.join("files/usr/share/probe").exists(), "a base is only read");
        let selected = fs::read_to_string(base.join("files/usr/share/selected")).unwrap_or_default();
        let expected = if base.ends_with(&image) { "" } else { "--nocolor x86_64-pc-linux-gnu-14\n" };
        ensure!(selected == expected, "the newest compiler is to be selected: {selected}");
    }

    ensure!(seals(&swarm, "ada")? == seals(&swarm, "bob")?, "they do not have the same");

    // A broken base is refused, with the reason.
    let why = "the compiler of the new base does not work";
    for (marker, breaks) in [("marker-3", BREAKS_CXX), ("marker-4", BREAKS_GCC)] {
        ebuild(&swarm, marker, &[MARKER, breaks].concat())?;
        swarm.ctl(&pin)?;
        let run = succeeds(&swarm)?;
        let base = rests(&swarm)?;
        ensure!(base.generations[0].number == 2, "{base:?}");
        ensure!(base.failed.as_ref().is_some_and(|f| f.run == run && f.reason.contains(why)), "{base:?}");
    }
    let status = swarm.status()?;
    ensure!(status.concerns.iter().any(|concern| concern.what.contains(why)), "{:?}", status.concerns);
    ensure!(status.next_action.as_deref() == Some("swarmctl base update gentoo --follow"));
    let shown = swarm.ctl(&["base", "update", "gentoo", "--no-follow"])?;
    ensure!(shown.contains("follows   no"), "{shown}");
    Ok(())
}

fn ebuild(swarm: &Swarm, pf: &str, text: &str) -> Result<()> {
    let name = pf.split_once('-').context("no version")?.0;
    let dir = swarm.repository().join("app-misc").join(name);
    fs::create_dir_all(&dir)?;
    Ok(fs::write(dir.join(Path::new(pf).with_extension("ebuild")), [EBUILD, text].concat())?)
}

/// Starts a run, which must succeed.
fn succeeds(swarm: &Swarm) -> Result<RunId> {
    let run = swarm.start_run()?;
    let ended = swarm.run_to_its_end(run, RUN)?;
    let logs = || swarm.ctl(&["logs", "plan"]).unwrap_or_else(|error| format!("{error:#}"));
    ensure!(ended.state == RunState::Succeeded, "{ended:?}\n{}", logs());
    Ok(run)
}

/// The bases that a drone keeps, with the digest of names, modes, owners, sizes and links.
fn seals(swarm: &Swarm, drone: &str) -> Result<BTreeMap<PathBuf, String>> {
    let bases = swarm.path(drone).join("cache/bases");
    let sealed = |base: std::io::Result<fs::DirEntry>| -> Result<(PathBuf, String)> {
        let base = base?;
        let seal = fs::read_to_string(base.path().join("seal"))?;
        // The seal continues with the times, which differ between drones.
        Ok((base.file_name().into(), seal.split_once(' ').context("no seal")?.0.to_owned()))
    };
    fs::read_dir(bases)?.map(sealed).collect()
}

/// The version that the probe found where it was built.
fn probed(swarm: &Swarm, workstation: &Workstation) -> Result<String> {
    workstation.sync(&swarm.repository())?;
    let args = ["--oneshot", "--usepkgonly", "--getbinpkg", "app-misc/probe"];
    let (good, output) = workstation.emerge(&args)?;
    ensure!(good, "{output}");
    Ok(fs::read_to_string(workstation.path("usr/share/probe"))?)
}

/// The base, once nothing is being installed on it.
fn rests(swarm: &Swarm) -> Result<BaseView> {
    wait::until("the base follows", RUN, || {
        let base: BaseView = swarm.ask(&["base", "show", "gentoo"])?;
        Ok(base.following.is_none().then_some(base))
    })
}
