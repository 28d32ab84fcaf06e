//! The plan for a world in a base with a package database must be Portage's own: what `emerge --pretend
//! --emptytree` would merge there, and which dependencies the base already satisfies.

use crate::{
    lab::{Lab, packages, play},
    private::{BASE, within},
    stage3::over,
};
use std::{collections::BTreeSet, fs, path::Path, process::Command};
use swarm_common::wire::{
    drone::Work,
    plan::{PlanReport, PortagePackage},
};
use swarm_drone::builder::BuildEnd;

/// Ebuilds: a compiler built with itself and with a tool, a C library built with the compiler, `@system`, a
/// library with a newer sub-slot and one without, and a tool that requires a newer build tool than the base
/// has.
const EBUILDS: [(&str, &str); 10] = [
    ("dev-build/cc-1", "BDEPEND=\"dev-build/cc dev-build/tool\"\nRDEPEND=app-misc/libc"),
    ("app-misc/libc-1", "BDEPEND=dev-build/cc"),
    ("dev-build/tool-2", "BDEPEND=dev-build/cc\nRDEPEND=app-misc/libc"),
    ("app-misc/basebits-1", "BDEPEND=dev-build/cc\nRDEPEND=app-misc/libc"),
    ("app-misc/shell-2", "BDEPEND=\"dev-build/cc dev-build/tool\"\nRDEPEND=\"dev-libs/held:=\""),
    ("dev-libs/held-1", "SLOT=0/1\nBDEPEND=dev-build/cc"),
    ("dev-libs/moved-2", "SLOT=0/2\nBDEPEND=dev-build/cc"),
    ("dev-build/newer-1", "BDEPEND=\">=dev-build/tool-2\""),
    (
        "app-misc/user-1",
        "DEPEND=\"dev-libs/held:= dev-libs/moved:=\"\nRDEPEND=\"${DEPEND}\"\nBDEPEND=dev-build/newer",
    ),
    ("app-misc/other-1", "RDEPEND=dev-libs/held"),
];
/// What is installed in the base: package, slot, run-time dependencies.
const INSTALLED: [(&str, &str, &str); 8] = [
    ("dev-build/cc-1", "0", "app-misc/libc"),
    ("app-misc/libc-1", "0", ""),
    ("dev-build/tool-1", "0", "app-misc/libc"),
    ("app-misc/basebits-1", "0", "app-misc/libc"),
    ("app-misc/shell-1", "0", "dev-libs/held:0/1="),
    ("dev-libs/held-1", "0/1", ""),
    ("dev-libs/moved-1", "0/1", ""),
    ("app-misc/leftover-1", "0", "dev-libs/moved:0/1="),
];
const WORLD: &str = "app-misc/user\napp-misc/other\n";

fn install(base: &Path) {
    if base.join("var/db/pkg").exists() {
        fs::remove_dir_all(base.join("var/db/pkg")).unwrap(); // this machine's
    }
    for (cpv, slot, needs) in INSTALLED {
        let (entry, (category, pf)) = (base.join("var/db/pkg").join(cpv), cpv.split_once('/').unwrap());
        fs::create_dir_all(&entry).unwrap();
        for (key, value) in [
            ("EAPI", "8"),
            ("CATEGORY", category),
            ("PF", pf),
            ("SLOT", slot),
            ("RDEPEND", needs),
            ("KEYWORDS", "amd64"),
            ("LICENSE", "MIT"),
            ("USE", ""),
            ("IUSE", ""),
            ("DEFINED_PHASES", "-"),
            ("repository", "swarm-example"),
            ("BUILD_TIME", "1"),
            ("COUNTER", "1"),
            ("CONTENTS", ""),
        ] {
            fs::write(entry.join(key), format!("{value}\n")).unwrap();
        }
    }
}

