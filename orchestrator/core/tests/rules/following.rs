//! Bases follow the tree: the packages of a base that a run built form its next generation, all or none of
//! them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by a panic")]

use crate::kit::{Kit, name, report};
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    wire::{
        admin::ProfileRequest,
        base::{Base, BaseGeneration, BaseRequest, Image},
        drone::*,
        plan::*,
    },
};
use swarm_core::{Command, Refusal, Reply, state::NamedBase, view};

const ADA: DroneId = DroneId(1);
const BOB: DroneId = DroneId(2);

/// A swarm with the profile `desk`, which builds in the base `gentoo`.
fn house() -> Kit {
    let mut kit = Kit::new(&["ada", "bob"]);
    put(&mut kit, "June");
    build_in(&mut kit, "desk", Some("gentoo"));
    kit
}

fn put(kit: &mut Kit, content: &str) {
    let image = Image {
        digest: Digest::of(content.as_bytes()),
        size: 1,
        unpacked_bytes: 1,
        entries: 1,
        machine: "x86_64".into(),
        has_portage: true,
        usr: Default::default(),
    };
    let request = BaseRequest { image: image.digest, source: content.into(), signed_by: None, follow: None };
    kit.must(Command::PutBase { name: name("gentoo"), image, request });
}

fn build_in(kit: &mut Kit, profile: &str, base: Option<&str>) {
    let old = kit.swarm.profiles[&name("desk")].request.clone();
    let request = ProfileRequest { base: base.map(name), ..old };
    kit.must(Command::PutProfile { name: name(profile), request });
}

/// A plan. The base contains the packages whose names are in `base`; `runtime` are run-time dependencies.
fn plan(packages: &[&str], base: &[&str], runtime: &[(u32, u32)]) -> PlanReport {
    let mut plan = report(packages, runtime);
    for package in plan.packages.iter_mut().filter_map(|package| package.portage_mut()) {
        package.in_base = base.contains(&package.cpv.pn());
    }
    for edge in &mut plan.edges {
        (edge.build, edge.runtime) = (false, true);
    }
    plan
}

/// Runs this plan to its end.
fn run_of(kit: &mut Kit, profile: &str, plan: PlanReport) -> RunId {
    let run = kit.plan_for(profile, plan);
    while !kit.swarm.runs[&run].state.is_over() {
        let got = kit.claim(ADA).unwrap();
        kit.deliver(ADA, &got).unwrap();
    }
    run
}

fn run(kit: &mut Kit, plan: PlanReport) -> RunId {
    run_of(kit, "desk", plan)
}

/// Claims work for `drone`, which must be making a base. Returns the attempt and the packages to install, in
/// order.
fn job(kit: &mut Kit, drone: DroneId) -> (AttemptId, Vec<String>) {
    let got = kit.claim(drone).unwrap();
    assert_eq!(got.work, Work::Base);
    let Base::Image { installed, .. } = got.base else { panic!("{:?}", got.base) };
    (got.attempt, installed.iter().map(|d| d.cpv.pf().to_owned()).collect())
}

fn made(kit: &mut Kit, drone: DroneId, attempt: AttemptId) -> Result<Reply, Refusal> {
    kit.send(Command::ReceiveBase { drone, attempt, usage: Usage::default() })
}

fn failed(kit: &mut Kit, attempt: AttemptId, class: FailureClass, message: &str) {
    let (cause, phase) = (None, Phase::Preparing);
    let failure = Failure { class, cause, phase, signature: message.into(), message: message.into() };
    kit.must(Command::ReportFailure { drone: ADA, attempt, failure, usage: Usage::default() });
}

fn gentoo(kit: &Kit) -> &NamedBase {
    &kit.swarm.bases[&name("gentoo")]
}

fn current(kit: &Kit) -> BaseGeneration {
    gentoo(kit).current().unwrap().clone()
}

fn concern(kit: &Kit) -> Option<(String, String)> {
    let concerns = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
    let mut base_concerns = concerns.into_iter().filter(|concern| concern.what.contains("base gentoo"));
    base_concerns.next().map(|concern| (concern.what, concern.next))
}

