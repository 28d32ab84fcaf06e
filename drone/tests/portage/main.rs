//! The builder with a real Portage and the example repository.
//!
//! Portage is the one in `SWARM_PORTAGE` (the directory with `bin/emerge`), or is installed by
//! `scripts/portage`. A missing Portage is a failure, not a skip, because the builder would be untested.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by a panic")]

mod bundle;
mod confined;
mod emptytree;
mod fetching;
mod jobs;
mod keys;
mod lab;
mod lack;
mod live;
mod ordinary;
mod overlay;
mod plans;
mod private;
mod replaced;
mod stage3;
mod upstream;

use lab::{
    Lab, cancel_when, flags, metadata, order, order_with, package_dir, packages, play, target, with_use,
};
use std::{fs, path::Path};
use swarm_common::{
    digest::Digest,
    state::{FailureClass, Phase},
    wire::{
        base::Dependency,
        drone::Work,
        plan::{PlanReport, PlanStage, ProblemKind},
    },
};
use swarm_drone::builder::{BuildContext, BuildEnd};

#[tokio::test]
async fn a_library_is_built_and_then_its_dependant_against_it() {
    let lab = Lab::new();
    let libbuf = with_use(target("dev-libs/libbuf-1.2", "1", 3), &["static-libs"], &["static-libs"]);
    let (end, log, phases) = play(lab.context(order(vec![libbuf], vec![]))).await;
    let BuildEnd::Built { files, usage, .. } = end else { panic!("{end:?}\n{log}") };
    assert!(files[0].ends_with("packages/dev-libs/libbuf/libbuf-1.2-3.gpkg.tar"), "{files:?}");
    assert_eq!(metadata(&files[0], "BUILD_ID"), "3");
    assert!(flags(&files[0]).contains(&"static-libs".to_owned()));
    assert!(metadata(&files[0], "PROVIDES").contains("libbuf.so.1"));
    assert!(usage.cpu_ms > 100 && usage.wall_ms > 100 && usage.peak_memory_bytes > 1 << 20, "{usage:?}");
    assert!(phases.contains(&Phase::Building) && phases.last() == Some(&Phase::Packaging), "{phases:?}");
    let left: Vec<_> = fs::read_dir(package_dir(&files[0]).parent().unwrap()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "of the build root only the packages are left: {left:?}");

    let libbuf = lab.keep(&files[0], &target("dev-libs/libbuf-1.2", "1", 3));
    let tally = with_use(target("dev-libs/libtally-1.0", "1", 1), &[], &["static-libs"]);
    let (end, log, _) = play(lab.context(order_with(vec![tally], vec![], vec![libbuf]))).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    assert!(!flags(&files[0]).contains(&"static-libs".to_owned()));
    assert_eq!(metadata(&files[0], "RDEPEND"), "dev-libs/libbuf:0/1=");
    assert!(metadata(&files[0], "REQUIRES").contains("libbuf.so.1"));
    assert_eq!(
        log.matches(">>> Emerging").count(),
        1,
        "Portage is started once, for the target alone: {log}"
    );
    assert!(!Path::new("/usr/include/buf.h").exists() && !Path::new("/var/db/pkg").exists());
}

// fault: 35
#[tokio::test]
async fn a_dependency_that_cannot_be_had_is_named() {
    let lab = Lab::new();
    let libbuf = Dependency {
        cpv: "dev-libs/libbuf-1.2".parse().unwrap(),
        slot: "0".into(),
        build_id: 1,
        digest: Digest::of(b"nowhere"),
        uploaded_digest: Digest::of(b"nowhere"),
        size: 1,
    };
    let tally = with_use(target("dev-libs/libtally-1.0", "1", 1), &[], &["static-libs"]);
    let context = lab.context(order_with(vec![tally], vec![], vec![libbuf]));
    let attempt = context.attempt_dir.clone();
    let (end, log, _) = play(context).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(failure.class, FailureClass::Infra, "{failure:?}");
    assert!(failure.message.contains("dev-libs/libbuf-1.2"), "{failure:?}");
    assert!(!attempt.exists());
}

