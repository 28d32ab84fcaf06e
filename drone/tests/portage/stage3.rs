//! Builds in an overlay over a base root with its own system.

use crate::{
    cycle,
    lab::{Lab, metadata, order, order_with, play, target, with_use},
    private::{BASE, within},
};
use std::path::Path;
use swarm_common::{
    state::{FailureCause, FailureClass},
    wire::drone::Work,
};
use swarm_drone::builder::{BuildContext, BuildEnd};

/// Configures an overlay over `base`, which has its own Portage.
pub fn over(base: &Path, mut context: BuildContext) -> BuildContext {
    context.config.base_root = Some(base.into());
    context.config.portage_prefix = None;
    assert_eq!(context.config.check(), Ok(()));
    context
}

/// Prints what a build finds in its environment.
const LOOKER: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\nDEPEND=\"dev-libs/libbuf:=\"\n\
    src_compile() {\n\
    echo \"user $(id -u) sandbox ${SANDBOX_OF_THE_BASE} emerge $(command -v emerge) gtar $(command -v gtar)\"\n\
    printf '#include <only-in-base.h>\\n#include <buf.h>\\nint x = ONLY_IN_BASE;\\n' > x.c\n\
    cc -c x.c || die\n}\nsrc_install() { dodoc x.c; }\n";

#[tokio::test]
async fn everything_a_build_uses_is_the_bases_own() {
    within("stage3::everything_a_build_uses_is_the_bases_own", BASE, async |place| {
        let base = place.join("base");
        let host = ["/usr/bin/emerge", "/usr/bin/gtar", "/usr/bin/sandbox", "/usr/include/only-in-base.h"];
        let elsewhere = host.iter().filter(|path| !Path::new(path).exists()).count();
        assert!(elsewhere >= 3, "this machine has all of the base's own: nothing would be shown");
        let lab = Lab::new();
        lab.file("app-misc/looker/looker-1.ebuild", LOOKER);
        let libbuf = with_use(target("dev-libs/libbuf-1.2", "1", 3), &[], &["static-libs"]);
        let work = order(vec![libbuf.clone()], vec![]);
        let (end, log, _) = play(over(&base, lab.context(work))).await;
        let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
        assert!(!log.contains("NO_PUBKEY"), "{log}");

        let libbuf = lab.keep(&files[0], &libbuf);
        let work = order_with(vec![target("app-misc/looker-1", "0", 1)], vec![], vec![libbuf]);
        let context = over(&base, lab.context(work));
        let attempt = context.attempt_dir.clone();
        let (end, log, _) = play(context).await;
        let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
        let found = "user 250 sandbox 1 emerge /usr/bin/emerge gtar /usr/bin/gtar";
        assert!(log.contains(found), "{log}");
        assert_eq!(metadata(&files[0], "DEPEND"), "dev-libs/libbuf:0/1=");
        assert!(!base.join("usr/include/buf.h").exists() && !base.join("var/db/pkg").exists());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&*attempt.to_string_lossy()), "{mounts}");

        let (end, log, _) = play(over(&base, lab.context(Work::Plan))).await;
        let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
        assert_eq!(plan.packages.len(), 26 - 1);

        cycle(&lab, |context| over(&base, context)).await;
    })
    .await;
}

#[tokio::test]
async fn a_base_whose_libc_is_newer_than_the_planned_one_is_a_problem_of_the_plan() {
    let name = "stage3::a_base_whose_libc_is_newer_than_the_planned_one_is_a_problem_of_the_plan";
    let installed = format!(
        "{BASE}\nat=\"$base/var/db/pkg/sys-libs/glibc-2.42-r1\" && mkdir -p \"$at\"\n\
         echo 8 >\"$at/EAPI\"; echo 2.2 >\"$at/SLOT\"; echo swarm-example >\"$at/repository\"; touch \"$at/CONTENTS\"\n"
    );
    within(name, &installed, async |place| {
        for (planned, newer) in [("2.41-r4", true), ("2.42-r1", false), ("2.43", false)] {
            let lab = Lab::new();
            let text = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=2.2\nKEYWORDS=amd64\n";
            lab.category("sys-libs");
            lab.file(&format!("sys-libs/glibc/glibc-{planned}.ebuild"), text).world("sys-libs/glibc\n");
            let (end, log, _) = play(over(&place.join("base"), lab.context(Work::Plan))).await;
            let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
            let problem = plan.problems.iter().find(|problem| problem.atoms == ["sys-libs/glibc"]);
            let message = format!(
                "the base has sys-libs/glibc-2.42-r1, newer than the planned sys-libs/glibc-{planned}"
            );
            let is_explained = problem.is_some_and(|problem| problem.message.starts_with(&message));
            assert_eq!((problem.is_some(), is_explained), (newer, newer), "{planned}: {:?}", plan.problems);
        }
    })
    .await;
}

#[tokio::test]
async fn a_base_without_a_compiler_is_the_drones_lack_and_named() {
    let bare = format!(
        "{BASE}\nfor name in cc gcc c99 x86_64-linux-gnu-gcc; do rm -f \"$base\"/usr/bin/$name \"$base\"/usr/bin/$name-[0-9]*; done"
    );
    within("stage3::a_base_without_a_compiler_is_the_drones_lack_and_named", &bare, async |place| {
        let lab = Lab::new();
        let libbuf = with_use(target("dev-libs/libbuf-1.2", "1", 1), &[], &["static-libs"]);
        for (work, tool) in [(order(vec![libbuf], vec![]), "cc"), (Work::Plan, "compiler")] {
            let (end, log, _) = play(over(&place.join("base"), lab.context(work))).await;
            let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
            let kind = (failure.class, failure.cause);
            assert_eq!(
                kind,
                (FailureClass::Drone, Some(FailureCause::MissingToolchain)),
                "{failure:?}\n{log}"
            );
            assert_eq!(failure.signature, format!("missing toolchain: the drone has no working {tool}"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_root_that_the_base_cannot_finish_is_no_program_that_cannot_be_run() {
    let bare = format!("{BASE}\nrm -f \"$base\"/usr/bin/env-update \"$base\"/usr/sbin/env-update");
    let name = "stage3::a_root_that_the_base_cannot_finish_is_no_program_that_cannot_be_run";
    within(name, &bare, async |place| {
        let lab = Lab::new();
        let ebuild = |rest: &str| {
            format!("EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\n{rest}\n")
        };
        let paths = ebuild("src_install() { echo PARTS=/usr/parts > 50parts; doenvd 50parts; }");
        lab.file("app-misc/paths/paths-1.ebuild", &paths);
        lab.file("app-misc/user/user-1.ebuild", &ebuild("DEPEND=app-misc/paths"));
        let paths = target("app-misc/paths-1", "0", 1);
        let (end, log, _) =
            play(over(&place.join("base"), lab.context(order(vec![paths.clone()], vec![])))).await;
        let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
        let user =
            order_with(vec![target("app-misc/user-1", "0", 1)], vec![], vec![lab.keep(&files[0], &paths)]);
        let (end, log, _) = play(over(&place.join("base"), lab.context(user))).await;
        let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
        let lines: Vec<&str> = failure.message.lines().collect();
        assert_eq!(
            (failure.class, lines[0]),
            (FailureClass::Drone, "the build root cannot be made"),
            "{log}"
        );
        assert!(lines.last().unwrap().contains("env-update failed in the base"), "{failure:?}");
    })
    .await;
}
