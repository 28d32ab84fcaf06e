//! Builds in an overlay over this machine's root; they take root.

use crate::lab::{Binhost, Lab, cancel_when, metadata, order, package_dir, play, target, with_use};
use std::path::Path;
use swarm_common::{state::FailureClass, wire::drone::Work};
use swarm_drone::{
    builder::{BuildContext, BuildEnd},
    buildroot::RootKind,
};

fn overlay(mut context: BuildContext, base: &str) -> BuildContext {
    context.config.root_kind = RootKind::Overlay;
    context.config.base_root = Some(base.into());
    assert_eq!(context.config.check(), Ok(()));
    context
}

#[tokio::test]
async fn an_overlay_builds_against_a_dependency_and_leaves_the_base_as_it_was() {
    let lab = Lab::new();
    let there = ["/var/db/pkg", "/usr/include/buf.h", "/share"].map(|p| Path::new(p).exists());
    let libbuf = with_use(target("dev-libs/libbuf-1.2", "1", 3), &[], &["static-libs"]);
    let context = overlay(lab.context(order(vec![libbuf], vec![]), "http://127.0.0.1:9"), "/");
    let (end, log, _) = play(context).await;
    if !rustix::process::geteuid().is_root() {
        let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
        assert_eq!(failure.class, FailureClass::Drone, "{failure:?}");
        assert!(failure.message.contains("root_kind"), "{failure:?}");
        return;
    }
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    let binhost = Binhost::serve(package_dir(&files[0])).await;
    let tally = with_use(target("dev-libs/libtally-1.0", "1", 1), &[], &["static-libs"]);
    let context = overlay(lab.context(order(vec![tally], vec![]), &binhost.url()), "/");
    let attempt = context.attempt_dir.clone();
    let (end, log, _) = play(context).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(metadata(&files[0], "RDEPEND"), "dev-libs/libbuf:0/1=");
    assert!(metadata(&files[0], "REQUIRES").contains("libbuf.so.1"));
    // Of any root but `/`, Portage adds which one it is.
    assert!(log.contains("Installing (1 of 1) dev-libs/libbuf-1.2::swarm-example\n"), "{log}");
    let after = ["/var/db/pkg", "/usr/include/buf.h", "/share"].map(|p| Path::new(p).exists());
    assert_eq!(after, there, "the base root was changed");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*attempt.to_string_lossy()), "{mounts}");
    let context = overlay(lab.context(Work::Plan, "http://127.0.0.1:9"), "/");
    let (end, log, _) = play(context).await;
    let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(plan, lab.plan().await, "a plan does not depend on the kind of root");
}

#[tokio::test]
async fn a_base_root_that_is_not_there_is_the_drones_failure() {
    let lab = Lab::new();
    let work = order(vec![target("dev-libs/libbuf-1.2", "1", 1)], vec![]);
    let (end, _, _) = play(overlay(lab.context(work, "http://127.0.0.1:9"), "/nonexistent")).await;
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
    let context = overlay(lab.context(work, "http://127.0.0.1:9"), "/");
    let attempt = context.attempt_dir.clone();
    assert_eq!(cancel_when(context, "now-cancel-me").await, BuildEnd::Cancelled);
    assert!(!attempt.exists());
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let mounts = std::fs::read_to_string(process.path().join("mounts")).unwrap_or_default();
        assert!(!mounts.contains(&*attempt.to_string_lossy()), "{:?} still has the overlay", process.path());
    }
}
