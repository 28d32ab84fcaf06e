//! A library of a new version has another soname, and nothing in its slots or dependencies says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use anyhow::{Result, ensure};
use std::{fs, time::Duration};
use swarm_common::state::RunState;
use swarm_tests::e2e::{swarm::Swarm, workstation::Workstation};

const RUN: Duration = Duration::from_secs(600);

/// A program that prints the version of the library that it is linked to. It does not depend on its sub-slot.
const PROGRAM: &str = r#"EAPI=8
inherit small-c
DESCRIPTION="Prints the version of a library"
RDEPEND="dev-libs/shim"
DEPEND="${RDEPEND}"
src_compile() {
	echo '#include <shim.h>
#include <stdio.h>
int main(void) { printf("shim %d\n", shim()); }' >useshim.c || die
	small-c_cc -o useshim useshim.c -lshim
}
src_install() { dobin useshim; }
"#;

/// The library, whose soname ends with its version.
const LIBRARY: &str = r#"EAPI=8
inherit small-c
DESCRIPTION="A library"
src_compile() {
	echo "int shim(void);" >shim.h || die
	echo "int shim(void) { return ${PV}; }" >shim.c || die
	small-c_library shim "${PV}" shim.c
}
src_install() { small-c_install_library shim "${PV}" shim.h; }
"#;

fn ebuild(swarm: &Swarm, name: &str, text: &str) -> Result<()> {
    let file = swarm.repository().join(name);
    fs::create_dir_all(file.parent().unwrap())?;
    Ok(fs::write(file, text)?)
}

#[test]
fn a_program_is_never_published_beside_a_library_that_lost_its_soname() {
    lost_soname().unwrap();
}

fn lost_soname() -> Result<()> {
    let swarm = Swarm::start(&["ada"], &["app-misc/useshim"])?;
    ebuild(&swarm, "app-misc/useshim/useshim-1.ebuild", PROGRAM)?;
    ebuild(&swarm, "dev-libs/shim/shim-1.ebuild", LIBRARY)?;
    swarm.pin_anew()?;
    let run = swarm.start_run()?;
    ensure!(swarm.run_to_its_end(run, RUN)?.state == RunState::Succeeded);
    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    let prints = |expected: &str| -> Result<()> {
        workstation.sync(&swarm.repository())?;
        let install = ["--usepkg", "--usepkgonly", "--getbinpkg", "--update", "--deep", "app-misc/useshim"];
        let (good, output) = workstation.emerge(&install)?;
        ensure!(good, "{output}");
        let printed = workstation.run("useshim", &[])?;
        ensure!(printed.trim_end() == expected, "{printed}");
        Ok(())
    };
    prints("shim 1")?;

    // The program is reused, since none of its inputs changed. The new library would break it.
    ebuild(&swarm, "dev-libs/shim/shim-2.ebuild", LIBRARY)?;
    swarm.pin_anew()?;
    let run = swarm.start_run()?;
    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.state == RunState::Partial && ended.reused == 1, "{ended:?}");
    let why = swarm.ctl(&["why", "dev-libs/shim-2"])?;
    ensure!(why.contains("app-misc/useshim-1 needs libshim.so.1, which it no longer has"), "{why}");
    prints("shim 1")?;

    // The next run rebuilds the program, and both are published.
    let run = swarm.start_run()?;
    let ended = swarm.run_to_its_end(run, RUN)?;
    ensure!(ended.state == RunState::Succeeded && ended.reused == 1, "{ended:?}");
    prints("shim 2")
}
