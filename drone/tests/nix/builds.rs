//! Builds with Nix: what is built, and from which inputs.

use crate::lab::{Built, Lab, left_processes, nix, package, play_until, position, serving};
use std::fs;
use swarm_common::{
    digest::Digest,
    state::{FailureClass, Phase},
    wire::nix::DerivationArchive,
};
use swarm_daemon::config::{Size, Span};
use swarm_drone::builder::BuildEnd;

#[tokio::test]
async fn two_drones_build_a_world_from_each_others_outputs_and_compile_nothing_twice() {
    let drones = [Lab::new(&["world"]), Lab::new(&["world"])];
    let plan = drones[0].plan().await;
    let mut built = Built::default();
    let mut left: Vec<u32> = (0..).take(plan.packages.len()).collect();
    let mut turn = 0;
    while !left.is_empty() {
        let is_ready = |at: &u32| plan.edges.iter().all(|edge| edge.from != *at || !left.contains(&edge.to));
        let at = *left.iter().find(|at| is_ready(at)).expect("a cycle");
        left.retain(|other| *other != at);
        let (drone, package) = (&drones[turn % 2], nix(&plan, at));
        turn += 1;
        let (end, log, phases) = drone.build(package, built.inputs(&plan, at)).await;
        let BuildEnd::Built { files, references, usage } = end else {
            panic!("{}: {end:?}\n{log}", package.name)
        };
        assert_eq!(log.matches("building '").count(), usize::from(package.drv.is_some()), "{log}");
        assert_eq!(phases.last(), Some(&Phase::Packaging));
        let name = |path: &String| path[33..].to_owned();
        let names: Vec<Vec<String>> = references.iter().map(|of| of.iter().map(name).collect()).collect();
        assert_eq!(names.len(), package.outputs.len());
        if package.name == "prog-2.0" {
            assert!(names[0].contains(&"lib-1.0".to_owned()) && names[0].len() == 2, "{names:?}");
        }
        // The drone that planned delivers a source without a process.
        let has_run = usage.wall_ms > 0 && usage.cpu_ms > 0;
        assert!(has_run || package.drv.is_none(), "{usage:?}");
        let attempt = files[0].parent().unwrap().parent().unwrap();
        assert_eq!(fs::read_dir(attempt).unwrap().count(), 1, "only the archives are left");
        drones.iter().for_each(|drone| built.receive(&plan, package, &files, drone));
    }
    // The program refers to its library and to the shell from the seed.
    let program = &built.0[&package(&plan, "prog-2.0").outputs[0].path];
    let mut referred: Vec<_> = program.nar.references.iter().map(|name| &name[33..]).collect();
    referred.sort_unstable();
    assert_eq!(referred, ["lib-1.0", "seed"]);
}

#[tokio::test]
async fn a_drone_that_gets_the_derivations_builds_what_another_planned_without_evaluating() {
    let (planner, mut drone) = (Lab::new(&["world"]), Lab::new(&["world"]));
    // Evaluation would fail at once.
    drone.config.nix.evaluation_timeout = Span::from_secs(0);
    let plan = planner.plan().await;
    let archive = drone.get_derivations(&plan, &planner);
    let mut built = Built::default();
    for name in ["seed", "lib-1.0", "prog-2.0"] {
        if name == "prog-2.0" {
            // As a power loss may leave them.
            let unpacked = drone.path("cache/nix/derivations").join(archive.digest.to_string());
            fs::read_dir(unpacked).unwrap().for_each(|file| fs::write(file.unwrap().path(), "").unwrap());
        }
        let (at, package) = (position(&plan, name), package(&plan, name));
        let by = if package.drv.is_none() { &planner } else { &drone };
        let (end, log, _) = by.play_order(package, built.inputs(&plan, at), Some(archive)).await;
        let BuildEnd::Built { files, references, .. } = end else { panic!("{name}: {end:?}\n{log}") };
        assert!(name != "prog-2.0" || references[0].len() == 2, "{references:?}");
        assert!(!log.contains("evaluated"), "{log}");
        built.receive(&plan, package, &files, &drone);
    }
    assert!(!drone.path("cache/nix/evaluation/nix/store").exists(), "it has evaluated");
}