#[test]
fn what_a_run_built_of_its_base_is_installed_there_once_with_what_it_needs() {
    let mut kit = house();
    let first = run(&mut kit, plan(&["lib-2", "dep-1", "app-1"], &["lib"], &[(0, 1), (2, 0)]));
    let (attempt, installed) = job(&mut kit, ADA);
    assert_eq!(installed, ["dep-1", "lib-2"], "what it needs comes first, and app is none of the base's");
    assert_eq!(kit.claim(BOB), None, "one drone makes it");
    let following = view::status(&kit.swarm, kit.now, kit.now, "1", &[]).bases[0].following.clone().unwrap();
    assert_eq!((following.run, following.packages, following.drone), (first, 2, Some(name("ada"))));
    made(&mut kit, ADA, attempt).unwrap();
    made(&mut kit, ADA, attempt).unwrap();
    let generation = current(&kit);
    assert_eq!((generation.number, generation.run), (2, Some(first)));
    assert_eq!(generation.image.digest, Digest::of(b"June"));

    // The next run is built in it and finds nothing to change.
    let next = run(&mut kit, plan(&["lib-2", "dep-1", "app-2"], &["lib", "dep"], &[(0, 1), (2, 0)]));
    assert_eq!(kit.swarm.runs[&next].base, generation.base());
    assert_eq!((kit.claim(ADA), gentoo(&kit).following.is_none()), (None, true));

    // A newer version replaces the previous one, and the rest stays.
    run(&mut kit, plan(&["lib-3", "dep-1"], &["lib", "dep"], &[]));
    let (attempt, installed) = job(&mut kit, BOB);
    assert_eq!(installed, ["dep-1", "lib-3"]);
    made(&mut kit, BOB, attempt).unwrap();
    assert_eq!(current(&kit).number, 3);
}

#[test]
fn what_the_base_holds_identically_is_not_installed_for_a_build() {
    // `app` is built with `lib`, which needs `dep` at run time. Returns the packages installed for `app`.
    let installed = |kit: &mut Kit, lib: &str, app: &str| {
        let mut plan = plan(&[lib, "dep-1", app], &["lib", "dep"], &[(0, 1), (2, 0)]);
        plan.edges.iter_mut().filter(|edge| edge.from == 2).for_each(|edge| edge.build = true);
        let run = kit.plan_for("desk", plan);
        let mut found = None;
        while !kit.swarm.runs[&run].state.is_over() {
            let got = kit.claim(ADA).unwrap();
            let Work::Build(order) = &got.work else { panic!("{:?}", got.work) };
            if order.targets[0].portage().unwrap().cpv.pn() == "app" {
                found = Some(order.dependencies.iter().map(|d| d.cpv.pf().to_owned()).collect::<Vec<_>>());
            }
            kit.deliver(ADA, &got).unwrap();
        }
        found.unwrap()
    };
    let mut kit = house();
    assert_eq!(installed(&mut kit, "lib-1", "app-1"), ["dep-1", "lib-1"]);
    let (attempt, _) = job(&mut kit, ADA);
    made(&mut kit, ADA, attempt).unwrap();
    assert_eq!(installed(&mut kit, "lib-1", "app-2"), [""; 0]);
    assert_eq!(installed(&mut kit, "lib-2", "app-3"), ["lib-2"], "the base has an older one");
}

#[test]
fn what_could_not_be_built_stays_as_it_was_in_the_base() {
    let mut kit = house();
    let run = kit.plan(plan(&["lib-2", "tool-2", "dep-1"], &["lib", "tool"], &[(1, 2)]));
    while !kit.swarm.runs[&run].state.is_over() {
        kit.pass(60_000, &[ADA, BOB]);
        let Some(got) = kit.claim(ADA) else { continue };
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        match order.targets[0].portage().unwrap().cpv.pn() {
            "dep" => kit.fail(ADA, &got, FailureClass::Package, "dep.c:1: error"),
            _ => _ = kit.deliver(ADA, &got).unwrap(),
        }
    }
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    let (_, installed) = job(&mut kit, ADA);
    assert_eq!(installed, ["lib-2"], "tool-2 lacks what it needs at run time");
}

#[test]
fn nothing_follows_where_nothing_of_the_base_was_built_or_the_base_is_to_stay() {
    let mut kit = house();
    run(&mut kit, plan(&["app-1"], &[], &[]));
    assert_eq!(kit.claim(ADA), None);
    build_in(&mut kit, "desk", None);
    run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
    assert_eq!(kit.claim(ADA), None, "a drone's own / follows nothing");
    build_in(&mut kit, "desk", Some("gentoo"));
    kit.must(Command::FollowBase { name: name("gentoo"), follow: false });
    run(&mut kit, plan(&["lib-3"], &["lib"], &[]));
    assert_eq!(kit.claim(ADA), None);
    kit.must(Command::FollowBase { name: name("gentoo"), follow: true });
    assert_eq!(job(&mut kit, ADA).1, ["lib-3"], "what was left out is made up for");
}

#[test]
fn a_base_that_is_lost_three_times_is_given_up_and_tried_again_when_an_admin_says_so() {
    let mut kit = house();
    let run = run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
    for _ in 0..3 {
        assert_eq!(concern(&kit), None);
        job(&mut kit, ADA);
        kit.pass(kit.swarm.policy.offline_after_ms + 20_000, &[BOB]);
    }
    assert_eq!(kit.claim(BOB), None);
    let (what, next) = concern(&kit).unwrap();
    assert!(
        what.starts_with(&format!("base gentoo stays at generation 1: packages of {run} could")),
        "{what}"
    );
    assert!(what.contains("3 attempts failed, the last") && what.contains("was lost"), "{what}");
    assert_eq!(next, "`swarmctl base update gentoo --follow`");

    kit.must(Command::FollowBase { name: name("gentoo"), follow: true });
    assert_eq!(concern(&kit), None);
    let (attempt, installed) = job(&mut kit, BOB);
    assert_eq!(installed, ["lib-2"]);
    made(&mut kit, BOB, attempt).unwrap();
    assert_eq!(current(&kit).number, 2);
}

