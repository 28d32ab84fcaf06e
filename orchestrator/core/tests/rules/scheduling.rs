//! Which drone gets which package, and the reason that a drone without work gets.

#![allow(clippy::unwrap_used)] // Tests may use this.

use crate::kit::{self, Kit, package_of};
use swarm_common::{id::*, state::*, wire::drone::Usage};
use swarm_core::{Command, Swarm, view};

fn set_speed(swarm: &mut Swarm, drone: DroneId, permille: u64) {
    swarm.drones.get_mut(&drone).unwrap().speed_permille = permille;
}

#[test]
fn a_slow_drone_is_not_given_what_a_fast_one_will_finish_sooner() {
    let packages = ["long-1", "short-1"];
    let mut kit = with_history(&packages, &[100_000, 20_000], &[], &[1000, 4000]);
    let (slow, fast) = (DroneId(1), DroneId(2));
    kit.swarm.live.waiting.insert(fast, kit.now + 60_000);
    // The fast drone would have both done after 30 s. By then the slow one has done the short one.
    let short = kit.claim(slow).unwrap();
    assert_eq!(package_of(&short), PackageId(2), "though the long one is more urgent");
    kit.deliver(slow, &short).unwrap();
    let reply = kit.claim_reply(slow, "s");
    assert_eq!(reply.reason.unwrap(), "held back: app/long-1 will be finished sooner by d2");
    // Once the fast drone no longer asks, nothing is held back for it.
    kit.swarm.live.waiting.remove(&fast);
    assert!(kit.claim_reply(slow, "s2").assignment.is_some());
}

#[test]
fn a_claim_is_held_back_for_a_busy_drone_only_while_that_pays() {
    let mut kit = Kit::new(&["slow", "fast"]);
    let (slow, fast) = (DroneId(1), DroneId(2));
    kit.run(&["one-1", "two-1"], &[]);
    set_speed(&mut kit.swarm, slow, 200);
    set_speed(&mut kit.swarm, fast, 4000);
    kit.claim(fast).unwrap();
    let reply = kit.claim_reply(slow, "s");
    assert_eq!(reply.reason.unwrap(), "held back: app/two-1 will be finished sooner by fast");
    // The fast drone hangs. Soon the slow one would finish sooner.
    kit.pass(900_000, &[slow, fast]);
    assert!(kit.claim_reply(slow, "s2").assignment.is_some());
}

#[test]
fn nothing_is_held_back_for_a_drone_that_drains_on_its_own_machine() {
    let mut kit = Kit::new(&["slow", "fast"]);
    let (slow, fast) = (DroneId(1), DroneId(2));
    kit.run(&["one-1", "two-1"], &[]);
    set_speed(&mut kit.swarm, slow, 200);
    set_speed(&mut kit.swarm, fast, 4000);
    let attempt = kit.claim(fast).unwrap().attempt;
    assert_eq!(kit.claim(slow), None);
    kit.beat(fast, &[attempt], true);
    let shown = |kit: &Kit| view::drone(&kit.swarm, kit.now, fast).unwrap();
    assert_eq!(shown(&kit).state, DroneState::Draining);
    assert_eq!(shown(&kit).reason, "drained on its own machine");
    assert!(kit.claim(slow).is_some());
    kit.heartbeat(fast, &[attempt]);
    assert_eq!(shown(&kit).state, DroneState::Online);
}

#[test]
fn work_is_never_held_for_a_drone_that_does_not_ask() {
    let mut kit = Kit::new(&["slow", "fast"]);
    kit.run(&["one-1"], &[]);
    set_speed(&mut kit.swarm, DroneId(1), 100);
    assert!(kit.claim(DroneId(1)).is_some());
}