/// What plain `emerge` would merge in the base with the lab's configuration, as on a real machine.
fn by_emerge(base: &Path, lab: &Lab) -> BTreeSet<String> {
    let put = |path: &str, text: &str| {
        fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
        fs::write(base.join(path), text).unwrap();
    };
    put("var/lib/portage/world", WORLD);
    crate::lab::copy(&lab.snapshot().join("repos/swarm-example"), &base.join("srv/tree"));
    crate::lab::copy(&lab.snapshot().join("etc/portage"), &base.join("etc/portage"));
    std::os::unix::fs::symlink("/srv/tree/profiles/example/amd64", base.join("etc/portage/make.profile"))
        .unwrap();
    let repositories = "[DEFAULT]\nmain-repo = swarm-example\n[swarm-example]\nlocation = /srv/tree\n";
    let mut emerge = Command::new("chroot");
    emerge.arg(base).args(["/usr/bin/emerge", "--pretend", "--quiet", "--color=n", "--emptytree", "--deep"]);
    emerge.args(["--update", "--newuse", "--with-bdeps=y", "@world"]).env_clear();
    for (name, value) in [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("PORTAGE_OVERRIDE_EPREFIX", ""),
        ("PORTAGE_CONFIGROOT", "/"),
        ("PORTAGE_REPOSITORIES", repositories),
    ] {
        emerge.env(name, value);
    }
    let ran = emerge.output().unwrap();
    let stdout = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&ran.stderr));
    let merged = stdout.lines().filter_map(|line| line.strip_prefix("[ebuild")?.split_once("] "));
    merged.map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).collect()
}

/// Whether the base satisfies this dependency; `None` if the plan has no such edge.
fn served(plan: &PlanReport, from: &str, to: &str) -> Option<bool> {
    let at = |cpv| packages(plan).position(|p| p.cpv.as_str() == cpv).and_then(|at| u32::try_from(at).ok());
    let (from, to) = (at(from)?, at(to)?);
    plan.edges.iter().find(|edge| (edge.from, edge.to) == (from, to)).map(|edge| edge.satisfied)
}

#[tokio::test]
async fn a_plan_in_a_base_is_portages_own_merge_list_and_what_the_base_has_serves() {
    let prepare = format!("{BASE}\nfor dir in /proc /dev; do mount --rbind $dir \"$base$dir\"; done");
    let name = "emptytree::a_plan_in_a_base_is_portages_own_merge_list_and_what_the_base_has_serves";
    within(name, &prepare, async |place| {
        let (base, lab) = (place.join("base"), Lab::new());
        install(&base);
        for (cpv, lines) in EBUILDS {
            let (category, pf) = cpv.split_once('/').unwrap();
            let text =
                format!("EAPI=8\nDESCRIPTION=x\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\n{lines}\n");
            lab.file(&format!("{category}/{}/{pf}.ebuild", pf.rsplit_once('-').unwrap().0), &text);
        }
        lab.file("profiles/example/amd64/packages", "*app-misc/basebits\n*app-misc/shell\n").world(WORLD);
        let (end, log, _) = play(over(&base, lab.context(Work::Plan))).await;
        let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
        assert_eq!((&plan.problems, &plan.cycles), (&vec![], &vec![]));

        let planned: BTreeSet<String> = packages(&plan).map(|p| p.cpv.to_string()).collect();
        assert_eq!(planned, by_emerge(&base, &lab));
        let all: BTreeSet<String> = EBUILDS.iter().map(|(cpv, _)| (*cpv).to_owned()).collect();
        assert_eq!(planned, all, "the newer tool is planned, and what only the base has is not");

        // The compiler, its tool and the C library need each other. Those in the base satisfy this.
        for (from, to) in [
            ("dev-build/cc-1", "dev-build/tool-2"),
            ("dev-build/tool-2", "dev-build/cc-1"),
            ("app-misc/libc-1", "dev-build/cc-1"),
            ("dev-build/cc-1", "app-misc/libc-1"),
            ("app-misc/user-1", "dev-libs/held-1"),
            ("app-misc/other-1", "dev-libs/held-1"),
        ] {
            assert_eq!(served(&plan, from, to), Some(true), "{from} -> {to}");
        }
        // Too old in the base, bound to another sub-slot, or not installed.
        for (from, to) in [
            ("dev-build/newer-1", "dev-build/tool-2"),
            ("app-misc/user-1", "dev-libs/moved-2"),
            ("app-misc/user-1", "dev-build/newer-1"),
        ] {
            assert_eq!(served(&plan, from, to), Some(false), "{from} -> {to}");
        }
        let in_base = |p: &&PortagePackage| p.in_base;
        let held: BTreeSet<&str> = packages(&plan).filter(in_base).map(|p| p.cpv.pn()).collect();
        assert_eq!(held, BTreeSet::from(["basebits", "cc", "held", "libc", "moved", "shell", "tool"]));
    })
    .await;
}
