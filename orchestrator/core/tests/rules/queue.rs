//! A package's way through the queue, and all ways in which its result can arrive.

use crate::kit::{Kit, artifacts, name, package_of, report};
use swarm_common::{
    id::*,
    state::*,
    wire::{drone::*, plan::PlanEdge},
};
use swarm_core::{Command, Refusal, Reply};

#[test]
fn packages_are_handed_out_in_dependency_order_and_the_run_succeeds() {
    let mut kit = Kit::new(&["a"]);
    let a = DroneId(1);
    let run = kit.run(&["top-1", "mid-1", "base-1"], &[(0, 1), (1, 2)]);
    for expected in [3, 2, 1] {
        let got = kit.claim(a).unwrap();
        assert_eq!(package_of(&got), PackageId(expected));
        kit.deliver(a, &got).unwrap();
    }
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
    assert_eq!(kit.claim_reply(a, "k").reason.unwrap(), "no run is under way");
}

#[test]
fn a_repeated_claim_gets_the_same_attempt() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1", "y-1"], &[]);
    let first = kit.claim_reply(DroneId(1), "same");
    assert_eq!(first, kit.claim_reply(DroneId(1), "same"));
    assert!(first.assignment.is_some());
    let other = kit.claim_reply(DroneId(1), "other");
    assert!(other.reason.unwrap().contains("already"));
}

#[test]
fn a_repeated_report_gets_the_same_answer_and_counts_once() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    let first = kit.deliver(DroneId(1), &got).unwrap();
    let seq = kit.swarm.seq;
    assert_eq!(kit.deliver(DroneId(1), &got).unwrap(), first);
    assert_eq!(kit.swarm.seq, seq);
}

#[test]
fn a_drone_that_names_anothers_attempt_is_refused() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    let refusal = kit.deliver(DroneId(2), &got).unwrap_err();
    assert_eq!(refusal, Refusal::NotYours { attempt: got.attempt, drone: DroneId(2) });
    assert_eq!(kit.heartbeat(DroneId(2), &[got.attempt]).cancel.len(), 1);
}

// fault: 1
#[test]
fn a_silent_drones_work_goes_to_another_and_the_late_result_is_stale() {
    let mut kit = Kit::new(&["a", "b"]);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1"], &[]);
    let lost = kit.claim(a).unwrap();
    kit.pass(170_000, &[b]);
    assert_eq!((kit.drone_state(a), kit.state(1)), (DroneState::Offline, PackageState::Needed));
    let again = kit.claim(b).unwrap();
    assert!(again.attempt > lost.attempt);
    kit.deliver(b, &again).unwrap();
    let refusal = kit.deliver(a, &lost).unwrap_err();
    assert!(matches!(refusal, Refusal::StaleAttempt { .. }), "{refusal}");
    assert_eq!(kit.heartbeat(a, &[lost.attempt]).cancel[0].attempt, lost.attempt);
    assert_eq!(kit.drone_state(a), DroneState::Online);
}

// fault: 7
#[test]
fn what_a_silent_drone_finished_is_taken_if_nobody_else_delivered_and_the_other_is_stopped() {
    let mut kit = Kit::new(&["a", "b"]);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1"], &[]);
    let lost = kit.claim(a).unwrap();
    kit.pass(170_000, &[b]);
    let again = kit.claim(b).unwrap();
    assert!(kit.deliver(a, &lost).unwrap().accepted);
    assert_eq!(kit.heartbeat(b, &[again.attempt]).cancel[0].attempt, again.attempt);
    assert!(kit.deliver(b, &again).is_err());
}

#[test]
fn a_drone_that_returns_to_work_nobody_took_goes_on_with_it() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    kit.pass(170_000, &[DroneId(2)]);
    assert_eq!(kit.state(1), PackageState::Needed);
    assert!(kit.heartbeat(DroneId(1), &[got.attempt]).cancel.is_empty());
    assert_eq!(kit.state(1), PackageState::Delegated);
    assert!(kit.deliver(DroneId(1), &got).unwrap().accepted);
}

#[test]
fn nobody_is_judged_silent_while_the_orchestrator_has_just_started() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    kit.claim(DroneId(1)).unwrap();
    kit.now = kit.now + 3_600_000;
    kit.must(Command::StartOrchestrator);
    kit.must(Command::Maintain);
    assert_eq!((kit.drone_state(DroneId(1)), kit.state(1)), (DroneState::Online, PackageState::Delegated));
}