#[test]
fn the_longest_chain_goes_first_and_urgent_runs_before_nightly_ones() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["short-1", "end-1", "base-1"], &[(1, 2)]);
    let (a, lab) = (DroneId(1), kit::name("lab"));
    let request = kit.swarm.profiles[&kit::name("desk")].request.clone();
    kit.must(Command::PutProfile { name: lab.clone(), request });
    kit.must(Command::StartRun { profile: lab, class: RunClass::Interactive });
    let attempt = kit.claim(a).unwrap().attempt;
    let plan = kit::report(&["urgent-1"], &[]).into();
    kit.must(Command::ReceivePlan { drone: a, attempt, plan, usage: Usage::default() });
    for expected in [4, 3] {
        let work = kit.claim(a).unwrap();
        assert_eq!(package_of(&work), PackageId(expected), "the urgent one, then the chain");
        kit.deliver(a, &work).unwrap();
    }
}

#[test]
fn a_drone_without_work_is_told_why() {
    let mut kit = Kit::new(&["a", "b"]);
    assert_eq!(kit.claim_reply(DroneId(1), "1").reason.unwrap(), "no run is under way");
    kit.run(&["top-1", "base-1"], &[(0, 1)]);
    kit.claim(DroneId(1)).unwrap();
    let reason = kit.claim_reply(DroneId(2), "2").reason.unwrap();
    assert_eq!(reason, "everything left waits for packages that are being built");
    kit.must(Command::DrainDrone(DroneId(2)));
    let reason = kit.claim_reply(DroneId(2), "3").reason.unwrap();
    assert_eq!(reason, "draining: drained by an admin");
    assert_eq!(kit.drone_state(DroneId(2)), DroneState::Draining);
}

/// Drones of speed 1, 1 and 4, and a run of packages that were all built before.
fn with_history(packages: &[&str], works_ms: &[u64], edges: &[(u32, u32)], speeds: &[u64]) -> Kit {
    let names: Vec<String> = (1..=speeds.len()).map(|n| format!("d{n}")).collect();
    let mut kit = Kit::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (n, &speed) in speeds.iter().enumerate() {
        let drone = kit.swarm.drones.get_mut(&DroneId(n as u64 + 1)).unwrap();
        (drone.speed_permille, drone.setup_ms, drone.upload_ms) = (speed, 0, 0);
    }
    for (package, &work) in packages.iter().zip(works_ms) {
        let (name, version) = package.rsplit_once('-').unwrap();
        kit.swarm.history.note(&format!("app/{name}"), version, work, (0, 0));
    }
    kit.run(packages, edges);
    kit
}

#[test]
fn a_fast_drone_is_kept_free_for_what_will_be_ready_soon_unless_something_fits_before() {
    // `next` is long and waits for `base`, which the slow drone has nearly finished.
    let packages = ["base-1", "next-1", "medium-1", "small-1"];
    let mut kit = with_history(&packages, &[60_000, 4_000_000, 400_000, 20_000], &[(1, 0)], &[1000, 4000]);
    let (slow, fast) = (DroneId(1), DroneId(2));
    let first = kit.claim(fast).unwrap();
    assert_eq!(package_of(&first), PackageId(1));
    kit.now = kit.now + 5_000;
    // `next` is ready in ten seconds; `medium` would occupy the fast drone for 100 s.
    let got = kit.claim(slow).unwrap();
    assert_eq!(package_of(&got), PackageId(3), "the fast drone is worth more to `next`");
    kit.now = kit.now + 10_000;
    kit.deliver(fast, &first).unwrap();
    assert_eq!(package_of(&kit.claim(fast).unwrap()), PackageId(2));
}

#[test]
fn no_drone_is_kept_free_while_there_is_so_much_else_to_do_that_nothing_is_lost() {
    // Two packages of the longest chain wait for `base`, one for each drone.
    let packages = ["base-1", "left-1", "right-1", "a-1", "b-1", "c-1"];
    let works = [60_000, 100_000, 100_000, 90_000, 90_000, 90_000];
    let mut kit = with_history(&packages, &works, &[(1, 0), (2, 0)], &[1000, 1000]);
    kit.claim(DroneId(1)).unwrap();
    kit.now = kit.now + 50_000;
    let got = kit.claim(DroneId(2)).unwrap();
    assert_eq!(package_of(&got), PackageId(4), "whenever `right` begins, the night ends later");
}