#[tokio::test]
async fn a_drone_without_the_derivations_or_with_damaged_ones_evaluates() {
    let (planner, lab) = (Lab::new(&["lib"]), Lab::new(&["lib"]));
    let plan = planner.plan().await;
    let (lib, archive) = (package(&plan, "lib-1.0"), *plan.derivations.clone().unwrap());
    let (end, log, _) = lab.play_order(lib, Vec::new(), Some(archive)).await;
    assert!(
        matches!(end, BuildEnd::Built { .. }) && log.contains("so the source is evaluated"),
        "{end:?}\n{log}"
    );
    let lab = Lab::new(&["lib"]);
    let (file, text) = (lab.path("no-archive"), b"no archive");
    fs::write(&file, text).unwrap();
    let other = DerivationArchive { digest: Digest::of(text), size: text.len() as u64 };
    lab.caches().artifacts.adopt(&file, other.digest).unwrap();
    let (end, log, _) = lab.play_order(lib, Vec::new(), Some(other)).await;
    assert!(
        matches!(end, BuildEnd::Built { .. }) && log.contains("so the source is evaluated"),
        "{end:?}\n{log}"
    );
}

#[tokio::test]
async fn a_build_whose_input_is_missing_is_not_begun() {
    let lab = Lab::new(&["prog"]);
    let plan = lab.plan().await;
    let (failure, log) = lab.failure(&plan, "prog-2.0").await;
    assert_eq!(failure.class, FailureClass::Infra, "{failure:?}");
    assert!(failure.message.contains(&package(&plan, "lib-1.0").outputs[0].path), "{failure:?}");
    assert!(!log.contains("building '"), "{log}");
    assert!(!lab.has_built(&package(&plan, "lib-1.0").outputs[0].path));
}

#[tokio::test]
async fn an_archive_with_another_hash_than_the_order_says_is_not_used() {
    let lab = Lab::new(&["prog"]);
    let plan = lab.plan().await;
    let (end, ..) = lab.build(package(&plan, "lib-1.0"), Vec::new()).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}") };
    let other = Lab::new(&["prog"]);
    let mut built = Built::default();
    built.receive(&plan, package(&plan, "lib-1.0"), &files, &other);
    let mut input = built.0.into_values().next().unwrap();
    input.nar.hash = swarm_common::digest::Digest::of(b"another");
    let (end, log, _) = other.build(package(&plan, "prog-2.0"), vec![input]).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(failure.class, FailureClass::Infra, "{failure:?}");
    assert!(failure.message.contains("hash mismatch"), "{failure:?}");
}

#[tokio::test]
async fn a_derivation_that_the_snapshot_does_not_have_is_not_built() {
    let (lab, other) = (Lab::new(&["lib"]), Lab::new(&["lib"]));
    other.file("source/default.nix", &include_str!("world.nix").replace("salt ? \"0\"", "salt ? \"1\""));
    let plan = other.plan().await;
    let (failure, _) = lab.failure(&plan, "lib-1.0").await;
    assert_eq!(failure.class, FailureClass::Infra, "{failure:?}");
    assert!(failure.message.contains("does not evaluate to"), "{failure:?}");
}

#[tokio::test]
async fn cancelling_leaves_no_process_and_no_directory() {
    let lab = Lab::new(&["silent"]);
    lab.file("source/default.nix", &include_str!("world.nix").replace("sleep 1000", "sleep 4242"));
    let plan = lab.plan().await;
    let context = lab.context(crate::lab::order(package(&plan, "silent-1.0"), Vec::new()));
    let attempt = context.attempt_dir.clone();
    let (end, log, _) = play_until(context, Some("quiet-now")).await;
    assert_eq!(end, BuildEnd::Cancelled, "{log}");
    assert!(!attempt.exists());
    assert_eq!(left_processes(&lab.config.work_dir, "sleep 4242"), [""; 0]);
}