#[test]
fn the_result_of_a_lost_attempt_counts_as_long_as_nobody_else_delivers() {
    let mut kit = house();
    run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
    let (first, _) = job(&mut kit, ADA);
    kit.pass(kit.swarm.policy.offline_after_ms + 20_000, &[BOB]);
    let (second, _) = job(&mut kit, BOB);
    assert!(kit.heartbeat(ADA, &[first]).cancel.is_empty(), "it may go on");
    made(&mut kit, ADA, first).unwrap();
    assert_eq!(current(&kit).number, 2);
    assert!(matches!(made(&mut kit, BOB, second), Err(Refusal::StaleAttempt { .. })));
    assert_eq!(current(&kit).number, 2);
}

#[test]
fn a_base_that_fails_its_checks_is_given_up_at_once_and_made_again_only_of_something_else() {
    let mut kit = house();
    let first = run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
    let (attempt, _) = job(&mut kit, ADA);
    failed(&mut kit, attempt, FailureClass::Package, "gcc of the new base does not work: no ld");
    let (what, _) = concern(&kit).unwrap();
    assert!(
        what.contains(&first.to_string()) && what.contains("does not work: no ld; see `swarmctl logs"),
        "{what}"
    );
    assert_eq!((current(&kit).number, kit.strikes(ADA)), (1, 0));
    run(&mut kit, plan(&["lib-2", "app-1"], &["lib"], &[]));
    assert_eq!(kit.claim(ADA), None, "the same would fail again");
    run(&mut kit, plan(&["lib-3"], &["lib"], &[]));
    assert_eq!(job(&mut kit, ADA).1, ["lib-3"]);
    assert_eq!(concern(&kit), None);
}

#[test]
fn what_a_drone_lacks_is_tried_elsewhere_and_counts_against_it() {
    let mut kit = house();
    run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
    let (attempt, _) = job(&mut kit, ADA);
    failed(&mut kit, attempt, FailureClass::Drone, "no space left");
    assert_eq!(kit.strikes(ADA), 1);
    kit.pass(kit.swarm.policy.backoff_max_ms, &[ADA, BOB]);
    let (attempt, _) = job(&mut kit, BOB);
    made(&mut kit, BOB, attempt).unwrap();
    assert_eq!(current(&kit).number, 2);
}

#[test]
fn an_admins_word_ends_what_is_being_made_and_what_was_taken_back_is_not_made_again() {
    for admin in
        [Command::FollowBase { name: name("gentoo"), follow: false }, Command::RollBackBase(name("gentoo"))]
    {
        let mut kit = house();
        put(&mut kit, "July");
        run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
        let (attempt, _) = job(&mut kit, ADA);
        kit.must(admin);
        assert_eq!(kit.heartbeat(ADA, &[attempt]).cancel.len(), 1);
        assert!(matches!(made(&mut kit, ADA, attempt), Err(Refusal::StaleAttempt { .. })));
        assert_eq!(kit.claim(BOB), None);
    }
    let mut kit = house();
    run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
    let (attempt, _) = job(&mut kit, ADA);
    made(&mut kit, ADA, attempt).unwrap();
    kit.must(Command::RollBackBase(name("gentoo")));
    run(&mut kit, plan(&["lib-2", "app-1"], &["lib"], &[]));
    assert_eq!((kit.claim(ADA), current(&kit).number), (None, 1));
}

#[test]
fn two_profiles_of_a_base_do_not_take_turns() {
    let mut kit = house();
    build_in(&mut kit, "other", Some("gentoo"));
    run(&mut kit, plan(&["lib-2"], &["lib"], &[]));
    let (attempt, _) = job(&mut kit, ADA);
    made(&mut kit, ADA, attempt).unwrap();
    let mut other = plan(&["lib-2"], &["lib"], &[]);
    other.packages[0].portage_mut().unwrap().inputs = Digest::of(b"other flags");
    run_of(&mut kit, "other", other);
    assert_eq!(kit.claim(ADA), None);
    build_in(&mut kit, "desk", None);
    run_of(&mut kit, "other", plan(&["lib-4"], &["lib"], &[]));
    assert_eq!(job(&mut kit, ADA).1, ["lib-4"], "nobody else builds in it any more");
}

#[test]
fn a_base_from_before_there_was_this_follows() {
    let kit = house();
    let mut old = serde_json::to_value(gentoo(&kit)).unwrap();
    old.as_object_mut().unwrap().retain(|field, _| field == "generations" || field == "last_number");
    assert_eq!(serde_json::from_value::<NamedBase>(old).unwrap(), *gentoo(&kit));
}