#[test]
fn a_snapshot_from_before_open_work_was_summed_is_not_used() {
    let kit = with_history(&["one-1"], &[10_000], &[], &[1000]);
    let mut state = serde_json::to_value(&kit.swarm).unwrap();
    assert!(serde_json::from_str::<Swarm>(&state.to_string()).is_ok());
    for run in state["runs"].as_object_mut().unwrap().values_mut() {
        assert!(run.as_object_mut().unwrap().remove("open_ms").is_some());
    }
    assert!(serde_json::from_str::<Swarm>(&state.to_string()).is_err());
}

#[test]
fn a_straggler_is_given_to_a_second_drone_and_only_the_first_result_counts() {
    let mut kit = with_history(&["long-1"], &[600_000], &[], &[1000, 1000]);
    let (a, b) = (DroneId(1), DroneId(2));
    let first = kit.claim(a).unwrap();
    kit.pass(650_000, &[a, b]);
    assert!(kit.claim(b).is_none(), "what is a little late is left alone");
    kit.pass(750_000, &[a, b]);
    let second = kit.claim(b).unwrap();
    assert_eq!(package_of(&second), package_of(&first));
    assert_eq!(kit.swarm.attempts[&second.attempt].duplicate_of, Some(first.attempt));
    let second_build = &kit.swarm.attempts[&second.attempt].build_ids;
    assert_ne!(&kit.swarm.attempts[&first.attempt].build_ids, second_build);
    kit.now = kit.now + 600_000;
    assert!(kit.deliver(b, &second).unwrap().accepted);
    assert!(kit.deliver(a, &first).is_err());
    let reply = kit.heartbeat(a, &[first.attempt]);
    assert_eq!(reply.cancel[0].reason, "another attempt delivered first");
    // The drone is blamed for taking so long while another one did the same work.
    assert!(kit.swarm.drones[&a].speed_permille < 700);
}

#[test]
fn what_is_overdue_goes_to_a_second_drone_only_while_that_has_nothing_better_to_do() {
    let mut kit = with_history(&["long-1", "other-1"], &[600_000, 590_000], &[], &[1000; 3]);
    let (a, b, c) = (DroneId(1), DroneId(2), DroneId(3));
    let first = kit.claim(a).unwrap();
    kit.pass(720_000, &[a, b, c]);
    let other = kit.claim(b).unwrap();
    assert_ne!(package_of(&other), package_of(&first), "other work comes first");
    let second = kit.claim(c).unwrap();
    assert_eq!(package_of(&second), package_of(&first));
    // Neither of them is certainly late, and one duplicate is enough.
    let d = kit.enrol("d");
    assert!(kit.claim(d).is_none());
}

#[test]
fn what_is_doubtful_goes_to_a_second_drone_before_other_work_if_the_night_ends_with_it() {
    let second = |after_ms: u64, others: usize| {
        let packages: Vec<String> = (0..=others).map(|n| format!("p{n}-1")).collect();
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        let works: Vec<u64> = (0..=others).map(|n| if n == 0 { 600_000 } else { 300_000 }).collect();
        let mut kit = with_history(&packages, &works, &[], &[1000, 1000]);
        let (a, b) = (DroneId(1), DroneId(2));
        kit.claim(a).unwrap();
        kit.pass(after_ms, &[a, b]);
        package_of(&kit.claim(b).unwrap())
    };
    assert_eq!(second(750_000, 1), PackageId(2), "most are not later than that");
    assert_eq!(second(850_000, 1), PackageId(1));
    assert_eq!(second(850_000, 9), PackageId(2), "there is time to wait and see");
}

#[test]
fn a_drone_whose_last_result_was_much_too_late_is_not_trusted_with_long_work() {
    let works = [60_000, 2_000_000, 700_000];
    let mut kit = with_history(&["probe-1", "long-1", "short-1"], &works, &[(1, 0), (2, 0)], &[4000, 1000]);
    let (fast, slow) = (DroneId(1), DroneId(2));
    let probe = kit.claim(fast).unwrap();
    kit.pass(200_000, &[fast, slow]);
    let artifacts = kit::artifacts(fast, &probe);
    let usage = Usage { wall_ms: 200_000, ..Usage::default() };
    kit.must(Command::ReceivePackage { drone: fast, attempt: probe.attempt, artifacts, usage });
    assert_eq!(kit.swarm.drones[&fast].speed_permille, 4000, "it may have been the package");
    assert_eq!(package_of(&kit.claim(slow).unwrap()), PackageId(2));
    assert_eq!(package_of(&kit.claim(fast).unwrap()), PackageId(3));
}

