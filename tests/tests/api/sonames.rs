//! A package that was linked with libraries that are missing at run time is refused.

use std::collections::BTreeSet;
use swarm_common::{
    digest::Digest,
    state::*,
    wire::{
        drone::Outcome,
        plan::{PlanEdge, PlanReport, PortagePackage},
    },
};
use swarm_tests::api::{FakeDrone, Swarm, package_with, pebble, plan_of};

/// REQUIRES, RDEPEND and QA_PREBUILT of the program that is built last.
type Program<'a> = (&'a str, &'a str, &'a str);

fn planned(cpv: &str, inputs: &str) -> PortagePackage {
    let inputs = Digest::of(format!("{cpv} {inputs}").as_bytes());
    let (cpv, subslot) = (cpv.parse().unwrap(), "0".to_owned());
    PortagePackage { cpv, subslot, use_flags: vec![], iuse: vec![], inputs, ..pebble() }
}

fn edge(from: u32, to: u32, runtime: bool) -> PlanEdge {
    PlanEdge { from, to, build: true, runtime, slot_operator: false, satisfied: false }
}

/// A program built with `foo` and `bar` that needs `foo` at run time, which in turn needs `deep`.
fn plan(program: &Program<'_>, base: &str) -> PlanReport {
    let names = ["app-misc/tool-1.0", "dev-libs/foo-1.0", "dev-libs/bar-2.0", "dev-libs/deep-3.0"];
    let packages: Vec<PortagePackage> =
        names.into_iter().map(|cpv| planned(cpv, &format!("{program:?} {base}"))).collect();
    let mut plan = plan_of(&packages);
    plan.edges = vec![edge(0, 1, true), edge(0, 2, false), edge(1, 3, true)];
    let sonames: BTreeSet<String> = base.split_whitespace().map(str::to_owned).collect();
    let provides = [("x86_64".to_owned(), sonames)].into_iter().filter(|(_, sonames)| !sonames.is_empty());
    plan.base_provides = Box::new(provides.collect());
    plan
}

/// Runs the plan. Returns why the program is quarantined; `None` if it is not.
async fn built(program: Program<'_>, base: &str) -> Option<String> {
    let swarm = Swarm::start().await.unwrap();
    let drone: FakeDrone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    drone.bring_plan(plan(&program, base)).await.unwrap();
    let (requires, rdepend, prebuilt) = program;
    while !swarm.admin.run(run).await.unwrap().state.is_over() {
        let (attempt, order) = drone.build_order().await.unwrap();
        let target = &order.targets[0];
        let own = format!("usr/lib64/{}", target.portage().unwrap().cpv.pn());
        let provides = format!(
            "x86_64: lib{}.so.{}",
            target.portage().unwrap().cpv.pn(),
            &target.portage().unwrap().cpv.version()[..1]
        );
        let more = match target.portage().unwrap().cpv.pn() {
            "tool" => vec![("REQUIRES", requires), ("RDEPEND", rdepend), ("QA_PREBUILT", prebuilt)],
            _ => vec![("PROVIDES", provides.as_str()), ("REQUIRES", "x86_64: libc.so.6")],
        };
        let bytes = package_with(target, &[&own], &more);
        let artifacts = vec![drone.upload_bytes(attempt, target, bytes).await.unwrap()];
        drone.report(attempt, Outcome::Built { artifacts }).await.unwrap();
    }
    let view = swarm.admin.why("tool", None).await.unwrap().package;
    if view.state == PackageState::Received {
        return None;
    }
    let failure = view.attempts.last().unwrap().failure.clone().unwrap();
    assert_eq!((failure.cause, failure.class), (Some(FailureCause::SonameMissing), FailureClass::Package));
    assert_eq!(view.state, PackageState::Quarantined);
    let drones = swarm.admin.drones().await.unwrap();
    assert!(drones.iter().all(|drone| drone.strikes == 0), "{drones:?}");
    Some(failure.message)
}

#[tokio::test]
async fn a_library_of_the_base_or_of_what_is_needed_at_run_time_is_there() {
    let requires = "x86_64: libc.so.6 libdeep.so.3 libfoo.so.1";
    assert_eq!(built((requires, "dev-libs/foo", ""), "libc.so.6").await, None);
}

#[tokio::test]
async fn one_of_the_build_alone_is_refused_with_its_package() {
    let reason = built(("x86_64: libbar.so.2 libc.so.6", "dev-libs/foo", ""), "libc.so.6").await.unwrap();
    assert_eq!(
        reason,
        "app-misc/tool-1.0 is linked with libbar.so.2 of dev-libs/bar-2.0, which neither the base nor its \
         run-time dependencies (RDEPEND) provide"
    );
    // A dependency for which the plan has no edge, because the base has it in another version.
    assert_eq!(built(("x86_64: libbar.so.2", "|| ( >=dev-libs/bar-2:0= )", ""), "libc.so.6").await, None);
}

#[tokio::test]
async fn one_of_nobody_is_refused_but_for_prebuilt_programs_and_unknown_bases() {
    let stray = "x86_64: libstray.so.9 x86_32: libc.so.6";
    let reason = built((stray, "dev-libs/foo", ""), "libc.so.6").await.unwrap();
    assert!(reason.contains("libc.so.6, libstray.so.9, which neither"), "{reason}");
    assert_eq!(built((stray, "dev-libs/foo", "opt/tool/*"), "libc.so.6").await, None);
    for unknown in ["", "libmade-by-the-farm.so.1"] {
        assert_eq!(built((stray, "dev-libs/foo", ""), unknown).await, None);
    }
}