#[tokio::test]
async fn a_package_that_does_not_compile_fails_with_the_compilers_first_error() {
    let lab = Lab::new();
    lab.file(
        "app-misc/broken/broken-1.ebuild",
        "EAPI=8\ninherit small-c\nDESCRIPTION=\"x\"\nsrc_compile() { small-c_cc -o broken broken.c; }\n",
    );
    lab.file("app-misc/broken/files/broken.c", "int main(void) { return missing_name; }\n");
    let work = order(vec![target("app-misc/broken-1", "0", 1)], vec![]);
    let (end, log, _) = play(lab.context(work)).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(
        (failure.class, failure.phase),
        (FailureClass::Package, Phase::Building),
        "{failure:?}\n{log}"
    );
    assert!(
        failure.signature.contains("missing_name") && failure.signature.starts_with("broken.c:N:N: error:")
    );
    assert!(log.contains("failed (compile phase)"), "the whole log is streamed");
}

#[tokio::test]
async fn a_build_that_hangs_is_stopped_and_says_so() {
    let lab = Lab::new();
    lab.file(
        "app-misc/sleeper/sleeper-1.ebuild",
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\nsrc_compile() { echo zzz; sleep 1000; }\n",
    );
    let mut context = lab.context(order(vec![target("app-misc/sleeper-1", "0", 1)], vec![]));
    context.assignment.limits.silence_timeout_ms = 30_000;
    let (end, log, _) = play(context).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(failure.class, FailureClass::Timeout, "{failure:?}");
    assert!(failure.message.contains("zzz"), "{failure:?}");
}

#[tokio::test]
async fn cancelling_leaves_no_process_and_no_directory() {
    let lab = Lab::new();
    lab.file(
        "app-misc/daemon/daemon-1.ebuild",
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
         src_compile() { trap '' TERM; setsid -f sleep 4242; echo now-cancel-me; sleep 1000; }\n",
    );
    let context = lab.context(order(vec![target("app-misc/daemon-1", "0", 1)], vec![]));
    let attempt = context.attempt_dir.clone();
    assert_eq!(cancel_when(context, "now-cancel-me").await, BuildEnd::Cancelled);
    assert!(!attempt.exists());
    let marked = format!("SWARM_DRONE_DIR={}", lab.dir.path().join("work").display());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        let cmdline = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(
            !environ.split(|b| *b == 0).any(|e| e == marked.as_bytes()),
            "still there: {}",
            String::from_utf8_lossy(&cmdline)
        );
    }
}

// fault: 35
#[tokio::test]
async fn a_cycle_is_built_in_stages_and_each_member_ends_with_its_own_use() {
    cycle(&Lab::new(), |context| context).await;
}

/// Builds the example's dependency cycle in the kind of root that `as_wanted` configures.
async fn cycle(lab: &Lab, as_wanted: impl Fn(BuildContext) -> BuildContext) {
    let utf = target("dev-libs/libutf-0.9", "1", 1);
    let (end, log, _) = play(as_wanted(lab.context(order(vec![utf.clone()], vec![])))).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    let utf = lab.keep(&files[0], &utf);
    let targets = vec![
        with_use(target("media-libs/glyphkit-1.4", "1", 2), &["linefit"], &["linefit"]),
        with_use(target("media-libs/linefit-0.8", "1", 1), &["glyphkit"], &["glyphkit"]),
    ];
    let stage = |package, changes: &[&str]| PlanStage {
        package,
        use_changes: changes.iter().map(ToString::to_string).collect(),
    };
    let stages = vec![stage(0, &["-linefit"]), stage(1, &[]), stage(0, &[])];
    let (end, log, _) = play(as_wanted(lab.context(order_with(targets, stages, vec![utf])))).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    assert!(files[0].ends_with("media-libs/glyphkit/glyphkit-1.4-2.gpkg.tar"), "{files:?}");
    assert!(files[1].ends_with("media-libs/linefit/linefit-0.8-1.gpkg.tar"), "{files:?}");
    assert!(flags(&files[0]).contains(&"linefit".to_owned()));
    assert!(flags(&files[1]).contains(&"glyphkit".to_owned()));
    assert_eq!(metadata(&files[0], "BUILD_ID"), "2");
    assert!(metadata(&files[0], "REQUIRES").contains("liblinefit.so.1"));
}

/// Index of a version in a plan.
fn at(plan: &PlanReport, cpv: &str) -> u32 {
    let found = packages(plan).position(|p| p.cpv.as_str() == cpv);
    u32::try_from(found.unwrap_or_else(|| panic!("{cpv} is not in the plan"))).unwrap()
}