#[tokio::test]
async fn what_a_drone_knows_of_its_store_ends_with_the_store() {
    let lab = Lab::new(&["prog"]);
    let plan = lab.plan().await;
    let (lib, prog) = (package(&plan, "lib-1.0"), package(&plan, "prog-2.0"));
    let (end, log, _) = lab.build(lib, Vec::new()).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    let mut built = Built::default();
    built.receive(&plan, lib, &files, &lab);
    fs::remove_dir_all(lab.path("cache/nix/build")).unwrap();
    let inputs: Vec<_> = built.0.into_values().collect();
    let (end, log, phases) = lab.build(prog, inputs).await;
    assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
    assert!(phases.contains(&Phase::Fetching) && lab.has_built(&lib.outputs[0].path), "{phases:?}");
    assert_eq!(log.matches("building '").count(), 1, "{log}");
}

#[tokio::test]
async fn a_store_over_its_budget_loses_what_no_attempt_uses() {
    let mut lab = Lab::new(&["lib", "fixed", "filling"]);
    // Nix keeps every path that a process of this machine names, such as the builder of another test's `lib`.
    lab.file("source/default.nix", &include_str!("world.nix").replace("salt ? \"0\"", "salt ? \"old\""));
    let plan = lab.plan().await;
    let (lib, fixed) = (package(&plan, "lib-1.0"), package(&plan, "fixed-1.0"));
    let (end, ..) = lab.build(lib, Vec::new()).await;
    assert!(matches!(end, BuildEnd::Built { .. }) && lab.has_built(&lib.outputs[0].path));
    // With other settings, so that the process that has built `lib` still waits.
    lab.config.jobs = lab.config.jobs() + 1;
    lab.config.disk_max = Size::from_bytes(1 << 20);
    let (failure, log) = lab.failure(&plan, "filling-1.0").await;
    assert!(failure.message.contains("disk"), "{failure:?}\n{log}");
    (lab.config.disk_max, lab.config.nix.store_max) = (Size::default(), Size::default());
    let (end, log, _) = lab.build(fixed, Vec::new()).await;
    assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
    assert!(!lab.has_built(&lib.outputs[0].path) && lab.has_built(&fixed.outputs[0].path), "{log}");
}

#[tokio::test]
async fn one_process_of_nix_builds_until_a_build_fails() {
    let lab = Lab::new(&["lib", "multi", "fixed", "failing", "noted", "silent"]);
    lab.file("source/default.nix", &include_str!("world.nix").replace("sleep 1000", "sleep 4545"));
    let plan = lab.plan().await;
    let waiting = || serving(&lab.config.work_dir);
    let mut seen = Vec::new();
    for name in ["lib-1.0", "multi-1.0", "failing-1.0", "fixed-1.0"] {
        let (end, log, _) = lab.build(package(&plan, name), Vec::new()).await;
        assert_eq!(matches!(end, BuildEnd::Built { .. }), name != "failing-1.0", "{end:?}\n{log}");
        assert!(!log.contains("building") || log.matches("building '").count() == 1, "{log}");
        seen.push(waiting());
    }
    let [first, second, none, third] = &seen[..] else { unreachable!() };
    assert!(first.len() == 1 && first == second && none.is_empty(), "{seen:?}");
    assert!(third.len() == 1 && third != first, "{seen:?}");
    // One that is killed while it waits is replaced.
    let kill = |id: i32| {
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    };
    kill(third[0]);
    let (end, log, _) = lab.build(package(&plan, "noted-1.0"), Vec::new()).await;
    assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
    // One that is killed during a build has failed, and nothing is built twice.
    let killed = async {
        while !left_processes(&lab.config.work_dir, "sleep 4545").iter().any(|line| line.contains("4545")) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        waiting().into_iter().for_each(kill);
    };
    let killed = tokio::time::timeout(std::time::Duration::from_secs(60), killed);
    let silent = package(&plan, "silent-1.0");
    let ((end, log, _), killed) = tokio::join!(lab.build(silent, Vec::new()), killed);
    killed.unwrap();
    assert!(matches!(end, BuildEnd::Failed { .. }), "{end:?}\n{log}");
    assert_eq!(log.matches("building '").count(), 1, "{log}");
    drop(lab.nix);
    assert_eq!(serving(&lab.config.work_dir), [0; 0]);
}