#[test]
fn work_waits_for_a_faster_drone_that_is_just_done_but_not_for_long() {
    let mut kit = with_history(&["one-1", "two-1"], &[60_000, 50_000], &[], &[1000, 4000]);
    let (slow, fast) = (DroneId(1), DroneId(2));
    let first = kit.claim(fast).unwrap();
    kit.pass(15_000, &[slow, fast]);
    kit.deliver(fast, &first).unwrap();
    let reason = kit.claim_reply(slow, "s").reason.unwrap();
    assert_eq!(reason, "held back: app/two-1 will be finished sooner by fast".replace("fast", "d2"));
    kit.pass(15_000, &[slow, fast]);
    assert!(kit.claim(slow).is_some(), "it does not ask");
}

#[test]
fn what_a_receipt_unblocks_goes_at_once_to_a_drone_that_waits() {
    let mut kit = with_history(&["one-1", "two-1"], &[10_000, 10_000], &[(1, 0)], &[1000, 1000]);
    let (busy, waits) = (DroneId(1), DroneId(2));
    let first = kit.claim(busy).unwrap();
    assert_eq!(kit.claim(waits), None);
    kit.now = kit.now + 10_000;
    kit.deliver(busy, &first).unwrap();
    assert!(kit.claim(waits).is_some(), "kept for one that is as fast and has not asked yet");
}

#[test]
fn when_one_of_two_attempts_is_lost_or_fails_the_other_goes_on() {
    for lost in [true, false] {
        let mut kit = with_history(&["long-1"], &[600_000], &[], &[1000, 1000]);
        let (a, b) = (DroneId(1), DroneId(2));
        let first = kit.claim(a).unwrap();
        kit.pass(1_400_000, &[a, b]);
        let second = kit.claim(b).unwrap();
        if lost {
            kit.pass(200_000, &[b]);
        } else {
            kit.fail(a, &first, FailureClass::Infra, "no route");
        }
        assert_eq!(kit.state(1), PackageState::Delegated);
        assert!(kit.deliver(b, &second).unwrap().accepted);
        assert_eq!(kit.state(1), PackageState::Received);
    }
}

#[test]
fn when_both_of_two_attempts_are_lost_in_one_pass_the_package_is_needed_again() {
    let mut kit = with_history(&["long-1"], &[600_000], &[], &[1000, 1000]);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.claim(a).unwrap();
    kit.pass(1_400_000, &[a, b]);
    kit.claim(b).unwrap();
    kit.pass(200_000, &[]);
    assert_eq!(kit.state(1), PackageState::Needed);
    kit.heartbeat(a, &[]);
    assert!(kit.claim(a).is_some());
}

#[test]
fn duplicates_are_bounded() {
    let mut kit = with_history(&["long-1"], &[60_000], &[], &[1000; 6]);
    let all: Vec<DroneId> = (1..=6).map(DroneId).collect();
    let mut given = 0;
    for _ in 0..20 {
        for &drone in &all {
            given += usize::from(kit.claim(drone).is_some());
        }
        kit.pass(600_000, &all);
    }
    assert!((2..=3).contains(&given), "{given} attempts at one package");
}

