//! The views for admins, on small and on complicated swarms.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::{
    graphs::acyclic,
    kit::{Kit, name, report},
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use std::cell::Cell;
use swarm_common::{
    id::*,
    state::*,
    wire::{
        admin::{BuilderKind, ProfileRequest, Rebuild},
        concern::{Action, ConcernKind},
        drone::{Failure, Usage, Work},
        plan::PlanReport,
    },
};
use swarm_core::{
    Command, Reply, explain,
    view::{self, FindError},
};

/// Starts a run of `desk` and reports its plan.
fn planned(kit: &mut Kit, plan: PlanReport) -> RunId {
    let Reply::Run(run) = kit.must(Command::StartRun { profile: name("desk"), class: RunClass::Nightly })
    else {
        panic!("no run")
    };
    let drone = *kit.swarm.drones.keys().next().unwrap();
    let attempt = kit.claim(drone).unwrap().attempt;
    kit.must(Command::ReceivePlan { drone, attempt, plan: plan.into(), usage: Usage::default() });
    run
}

#[test]
fn a_list_says_of_every_package_what_asking_for_it_alone_says() {
    let stuck = Cell::new(0);
    // Whether each build succeeds.
    let ends = vec(prop::bool::weighted(0.7), 0..60);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    let ran = runner.run(&(acyclic(), ends), |(plan, ends)| {
        let mut kit = Kit::new(&["one"]);
        let size = plan.packages.len();
        let run = planned(&mut kit, plan);
        for succeeds in ends {
            let Some(assignment) = kit.claim(DroneId(1)) else {
                kit.pass(700_000, &[DroneId(1)]);
                continue;
            };
            if succeeds {
                kit.deliver(DroneId(1), &assignment).unwrap();
            } else {
                kit.fail(DroneId(1), &assignment, FailureClass::Package, "broken");
            }
        }
        let rows = view::packages(&kit.swarm, kit.now, Some(run), None, None);
        prop_assert_eq!(rows.len(), size);
        for row in rows {
            prop_assert_eq!(&row.reason, &explain::reason(&kit.swarm, kit.now, row.id), "{}", row.id);
            stuck.set(stuck.get() + usize::from(row.reason.contains("manual action")));
            let expected = kit.swarm.packages.keys().filter(|&&other| {
                let blocked = kit.swarm.packages[&other].state == PackageState::Blocked;
                blocked && waits_for(&kit, other, row.id)
            });
            let view = view::package(&kit.swarm, kit.now, row.id).unwrap();
            prop_assert_eq!(view.dependants, expected.count() as u64, "{}", row.id);
        }
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(stuck.get() > 0, "the plans do not get anything stuck: {stuck:?}");
}

/// Whether `id` waits for `root`, determined with a slow search.
fn waits_for(kit: &Kit, id: PackageId, root: PackageId) -> bool {
    // Follows the whole closure, whatever the states, because the mirror does not stop at them.
    let mut open = vec![id];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(next) = open.pop() {
        if kit.swarm.packages[&next].state != PackageState::Blocked {
            continue;
        }
        let mut needs = kit.swarm.packages[&next].build_deps.to_vec();
        let mut known = std::collections::BTreeSet::new();
        while let Some(need) = needs.pop() {
            if !known.insert(need) {
                continue;
            }
            if need == root {
                return true;
            }
            needs.extend(&kit.swarm.packages[&need].runtime_deps);
            if seen.insert(need) {
                open.push(need);
            }
        }
    }
    false
}

#[test]
fn the_eta_counts_what_is_left_over_those_who_can_do_it() {
    let mut kit = Kit::new(&["one"]);
    kit.swarm.history.guess.note("other/known", 0, 60_000);
    let run = kit.run(&["a-1", "b-1", "c-1", "d-1"], &[]);
    let left = |kit: &Kit| view::run(&kit.swarm, kit.now, run).unwrap().eta.map(|eta| eta.since(kit.now));
    let alone = left(&kit).unwrap();
    kit.enrol("two");
    let together = left(&kit).unwrap();
    assert!(together * 2 <= alone + 1 && together > 0, "{together} {alone}");
    let assignment = kit.claim(DroneId(1)).unwrap();
    kit.deliver(DroneId(1), &assignment).unwrap();
    assert!(left(&kit).unwrap() < together);
}

#[test]
fn the_eta_is_never_sooner_than_the_longest_chain() {
    let mut kit = Kit::new(&["one", "two", "three", "four"]);
    kit.swarm.history.guess.note("other/known", 0, 60_000);
    let run = kit.run(&["a-1", "b-1", "c-1"], &[(1, 0), (2, 1)]);
    let eta = view::run(&kit.swarm, kit.now, run).unwrap().eta.unwrap();
    let first = kit.swarm.packages[&PackageId(1)].rank_ms;
    assert_eq!(eta.since(kit.now), first);
}

#[test]
fn while_nothing_was_ever_built_there_is_no_eta_and_the_run_says_so() {
    let mut kit = Kit::new(&["one"]);
    let run = kit.run(&["a-1", "b-1"], &[]);
    let view = view::run(&kit.swarm, kit.now, run).unwrap();
    assert_eq!(view.eta, None);
    assert!(view.reason.unwrap().contains("until a package has been built"));
    let assignment = kit.claim(DroneId(1)).unwrap();
    kit.deliver(DroneId(1), &assignment).unwrap();
    let view = view::run(&kit.swarm, kit.now, run).unwrap();
    assert!(view.eta.is_some() && view.reason.is_none());
}

#[test]
fn without_a_plan_or_a_drone_there_is_no_eta() {
    let mut kit = Kit::new(&["one"]);
    let run = kit.run(&["a-1"], &[]);
    kit.must(Command::DrainDrone(DroneId(1)));
    assert_eq!(view::run(&kit.swarm, kit.now, run).unwrap().eta, None);
    let status = view::status(&kit.swarm, kit.now, kit.now, "1", &[]);
    assert!(status.concerns[0].what.contains("is stalled"), "{:?}", status.concerns);
}

#[test]
fn what_the_shell_reports_comes_first_and_a_swarm_at_rest_is_healthy() {
    let kit = Kit::new(&["one"]);
    let status = view::status(&kit.swarm, kit.now, kit.now, "1", &[]);
    assert!(status.healthy && status.next_action.is_none(), "{status:?}");
    let full = ConcernKind::DiskNearlyFull { at: "/srv".into(), free_mib: 12 };
    let damaged = ConcernKind::StoreDamaged { faults: 1, first: "x".into() };
    let next_action = |reported: &[ConcernKind]| {
        let status = view::status(&kit.swarm, kit.now, kit.now, "1", reported);
        assert_eq!((status.healthy, &status.concerns[0].fact), (false, &reported[0]));
        (status.next_action.unwrap(), status.action)
    };
    let (advice, action) = next_action(&[full]);
    assert!(advice.starts_with("free space") && action.is_none(), "{advice}");
    assert_eq!(next_action(&[damaged]), ("swarmctl audit verify".into(), Some(Action::VerifyStore)));
}

#[test]
fn a_concern_of_the_core_without_an_action_gives_its_advice() {
    let mut kit = Kit::new(&["one"]);
    kit.pass(200_000, &[]);
    let status = view::status(&kit.swarm, kit.now, kit.now, "1", &[]);
    let [silent] = &status.concerns[..] else { panic!("{:?}", status.concerns) };
    assert!(silent.action.is_none() && !silent.next.is_empty(), "{silent:?}");
    assert_eq!(status.next_action.as_ref(), Some(&silent.next));
}

#[test]
fn a_profile_keeps_its_kind_of_builder() {
    let mut kit = Kit::new(&["one"]);
    let own = kit.swarm.profiles[&name("desk")].request.clone();
    let request = ProfileRequest { builder: BuilderKind::Nix, ..own };
    let refused = kit.send(Command::PutProfile { name: name("desk"), request }).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "profile `desk` is built by Portage: remove it first, or choose another name"
    );
}

#[test]
fn silence_is_a_concern_and_a_goodbye_is_none() {
    let mut kit = Kit::new(&["one", "two"]);
    kit.must(Command::SignOff { drone: DroneId(1), reason: "night".into() });
    kit.pass(200_000, &[]);
    let status = view::status(&kit.swarm, kit.now, kit.now, "1", &[]);
    let what: Vec<&str> = status.concerns.iter().map(|c| c.what.as_str()).collect();
    assert_eq!(what.len(), 1, "{what:?}");
    assert!(what[0].starts_with("drone two is offline: silent for"), "{what:?}");
}

#[test]
fn the_newest_run_decides_which_package_a_name_means() {
    let mut kit = Kit::new(&["one"]);
    let run = kit.run(&["a-1", "b-1"], &[]);
    kit.must(Command::CancelRun(run));
    kit.must(Command::PutProfile {
        name: name("desk"),
        request: ProfileRequest {
            source: "newer".into(),
            ..kit.swarm.profiles[&name("desk")].request.clone()
        },
    });
    kit.run(&["a-1", "c-1", "c-2"], &[]);
    assert_eq!(view::find(&kit.swarm, "a", None), Ok(PackageId(3)));
    assert_eq!(view::find(&kit.swarm, "app/b", None), Ok(PackageId(2)), "an older run has it");
    assert_eq!(view::find(&kit.swarm, "p1", None), Ok(PackageId(1)));
    assert!(matches!(view::find(&kit.swarm, "c", None), Err(FindError::Ambiguous { candidates, .. })
        if candidates == ["app/c-1 (p4)", "app/c-2 (p5)"]));
    assert!(matches!(view::find(&kit.swarm, "p99", None), Err(FindError::Unknown(_))));

    kit.put_profile("laptop", Rebuild::Gentoo);
    kit.plan_for("laptop", report(&["a-2"], &[]));
    assert_eq!(
        view::find(&kit.swarm, "a", None).unwrap_err().to_string(),
        "`a` is ambiguous: app/a-2 (p6, laptop), app/a-1 (p3, desk); give an ID or the profile"
    );
    let among = |profile| view::find(&kit.swarm, "a", Some(&name(profile)));
    assert_eq!((among("desk"), among("laptop")), (Ok(PackageId(3)), Ok(PackageId(6))));
    assert_eq!(view::find(&kit.swarm, "app/a-2", None), Ok(PackageId(6)));
    assert!(matches!(view::find(&kit.swarm, "a", Some(&name("none"))), Err(FindError::Unknown(_))));
}

#[test]
fn what_breaks_many_packages_alike_is_named_once_and_as_it_was_printed() {
    let mut kit = Kit::new(&["a"]);
    let run = kit.run(&["one-1", "two-1", "three-1", "odd-1", "good-1"], &[]);
    while let Some(got) = kit.claim(DroneId(1)) {
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        let (signature, message) = match order.targets[0].portage().unwrap().cpv.pn() {
            "good" => {
                kit.deliver(DroneId(1), &got).unwrap();
                continue;
            }
            "odd" => ("odd.c:N: error: no", "odd.c:1: error: no"),
            _ => ("ccN: error: bad '-march=xN'", "cc1: error: bad '-march=x9'\nmake: Error 1"),
        };
        let (class, cause, phase) = (FailureClass::Package, None, Phase::Building);
        let failure = Failure { class, cause, phase, signature: signature.into(), message: message.into() };
        let (drone, attempt, usage) = (DroneId(1), got.attempt, Usage::default());
        kit.must(Command::ReportFailure { drone, attempt, failure, usage });
        kit.pass(60_000, &[DroneId(1)]);
    }
    assert!(kit.swarm.runs[&run].state.is_over());
    let concerns = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
    let texts: Vec<&str> = concerns.iter().map(|c| c.what.as_str()).collect();
    assert_eq!(
        texts,
        [format!("3 packages failed with the same error in {run} (and 1 more): cc1: error: bad '-march=x9'")]
    );
    let alike = view::alike(&kit.swarm, &kit.swarm.runs[&run]);
    assert_eq!(alike.iter().map(|a| a.packages.len()).collect::<Vec<_>>(), [3, 1]);
}
