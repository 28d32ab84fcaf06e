//! Packages, and the explanations of their states.

use crate::{key, refused};
use swarm_client::PackageFilter;
use swarm_common::{
    id::PackageId,
    state::*,
    wire::drone::{Failure, Outcome},
};
use swarm_tests::api::{FakeDrone, Swarm, pebble, pebble_at, plan_of};

fn broken() -> Outcome {
    Outcome::Failed {
        failure: Failure {
            class: FailureClass::Package,
            cause: None,
            phase: Phase::Building,
            signature: "error: expected ;".to_owned(),
            message: "pebble.c:7: error: expected ;".to_owned(),
        },
    }
}

/// Fails the package until it is quarantined.
pub async fn quarantine(swarm: &Swarm, drone: &FakeDrone) -> PackageId {
    let package = swarm.admin.packages(&PackageFilter::default()).await.unwrap()[0].id;
    for _ in 0..20 {
        if swarm.admin.package(package).await.unwrap().state == PackageState::Quarantined {
            return package;
        }
        let (attempt, _) = drone.build_order().await.unwrap();
        drone.client.append_log(attempt, 0, "pebble.c:7: error: expected ;\n".into()).await.unwrap();
        drone.report(attempt, broken()).await.unwrap();
    }
    panic!("20 failures do not quarantine");
}

#[tokio::test]
async fn packages_are_found_by_run_state_and_name() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    drone.bring_plan(plan_of(&[pebble(), pebble_at("1.10", "0")])).await.unwrap();
    let titles = async |run, state, name: Option<&str>| -> Vec<String> {
        let filter = PackageFilter { run, state, name: name.map(str::to_owned) };
        swarm.admin.packages(&filter).await.unwrap().into_iter().map(|row| row.title).collect()
    };
    assert_eq!(titles(Some(run), None, None).await.len(), 2);
    assert_eq!(titles(None, Some(PackageState::Needed), None).await, ["dev-libs/pebble-1.2"]);
    assert_eq!(titles(None, None, Some("1.10")).await, ["dev-libs/pebble-1.10"]);
    assert!(titles(None, Some(PackageState::Received), None).await.is_empty());
}

#[tokio::test]
async fn a_failing_package_is_quarantined_and_released_by_an_admin() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let package = quarantine(&swarm, &drone).await;
    let view = swarm.admin.package(package).await.unwrap();
    assert!(!view.reason.is_empty());
    assert_eq!(view.attempts[0].failure.as_ref().unwrap().message, "pebble.c:7: error: expected ;");

    swarm.admin.release(package, &key()).await.unwrap();
    assert_eq!(swarm.admin.package(package).await.unwrap().state, PackageState::Needed);
    assert_eq!(refused(swarm.admin.release(package, &key()).await), 409);
}

#[tokio::test]
async fn an_ended_run_is_opened_again_by_a_retry() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    let package = quarantine(&swarm, &drone).await;
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Partial);
    swarm.admin.retry(package, &key()).await.unwrap();
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Building);
    assert_eq!(refused(swarm.admin.retry(PackageId(99), &key()).await), 404);
}

// fault: 35
#[tokio::test]
async fn why_tells_what_a_package_waits_for_and_how_that_ends() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    drone.bring_plan(plan_of(&[pebble(), pebble_at("1.10", "0")])).await.unwrap();
    let package = quarantine(&swarm, &drone).await;
    for query in ["p1", "dev-libs/pebble-1.2", "pebble-1.2"] {
        let why = swarm.admin.why(query, None).await.unwrap();
        assert_eq!((why.package.id, why.package.dependants), (package, 1), "{query}");
        assert!(why.lines.iter().any(|line| line.contains("swarmctl retry p1")), "{:?}", why.lines);
    }
    let why = swarm.admin.why("dev-libs/pebble-1.10", None).await.unwrap();
    assert_eq!(why.package.blocked_on, [package]);
    let text = why.lines.join("\n");
    assert!(text.contains("dev-libs/pebble-1.2 (p1), which is quarantined"), "{text}");
    assert!(text.contains("swarmctl why p1"), "{text}");
}

#[tokio::test]
async fn an_ambiguous_name_lists_what_it_may_mean() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    drone.bring_plan(plan_of(&[pebble(), pebble_at("1.10", "0")])).await.unwrap();
    for query in ["pebble", "dev-libs/pebble"] {
        let error = swarm.admin.why(query, None).await.unwrap_err();
        assert_eq!(error.status(), Some(409));
        let text = error.to_string();
        assert!(text.contains("dev-libs/pebble-1.2 (p1)") && text.contains("(p2)"), "{text}");
    }
    assert_eq!(refused(swarm.admin.why("gravel", None).await), 404);
    assert_eq!(refused(swarm.admin.why("../../etc/passwd", None).await), 404);
}