#[tokio::test]
async fn the_example_world_is_planned_whole_and_always_the_same() {
    let lab = Lab::new();
    let plan = lab.plan().await;
    assert_eq!(plan.problems, []);
    assert_eq!(plan.packages.len(), 25, "all but the other provider of the virtual");
    let (tally, buf) = (at(&plan, "dev-libs/libtally-1.0"), at(&plan, "dev-libs/libbuf-1.2"));
    let edge = plan.edges.iter().find(|e| (e.from, e.to) == (tally, buf)).unwrap();
    assert!(edge.build && edge.runtime && edge.slot_operator && !edge.satisfied, "{edge:?}");
    let (banner, embed) = (at(&plan, "app-text/banner-2.0"), at(&plan, "dev-build/embed-1.0"));
    let edge = plan.edges.iter().find(|e| (e.from, e.to) == (banner, embed)).unwrap();
    assert!(edge.build && !edge.runtime, "{edge:?}");
    assert_eq!(
        plan.packages[banner as usize].portage().unwrap().use_flags,
        ["banner_fonts_block", "banner_fonts_slim"]
    );
    assert_eq!(plan.packages[buf as usize].portage().unwrap().iuse, ["static-libs"]);
    // A package that never compiles is planned like any other.
    at(&plan, "app-misc/wontbuild-0.1");
    assert_eq!(plan.cycles.len(), 1);
    let cycle = &plan.cycles[0];
    assert_eq!(cycle.members.len(), 2);
    assert_eq!(cycle.stages.len(), 3);
    assert_eq!((cycle.stages[0].package, cycle.stages[2].use_changes.len()), (cycle.stages[2].package, 0));
    assert_eq!(cycle.stages[0].use_changes.len(), 1);
    // The plan depends neither on the drone nor on earlier plans.
    assert_eq!(Lab::new().plan().await, plan);
}

#[tokio::test]
async fn what_the_resolver_refuses_is_told_and_the_rest_is_planned() {
    let lab = Lab::new();
    lab.file(
        "app-misc/testing/testing-1.ebuild",
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=\"~amd64\"\nS=\"${WORKDIR}\"\n",
    );
    lab.file(
        "app-misc/wants/wants-1.ebuild",
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nRDEPEND=\"dev-libs/libgrid[static-libs]\"\nS=\"${WORKDIR}\"\n",
    );
    lab.world("app-misc/reckon\napp-misc/testing\n# a comment\napp-misc/wants\napp-misc/not-there\n");
    let plan = lab.plan().await;
    let kinds: Vec<_> = plan.problems.iter().map(|p| p.kind).collect();
    for (kind, atom, suggestion) in [
        (ProblemKind::Keyword, "app-misc/testing", Some("~amd64")),
        (ProblemKind::UseChange, "app-misc/wants", Some("static-libs")),
        (ProblemKind::Unsatisfied, "app-misc/not-there", None),
    ] {
        let found = plan.problems.iter().find(|p| p.kind == kind && p.atoms.iter().any(|a| a.contains(atom)));
        let problem = found.unwrap_or_else(|| panic!("{kind:?} {atom} is not in {:?}", plan.problems));
        assert!(!problem.message.is_empty());
        if let Some(text) = suggestion {
            assert!(problem.suggestion.as_deref().is_some_and(|s| s.contains(text)), "{problem:?}");
        }
    }
    assert_eq!(kinds.len(), 3, "{:?}", plan.problems);
    at(&plan, "app-misc/reckon-1.1");
    assert!(packages(&plan).all(|p| !["wants", "testing"].contains(&p.cpv.pn())));
}

#[tokio::test]
async fn a_snapshot_without_its_profile_is_not_blamed_on_the_drone() {
    let lab = Lab::new();
    fs::remove_dir_all(lab.snapshot().join("repos/swarm-example/profiles/example")).unwrap();
    let (end, _, _) = play(lab.context(Work::Plan)).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}") };
    assert_eq!(failure.class, FailureClass::Infra);
    assert!(
        failure.message.contains("no Portage profile repos/swarm-example/profiles/example/amd64"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_missing_portage_is_told_with_the_setting_to_change() {
    let lab = Lab::new();
    let mut context = lab.context(Work::Plan);
    context.config.portage_prefix = Some("/nonexistent".into());
    let (end, _, _) = play(context).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}") };
    assert_eq!(failure.class, FailureClass::Drone);
    assert!(failure.message.contains("portage_prefix"), "{failure:?}");
}
