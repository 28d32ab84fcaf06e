//! Drones, as managed by an admin.

use crate::{key, refused};
use swarm_client::ClientError;
use swarm_common::{id::DroneId, state::*, wire::drone::*};
use swarm_tests::api::{Swarm, facts, nothing_free};

#[tokio::test]
async fn a_drained_drone_gets_no_work_until_it_is_resumed() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    swarm.admin.drain_drone(drone.id, &key()).await.unwrap();
    let reply = drone.ask("k1", 0).await.unwrap();
    assert!(reply.assignment.is_none() && reply.reason.unwrap().contains("draining"));
    swarm.admin.resume_drone(drone.id, &key()).await.unwrap();
    drone.work().await.unwrap();
}

#[tokio::test]
async fn a_removed_drone_is_nobody_and_its_work_is_needed_again() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    drone.build_order().await.unwrap();
    swarm.admin.remove_drone(drone.id, &key()).await.unwrap();
    assert_eq!(refused(drone.heartbeat(Vec::new()).await), 401);
    let run = swarm.admin.run(run).await.unwrap();
    assert_eq!(run.counts.get(&PackageState::Needed), Some(&1));
    assert_eq!(refused(swarm.admin.remove_drone(drone.id, &key()).await), 404);
}

#[tokio::test]
async fn a_drone_that_signs_off_gives_its_work_back_at_once() {
    let swarm = Swarm::start().await.unwrap();
    let (one, two) = (swarm.drone("one").await.unwrap(), swarm.drone("two").await.unwrap());
    swarm.planned(&one).await.unwrap();
    one.build_order().await.unwrap();
    one.client.sign_off(&SignOffRequest { reason: "bedtime".to_owned() }).await.unwrap();
    let (_, order) = two.build_order().await.unwrap();
    assert_eq!(order.targets[0].portage().unwrap().cpv.as_str(), "dev-libs/pebble-1.2");
    let view = &swarm.admin.drones().await.unwrap()[0];
    assert_eq!((view.state, view.strikes), (DroneState::Offline, 0));
    assert!(view.reason.contains("bedtime"), "{}", view.reason);
}

#[tokio::test]
async fn heartbeats_carry_phases_and_bring_back_what_is_not_wanted() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    let (attempt, _) = drone.build_order().await.unwrap();
    let building = vec![AttemptStatus { attempt, phase: Phase::Building, stuck: None, made_from: None }];
    assert!(drone.heartbeat(building.clone()).await.unwrap().cancel.is_empty());
    let view = &swarm.admin.drones().await.unwrap()[0];
    assert_eq!(view.working_on[0].phase, Phase::Building);
    assert!(view.vitals.is_some() && view.last_seen.is_some());

    swarm.admin.cancel_run(run, &key()).await.unwrap();
    let cancelled = drone.heartbeat(building).await.unwrap().cancel;
    assert_eq!(cancelled[0].attempt, attempt);
    assert!(cancelled[0].reason.contains("cancelled"), "{}", cancelled[0].reason);
}

#[tokio::test]
async fn a_claim_that_waits_is_answered_when_there_is_work() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let (claimed, started) = tokio::join!(drone.ask("k1", 60_000), swarm.run());
    let assignment = claimed.unwrap().assignment.expect("the run began while the claim waited");
    assert_eq!(assignment.run, started.unwrap());
}

// fault: 2
#[tokio::test]
async fn a_claim_whose_answer_was_lost_gets_the_same_attempt_again() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let first = drone.ask("k1", 0).await.unwrap().assignment.unwrap();
    assert_eq!(drone.ask("k1", 0).await.unwrap().assignment.unwrap(), first);
    assert!(drone.ask("k2", 0).await.unwrap().assignment.is_none());
    assert_eq!(refused(drone.ask("", 0).await), 422);
    assert_eq!(refused(drone.ask(&"k".repeat(65), 0).await), 422);
}

#[tokio::test]
async fn an_unknown_drone_is_not_found() {
    let swarm = Swarm::start().await.unwrap();
    for answer in [
        swarm.admin.approve_drone(DroneId(9), &key()).await,
        swarm.admin.drain_drone(DroneId(9), &key()).await,
        swarm.admin.resume_drone(DroneId(9), &key()).await,
    ] {
        assert_eq!(refused(answer), 404);
    }
}

// fault: 53
#[tokio::test]
async fn a_cloned_machine_is_refused_by_name_and_status_says_so() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("oak").await.unwrap();
    let heartbeat = |machine_id: &str| HeartbeatRequest {
        vitals: nothing_free(),
        attempts: Vec::new(),
        draining: false,
        boot_id: "b".to_owned(),
        facts: Some(DroneFacts { machine_id: machine_id.to_owned(), ..facts() }),
        highest_attempt: None,
    };
    let reply = drone.client.heartbeat(&heartbeat("m")).await.unwrap();
    assert_eq!(reply.name.unwrap().as_str(), "oak");
    let Err(ClientError::Problem(problem)) = drone.client.heartbeat(&heartbeat("clone")).await else {
        panic!("taken")
    };
    assert_eq!((problem.status, problem.kind.as_str()), (401, "/problems/other-machine"));
    assert!(problem.detail.contains("drone `oak`") && problem.detail.contains("clone"), "{}", problem.detail);
    let concerns = swarm.admin.status().await.unwrap().concerns;
    assert!(concerns.iter().any(|c| c.what.contains("uses the credential of drone oak")), "{concerns:?}");
    drone.client.heartbeat(&heartbeat("m")).await.unwrap();
}
