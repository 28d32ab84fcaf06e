//! What build roots leave behind, and how artifacts with install scripts are installed.

use crate::lab::{Lab, cancel_when, metadata, order, order_with, owner, play, target, with_use};
use std::{os::unix::fs::MetadataExt as _, path::Path};
use swarm_common::state::FailureClass;
use swarm_drone::builder::BuildEnd;

/// A package whose `pkg_postinst` the test fills in.
const ACTS: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
    src_install() { exeinto /usr/bin; printf '#!/bin/sh\\necho acted\\n' >acts.real; doexe acts.real; }\n\
    pkg_postinst() { WHAT_IT_DOES; }\n";
/// A package built with `app-misc/acts`.
const USES: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\nBDEPEND=\"app-misc/acts\"\n\
    src_compile() { acts.real >said || die; [ -e /var/db/pkg/app-misc/acts-1/CONTENTS ] || die; [ ! -e /var/lib/acts ] || cat /var/lib/acts; }\n\
    src_install() { dodoc said; }\n";

#[tokio::test]
async fn what_acts_when_it_is_installed_is_merged_once_and_stacked_if_nothing_else_changed() {
    // A change of an owned file, and a file that no package owns.
    for (does, stacked) in [
        ("chmod 750 \"${EROOT}\"/usr/bin/acts.real", true),
        ("echo foreign >\"${EROOT}\"/var/lib/acts", false),
    ] {
        let lab = Lab::new();
        lab.file("app-misc/acts/acts-1.ebuild", &ACTS.replace("WHAT_IT_DOES", does));
        lab.file("app-misc/uses/uses-1.ebuild", USES);
        let acts = target("app-misc/acts-1", "0", 1);
        let (end, log, _) = play(lab.context(order(vec![acts.clone()], vec![]))).await;
        let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
        let acts = lab.keep(&files[0], &acts);
        for time in 0..2 {
            let work = order_with(vec![target("app-misc/uses-1", "0", 1)], vec![], vec![acts.clone()]);
            let (end, log, _) = play(lab.context(work)).await;
            let BuildEnd::Built { .. } = end else { panic!("{end:?}\n{log}") };
            let merged = log.matches(">>> Installing (1 of 1) app-misc/acts-1").count();
            let expected = match (stacked, time) {
                (true, 0) => 1,
                (true, _) => 0,
                // Once to try it and once in the build root; afterwards only in the root.
                (false, 0) => 2,
                (false, _) => 1,
            };
            assert_eq!(merged, expected, "{does}, build {time}: {log}");
            assert_eq!(log.contains("foreign"), !stacked, "{log}");
        }
        assert!(!Path::new("/usr/bin/acts.real").exists() && !Path::new("/var/lib/acts").exists());
    }
}

/// A user and a group as `acct-user.eclass` makes them. The test fills in `NAME` and `ID`.
const ACCOUNT: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
    src_install() { insinto /usr/lib/sysusers.d; echo 'u NAME ID' >NAME.conf; doins NAME.conf; }\n\
    pkg_preinst() { groupadd -r -g ID NAME && useradd -r -M -u ID -g ID -d /dev/null -s /bin/false NAME || die; }\n";
const BOTH: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
    BDEPEND=\"acct-user/ann acct-user/bea\"\n\
    src_compile() {\n\
    for name in ann bea; do echo \"USER $(id $name) $(getent shadow $name | cut -d: -f1,2)\"; done\n\
    for file in passwd group shadow; do\n\
    awk -F: -v file=$file 'seen[$1]++ { print \"TWICE\", file, $1 } NF != fields { if (fields) print \"WRONG\", file, $0; fields = NF }' /etc/$file\n\
    echo \"LINES $file $(wc -l </etc/$file) $(stat -c %a:%u:%g /etc/$file)\"; done; }\n\
    src_install() { touch owned; insinto /usr/share; doins owned; fowners ann:bea /usr/share/owned; }\n";