#[test]
fn a_package_goes_to_a_drone_with_the_memory_it_took_before() {
    let mut kit = with_history(&["big-1"], &[60_000], &[], &[4000, 1000]);
    let (fast, roomy) = (DroneId(1), DroneId(2));
    kit.swarm.drones.get_mut(&roomy).unwrap().facts.memory_bytes = 64 << 30;
    kit.swarm.packages.get_mut(&PackageId(1)).unwrap().peak_memory_bytes = 12 << 30;
    kit.swarm.packages.get_mut(&PackageId(1)).unwrap().peak_cores = 4;
    let other = kit.enrol("other");
    kit.swarm.drones.get_mut(&other).unwrap().facts.memory_bytes = 64 << 30;
    kit.swarm.live.waiting.insert(other, kit.now + 60_000);
    kit.swarm.live.waiting.insert(roomy, kit.now + 60_000);
    let reason = kit.claim_reply(fast, "f").reason.unwrap();
    assert!(reason.starts_with("held back: app/big-1"), "{reason}");
    // The kit's claims report 1 GiB of free memory. Another drone has enough.
    let reason = kit.claim_reply(roomy, "r").reason.unwrap();
    assert_eq!(reason, "app/big-1 takes more memory than is free here");
    // If no other drone is left, memory is ignored: swapping is better than waiting forever.
    kit.must(Command::RemoveDrone(other));
    kit.must(Command::RemoveDrone(roomy));
    assert!(kit.claim(fast).is_some());
}

#[test]
fn of_a_group_one_package_is_built_at_a_time() {
    let mut kit = with_history(&["x-1", "y-1", "z-1"], &[90_000, 80_000, 10_000], &[], &[1000, 1000]);
    kit.swarm.policy.exclusive = vec![vec!["app/x".into(), "app/y".into()]];
    let first = kit.claim(DroneId(1)).unwrap();
    assert_eq!(package_of(&first), PackageId(1));
    let other = kit.claim(DroneId(2)).unwrap();
    assert_eq!(package_of(&other), PackageId(3));
    kit.now = kit.now + 10_000;
    kit.deliver(DroneId(2), &other).unwrap();
    let reason = kit.claim_reply(DroneId(2), "k").reason.unwrap();
    assert_eq!(reason, "app/y-1 waits for another exclusive package of its group");
    kit.deliver(DroneId(1), &first).unwrap();
    assert_eq!(package_of(&kit.claim(DroneId(1)).unwrap()), PackageId(2));
}

#[test]
fn guesses_are_made_again_as_more_becomes_known() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["one-1", "two-1", "three-1", "four-1", "five-1"], &[]);
    let before = kit.swarm.packages[&PackageId(5)].predicted_ms;
    for _ in 0..4 {
        let got = kit.claim(DroneId(1)).unwrap();
        kit.now = kit.now + 10_000;
        kit.deliver(DroneId(1), &got).unwrap();
    }
    let last = &kit.swarm.packages[&PackageId(5)];
    assert!(last.guessed && last.predicted_ms < before && last.rank_ms < before);
}

#[test]
fn setting_up_and_speed_are_learnt_from_the_phases() {
    let mut kit = with_history(&["x-1", "y-1"], &[40_000, 40_000], &[], &[1000]);
    let drone = DroneId(1);
    for _ in 0..2 {
        let got = kit.claim(drone).unwrap();
        kit.now = kit.now + 8_000;
        kit.heartbeat(drone, &[got.attempt]);
        kit.now = kit.now + 10_000;
        let artifacts = kit::artifacts(drone, &got);
        let usage = Usage { wall_ms: 18_000, ..Usage::default() };
        kit.must(Command::ReceivePackage { drone, attempt: got.attempt, artifacts, usage });
    }
    let record = &kit.swarm.drones[&drone];
    assert!((300..8_000).contains(&record.setup_ms), "{}", record.setup_ms);
    // Twice, it was about three times as fast as assumed.
    assert!(record.speed_permille > 1_500, "{}", record.speed_permille);
}

#[test]
fn why_tells_to_whom_a_needed_package_will_go() {
    let mut kit = with_history(&["one-1", "two-1"], &[60_000, 30_000], &[], &[200, 4000]);
    kit.claim(DroneId(2)).unwrap();
    kit.claim_reply(DroneId(1), "s");
    let why = swarm_core::view::why(&kit.swarm, kit.now, PackageId(2)).unwrap();
    assert!(why.lines.last().unwrap().contains("Next on d2, in about 15 s"), "{:?}", why.lines);
}
