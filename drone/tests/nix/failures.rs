//! The cause of failed builds, and the messages about them.

use crate::lab::{Lab, order, package, play};
use swarm_common::state::{FailureCause, FailureClass, Phase};
use swarm_drone::builder::BuildEnd;

#[tokio::test]
async fn a_builder_that_fails_is_told_by_what_it_printed() {
    let lab = Lab::new(&["failing", "compiling"]);
    let plan = lab.plan().await;
    let (failure, log) = lab.failure(&plan, "failing-1.0").await;
    assert_eq!((failure.class, failure.phase), (FailureClass::Package, Phase::Building), "{failure:?}");
    assert_eq!(failure.headline(), "boom (failed with exit code 3)");
    assert!(log.contains("begin\nboom\n"), "{log}");
    let (failure, _) = lab.failure(&plan, "compiling-1.0").await;
    assert_eq!(failure.signature, "x.c:N:N: error: unknown type name 'foo'");
}

#[tokio::test]
async fn a_build_that_takes_too_long_or_is_silent_for_too_long_is_stopped() {
    let lab = Lab::new(&["ticking", "silent"]);
    lab.file("source/default.nix", &include_str!("world.nix").replace("sleep 1000", "sleep 4343"));
    let plan = lab.plan().await;
    for (name, said) in [("ticking-1.0", "tick"), ("silent-1.0", "quiet-now")] {
        let mut context = lab.context(order(package(&plan, name), Vec::new()));
        match name {
            "ticking-1.0" => context.assignment.limits.build_timeout_ms = 6000,
            _ => context.assignment.limits.silence_timeout_ms = 2000,
        }
        let (end, log, _) = play(context).await;
        let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
        assert_eq!(failure.class, FailureClass::Timeout, "{failure:?}");
        assert!(failure.message.starts_with("stopped: ") && failure.message.contains(said), "{failure:?}");
    }
    assert_eq!(crate::lab::left_processes(&lab.config.work_dir, "sleep 4343"), [""; 0]);
}

#[tokio::test]
async fn a_source_with_another_hash_is_told_as_that() {
    let lab = Lab::new(&["wrong-hash"]);
    let plan = lab.plan().await;
    let (failure, _) = lab.failure(&plan, "wrong-hash-1.0").await;
    assert_eq!(failure.cause, Some(FailureCause::SourceMismatch), "{failure:?}");
    assert!(failure.message.contains("hash mismatch") && failure.message.contains("got:"), "{failure:?}");
}

#[tokio::test]
async fn a_feature_that_the_machine_lacks_is_the_drones_lack() {
    let lab = Lab::new(&["feature"]);
    let plan = lab.plan().await;
    let (failure, _) = lab.failure(&plan, "feature-1.0").await;
    assert_eq!(failure.class, FailureClass::Drone, "{failure:?}");
    assert!(failure.message.contains("imaginary"), "{failure:?}");
}

#[tokio::test]
async fn a_drone_without_nix_says_so() {
    let mut lab = Lab::new(&["lib"]);
    lab.config.nix.programs = Some("/nonexistent".into());
    let (end, ..) = play(lab.context(swarm_common::wire::drone::Work::Plan)).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}") };
    assert_eq!(failure.class, FailureClass::Drone);
    assert!(failure.message.contains("Nix is not installed"), "{failure:?}");
}