#[tokio::test]
async fn the_users_of_two_dependencies_are_both_in_the_root_beside_its_own() {
    let lab = Lab::new();
    lab.category("acct-user");
    let mut accounts = Vec::new();
    for (name, id) in [("ann", "64911"), ("bea", "64912")] {
        let text = ACCOUNT.replace("NAME", name).replace("ID", id);
        lab.file(&format!("acct-user/{name}/{name}-0.ebuild"), &text);
        let account = target(&format!("acct-user/{name}-0"), "0", 1);
        let (end, log, _) = play(lab.context(order(vec![account.clone()], vec![]))).await;
        let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
        accounts.push(lab.keep(&files[0], &account));
    }
    lab.file("app-misc/both/both-1.ebuild", BOTH);
    let own = |file: &str| std::fs::read_to_string(file).unwrap().lines().count();
    let before = ["/etc/passwd", "/etc/group", "/etc/shadow"].map(own);
    for time in 0..2 {
        let work = order_with(vec![target("app-misc/both-1", "0", 1)], vec![], accounts.clone());
        let (end, log, _) = play(lab.context(work)).await;
        let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
        for (name, id) in [("ann", "64911"), ("bea", "64912")] {
            let line = format!("USER uid={id}({name}) gid={id}({name}) groups={id}({name}) {name}:!");
            assert!(log.contains(&line), "build {time}: no {line} in {log}");
        }
        assert!(!log.contains("TWICE") && !log.contains("WRONG"), "{log}");
        for (file, before) in ["passwd", "group", "shadow"].iter().zip(before) {
            let stat = std::fs::metadata(format!("/etc/{file}")).unwrap();
            let (mode, uid, gid) = (stat.mode() & 0o7777, stat.uid(), stat.gid());
            let line = format!("LINES {file} {} {mode:o}:{uid}:{gid}", before + 2);
            assert!(log.contains(&line), "build {time}: no {line} in {log}");
        }
        assert_eq!(owner(&files[0], "usr/share/owned"), Some(("ann".to_owned(), "bea".to_owned())));
    }
    assert_eq!(["/etc/passwd", "/etc/group", "/etc/shadow"].map(own), before, "this machine was changed");
}

#[tokio::test]
async fn a_library_is_unpacked_without_portage_and_bound_to_as_if_merged() {
    let lab = Lab::new();
    let there = ["/var/db/pkg", "/usr/include/buf.h", "/share"].map(|p| Path::new(p).exists());
    let libbuf = with_use(target("dev-libs/libbuf-1.2", "1", 3), &[], &["static-libs"]);
    let (end, log, _) = play(lab.context(order(vec![libbuf.clone()], vec![]))).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    let libbuf = lab.keep(&files[0], &libbuf);
    let tally = with_use(target("dev-libs/libtally-1.0", "1", 1), &[], &["static-libs"]);
    let context = lab.context(order_with(vec![tally], vec![], vec![libbuf]));
    let attempt = context.attempt_dir.clone();
    let (end, log, _) = play(context).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(metadata(&files[0], "RDEPEND"), "dev-libs/libbuf:0/1=");
    assert!(metadata(&files[0], "REQUIRES").contains("libbuf.so.1"));
    assert!(!log.contains(">>> Installing"), "{log}");
    let after = ["/var/db/pkg", "/usr/include/buf.h", "/share"].map(|p| Path::new(p).exists());
    assert_eq!(after, there, "this machine was changed");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*attempt.to_string_lossy()), "{mounts}");
}