#[test]
fn a_second_run_builds_only_what_changed_and_what_is_built_with_it() {
    let mut kit = Kit::new(&["a"]);
    let a = DroneId(1);
    kit.run(&["top-1", "lib-1", "other-1"], &[(0, 1)]);
    while let Some(got) = kit.claim(a) {
        kit.deliver(a, &got).unwrap();
    }
    let run = kit.run(&["top-1", "lib-2", "other-1"], &[(0, 1)]);
    assert_eq!(kit.swarm.runs[&run].reused, 1);
    let mut built = Vec::new();
    while let Some(got) = kit.claim(a) {
        let Work::Build(order) = &got.work else { panic!() };
        built.push((
            order.targets[0].portage().unwrap().cpv.pf().to_owned(),
            order.targets[0].portage().unwrap().build_id,
        ));
        kit.deliver(a, &got).unwrap();
    }
    // The rebuilt `top-1` gets a new build ID, because the content of a published path never changes.
    assert_eq!(built, [("lib-2".to_owned(), 1), ("top-1".to_owned(), 2)]);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
}

#[test]
fn a_run_of_nothing_new_is_over_at_once() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    kit.deliver(DroneId(1), &got).unwrap();
    let run = kit.run(&["x-1"], &[]);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
}

#[test]
fn a_profile_has_one_run_at_a_time_and_a_cancelled_run_stops_its_drones() {
    let mut kit = Kit::new(&["a"]);
    let run = kit.run(&["x-1", "y-1"], &[]);
    let start = Command::StartRun { profile: name("desk"), class: RunClass::Interactive };
    assert!(matches!(kit.send(start.clone()).unwrap_err(), Refusal::RunUnderWay { .. }));
    let got = kit.claim(DroneId(1)).unwrap();
    kit.must(Command::CancelRun(run));
    assert_eq!(kit.state(1), PackageState::Cancelled);
    assert_eq!(kit.heartbeat(DroneId(1), &[got.attempt]).cancel.len(), 1);
    assert!(kit.send(start).is_ok());
}

#[test]
fn a_command_with_a_key_is_done_once_and_answered_alike() {
    let mut kit = Kit::new(&["a"]);
    let start = Command::StartRun { profile: name("desk"), class: RunClass::Nightly };
    let first = kit.send_keyed(start.clone(), Some("k")).unwrap();
    assert_eq!(kit.send_keyed(start, Some("k")).unwrap(), first);
    assert_eq!(first, Reply::Run(RunId(1)));
    assert_eq!(kit.swarm.runs.len(), 1);
}

#[test]
fn a_report_with_the_wrong_number_of_files_is_refused() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    let artifacts = [artifacts(DroneId(1), &got), artifacts(DroneId(1), &got)].concat();
    let usage = Usage::default();
    let refusal =
        kit.send(Command::ReceivePackage { drone: DroneId(1), attempt: got.attempt, artifacts, usage });
    assert!(refusal.unwrap_err().to_string().contains("2 files where 1"));
}

#[test]
fn a_drone_that_signs_off_gives_its_work_back_without_a_strike() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1"], &[]);
    kit.claim(DroneId(1)).unwrap();
    kit.must(Command::SignOff { drone: DroneId(1), reason: "shutting down".into() });
    assert_eq!(kit.state(1), PackageState::Needed);
    assert_eq!(kit.strikes(DroneId(1)), 0);
    assert!(kit.claim(DroneId(2)).is_some());
}

#[test]
fn a_drone_that_may_not_return_yet_gets_its_work_back_when_it_does() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    kit.pass(200_000, &[]);
    kit.heartbeat(DroneId(1), &[]);
    kit.must(Command::SignOff { drone: DroneId(1), reason: "shutting down".into() });
    kit.heartbeat(DroneId(1), &[got.attempt]);
    assert_eq!(kit.state(1), PackageState::Needed);
    kit.now = kit.now + 10_000;
    kit.heartbeat(DroneId(1), &[got.attempt]);
    assert_eq!(kit.state(1), PackageState::Delegated);
}

