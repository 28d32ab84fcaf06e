//! Builds in a live root, on a throw-away machine in a mount namespace.

use crate::{
    lab::{Lab, metadata, order, order_with, packages, play, target, with_use},
    private::{BASE, ENTER, within},
};
use std::{fs, path::Path};
use swarm_common::{digest::Digest, wire::drone::Work};
use swarm_drone::{
    builder::{BuildContext, BuildEnd},
    config::RootKind,
};

fn live(mut context: BuildContext) -> BuildContext {
    context.config.root_kind = RootKind::Live;
    context.config.live_changes_this_machine = true;
    context.config.portage_prefix = None;
    assert_eq!(context.config.check(), Ok(()));
    context
}

/// Builds a package. Returns its file and the log.
async fn built(context: BuildContext) -> (std::path::PathBuf, String) {
    let (end, log, _) = play(context).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    (files[0].clone(), log)
}

#[tokio::test]
async fn a_live_root_gets_the_plans_dependencies_and_keeps_its_own_configuration() {
    let own =
        "mkdir -p \"$base/etc/portage\"; echo 'CFLAGS=\"-no-such-flag\"' >\"$base/etc/portage/make.conf\"";
    let machine = format!("{BASE}\n{own}\n{ENTER}");
    let name = "live::a_live_root_gets_the_plans_dependencies_and_keeps_its_own_configuration";
    within(name, &machine, async |_| {
        assert!(Path::new("/usr/include/only-in-base.h").exists(), "this is not the test's own machine");
        let own = fs::read_to_string("/etc/portage/make.conf").unwrap();
        let lab = Lab::new();
        let of = |cpv, id| with_use(target(cpv, "1", id), &[], &["static-libs"]);

        let libbuf = order(vec![of("dev-libs/libbuf-1.2", 3)], vec![]);
        let (file, log) = built(live(lab.context(libbuf))).await;
        assert!(log.contains("live: installed on this machine: nothing; removed: nothing"), "{log}");
        let libbuf = lab.keep(&file, &of("dev-libs/libbuf-1.2", 3));
        let tally = order_with(vec![of("dev-libs/libtally-1.0", 1)], vec![], vec![libbuf]);
        let (file, log) = built(live(lab.context(tally))).await;
        assert_eq!(metadata(&file, "RDEPEND"), "dev-libs/libbuf:0/1=");
        let changed = "live: installed on this machine: dev-libs/libbuf-1.2; removed: nothing";
        assert!(log.contains(changed), "{log}");
        assert!(
            Path::new("/usr/include/buf.h").exists() && Path::new("/var/db/pkg/dev-libs/libbuf-1.2").exists()
        );
        assert!(!Path::new("/var/db/pkg/dev-libs/libtally-1.0").exists(), "the target is only packed");

        // The machine already has the library, but the next plan contains a newer version.
        let ebuild = lab.snapshot().join("repos/swarm-example/dev-libs/libbuf/libbuf-1.2.ebuild");
        let newer = fs::read_to_string(ebuild).unwrap().replace("0/1", "0/2");
        lab.file("dev-libs/libbuf/libbuf-1.3.ebuild", &newer);
        let next = |mut context: BuildContext| {
            context.assignment.snapshot = Digest::of(b"the next snapshot");
            live(context)
        };
        let libbuf = order(vec![of("dev-libs/libbuf-1.3", 1)], vec![]);
        let (file, _) = built(next(lab.context(libbuf))).await;
        let libbuf = lab.keep(&file, &of("dev-libs/libbuf-1.3", 1));
        let tally = order_with(vec![of("dev-libs/libtally-1.0", 2)], vec![], vec![libbuf]);
        let (file, log) = built(next(lab.context(tally))).await;
        assert_eq!(metadata(&file, "RDEPEND"), "dev-libs/libbuf:0/2=");
        let changed = "live: installed on this machine: dev-libs/libbuf-1.3; removed: dev-libs/libbuf-1.2";
        assert!(log.contains(changed), "{log}");

        let (end, log, _) = play(live(lab.context(Work::Plan))).await;
        let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
        assert!(
            packages(&plan).any(|p| p.cpv.as_str() == "dev-libs/libbuf-1.3"),
            "what is installed is planned"
        );
        assert_eq!(fs::read_to_string("/etc/portage/make.conf").unwrap(), own);
        assert!(!Path::new("/var/lib/portage/world").exists(), "nothing was added to the machine's world");
    })
    .await;
}