#[tokio::test]
async fn a_build_sees_neither_the_drones_secrets_nor_a_cache_that_it_could_change() {
    let lab = Lab::new();
    let state = lab.dir.path().join("state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("credential"), "secret").unwrap();
    std::fs::create_dir_all(lab.dir.path().join("cache/distfiles")).unwrap();
    let looks = format!(
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\n\
         src_compile() {{\n\
         for at in {lab} /root /home; do find $at -mindepth 1 -name 'credential' -o -mindepth 1 -name '.ssh' | sed 's|^|SEEN |'; done\n\
         for at in /var/db/repos /var/db/repos/swarm-example /var/cache/swarm/snapshot /var/cache/swarm/distfiles /var/cache/swarm/metadata /var/cache/swarm/artifacts; do\n\
         touch $at/written 2>/dev/null && echo \"WRITTEN $at\"; done; echo looked; true; }}\n",
        lab = lab.dir.path().display()
    );
    lab.file("app-misc/looks/looks-1.ebuild", &looks);
    let (end, log, _) = play(lab.context(order(vec![target("app-misc/looks-1", "0", 1)], vec![]))).await;
    let BuildEnd::Built { .. } = end else { panic!("{end:?}\n{log}") };
    assert!(log.contains("looked") && !log.contains("SEEN") && !log.contains("WRITTEN"), "{log}");
}

#[tokio::test]
async fn a_snapshot_in_layers_is_built_from_as_if_it_were_one_directory_and_cannot_be_written() {
    let lab = Lab::new();
    let at = |path: &str| lab.dir.path().join("upper/repos/swarm-example").join(path);
    let looks = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
         src_compile() {\n\
         for at in /var/db/repos /var/cache/swarm/snapshot/repos; do\n\
         [ -e $at/swarm-example/dev-libs/libbuf ] || echo \"WITHOUT $at\"\n\
         [ -e $at/swarm-example/dev-libs/libtally ] && echo \"GONE $at\"\n\
         touch $at/swarm-example/written 2>/dev/null && echo \"WRITTEN $at\"; done; echo newer; }\n";
    lab.file("app-misc/looks/looks-1.ebuild", &looks.replace("newer", "older"));
    std::fs::create_dir_all(at("app-misc/looks")).unwrap();
    std::fs::create_dir_all(at("dev-libs")).unwrap();
    std::fs::write(at("app-misc/looks/looks-1.ebuild"), looks).unwrap();
    let (kind, none) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
    rustix::fs::mknodat(rustix::fs::CWD, at("dev-libs/libtally"), kind, none, 0).unwrap();
    let mut context = lab.context(order(vec![target("app-misc/looks-1", "0", 1)], vec![]));
    let own = lab.dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::rename(lab.snapshot().join("etc"), own.join("etc")).unwrap();
    std::fs::rename(lab.snapshot().join("snapshot.json"), own.join("snapshot.json")).unwrap();
    context.snapshot = own;
    context.snapshot_layers = vec![lab.snapshot(), lab.dir.path().join("upper")];
    let (end, log, _) = play(context).await;
    let BuildEnd::Built { .. } = end else { panic!("{end:?}\n{log}") };
    assert!(log.contains("newer") && !log.contains("older"), "{log}");
    assert!(!log.contains("WITHOUT") && !log.contains("GONE") && !log.contains("WRITTEN"), "{log}");
}

#[tokio::test]
async fn a_base_root_that_is_not_there_is_the_drones_failure() {
    let lab = Lab::new();
    let mut context = lab.context(order(vec![target("dev-libs/libbuf-1.2", "1", 1)], vec![]));
    context.config.base_root = Some("/nonexistent".into());
    let (end, _, _) = play(context).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}") };
    assert_eq!(failure.class, FailureClass::Drone, "{failure:?}");
}

#[tokio::test]
async fn cancelling_in_an_overlay_leaves_no_process_and_so_no_mount() {
    let root = rustix::process::geteuid().is_root();
    assert!(root, "an overlay can only be mounted by root: run the tests as root");
    let lab = Lab::new();
    lab.file(
        "app-misc/daemon/daemon-1.ebuild",
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
         src_compile() { trap '' TERM; setsid -f sleep 4242; echo now-cancel-me; sleep 1000; }\n",
    );
    let work = order(vec![target("app-misc/daemon-1", "0", 1)], vec![]);
    let context = lab.context(work);
    let attempt = context.attempt_dir.clone();
    assert_eq!(cancel_when(context, "now-cancel-me").await, BuildEnd::Cancelled);
    assert!(!attempt.exists());
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let mounts = std::fs::read_to_string(process.path().join("mounts")).unwrap_or_default();
        assert!(!mounts.contains(&*attempt.to_string_lossy()), "{:?} still has the overlay", process.path());
    }
}