#[test]
fn a_drone_that_signs_off_and_returns_in_turn_does_not_fill_the_journal() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1"], &[]);
    let before = kit.swarm.seq;
    for _ in 0..300 {
        kit.must(Command::SignOff { drone: DroneId(1), reason: "shutting down".into() });
        kit.now = kit.now + 100;
        kit.heartbeat(DroneId(1), &[]);
        kit.claim(DroneId(1));
    }
    // Within half a minute it returns three times, each time with one attempt that it hands back.
    let written = kit.swarm.seq - before;
    assert!(written <= 20, "{written} events");
    kit.now = kit.now + 10_000;
    assert!(kit.claim(DroneId(1)).is_some(), "it gets work again");
}

#[test]
fn old_runs_are_forgotten_and_what_the_last_ones_built_is_not() {
    let mut kit = Kit::new(&["a"]);
    for n in 0..15 {
        let package = format!("x-{n}");
        kit.run(&[&package, "same-1"], &[]);
        while let Some(got) = kit.claim(DroneId(1)) {
            kit.deliver(DroneId(1), &got).unwrap();
        }
    }
    assert_eq!(kit.swarm.runs.len(), kit.swarm.policy.keep_runs);
    assert_eq!(kit.swarm.packages.len(), 20);
    assert_eq!(kit.swarm.built.len(), 11);
}

#[test]
fn of_large_runs_fewer_are_kept_and_the_last_one_always_is() {
    let mut kit = Kit::new(&["a"]);
    let plan = |n: usize| {
        let mut plan = report(&["x-1"], &[]);
        plan.packages = vec![plan.packages[0].clone(); n];
        plan
    };
    for packages in [9_000, 9_000, 9_000, 10_000] {
        let run = kit.plan(plan(packages));
        kit.must(Command::CancelRun(run));
    }
    let kept: Vec<usize> = kit.swarm.runs.values().map(|run| run.packages.len()).collect();
    assert_eq!(kept, [9_000, 10_000]);
    assert_eq!(kit.swarm.packages.len(), 19_000);
}

#[test]
fn an_order_names_what_is_installed_while_it_is_built_the_needed_first() {
    let mut kit = Kit::new(&["a"]);
    let a = DroneId(1);
    // A tool whose library needs data, and a plug-in that only the finished package needs.
    let mut plan = report(&["app-1", "tool-1", "lib-1", "data-1", "plugin-1"], &[]);
    let edge = |from, to, build| PlanEdge {
        from,
        to,
        build,
        runtime: !build,
        slot_operator: false,
        satisfied: false,
    };
    plan.edges = vec![edge(0, 1, true), edge(1, 2, false), edge(2, 3, false), edge(0, 4, false)];
    kit.plan(plan);
    let order = loop {
        let got = kit.claim(a).unwrap();
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        if order.targets[0].portage().unwrap().cpv.pf() == "app-1" {
            break order.clone();
        }
        assert_eq!(order.dependencies, []);
        kit.deliver(a, &got).unwrap();
    };
    let names: Vec<&str> = order.dependencies.iter().map(|d| d.cpv.pf()).collect();
    assert_eq!(names, ["data-1", "lib-1", "tool-1"]);
    let stored = kit.swarm.packages.values().find(|p| p.title().ends_with("tool-1")).unwrap();
    assert_eq!(order.dependencies[2].digest, stored.artifacts[0].digest);
}

#[test]
fn packages_that_need_each_other_are_installed_in_the_order_of_the_plan() {
    // The first two need each other at run time, and the resolver installs `tool` first. `top` is built with one.
    for needed in [0, 1] {
        let mut kit = Kit::new(&["a"]);
        let mut plan = report(&["tool-1", "choice-1", "top-1"], &[(0, 1), (1, 0), (2, needed)]);
        for edge in &mut plan.edges[..2] {
            (edge.build, edge.runtime) = (false, true);
        }
        kit.plan(plan);
        for _ in 0..2 {
            let got = kit.claim(DroneId(1)).unwrap();
            kit.deliver(DroneId(1), &got).unwrap();
        }
        let got = kit.claim(DroneId(1)).unwrap();
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        let names: Vec<&str> = order.dependencies.iter().map(|d| d.cpv.pf()).collect();
        assert_eq!(names, ["tool-1", "choice-1"], "top-1 is built with package {needed}");
    }
}
