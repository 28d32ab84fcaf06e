//! Runs.

use crate::{key, refused};
use swarm_common::{
    id::RunId,
    state::*,
    wire::{admin::StartRunRequest, plan::*},
};
use swarm_tests::api::{PROFILE, Swarm, name, pebble, plan_of};

#[tokio::test]
async fn a_run_goes_from_planning_to_succeeded() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Planning);
    drone.bring_plan(plan_of(&[pebble()])).await.unwrap();
    let building = swarm.admin.run(run).await.unwrap();
    assert_eq!(building.state, RunState::Building);
    assert_eq!(building.eta, None, "nothing was ever built, so nobody can say");
    drone.build().await.unwrap();
    let ended = swarm.admin.run(run).await.unwrap();
    assert_eq!((ended.state, ended.eta), (RunState::Succeeded, None));
    assert_eq!(ended.counts.get(&PackageState::Received), Some(&1));
    assert_eq!(swarm.admin.runs().await.unwrap()[0], ended);
}

#[tokio::test]
async fn the_second_run_reuses_what_the_first_one_built() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    let second = swarm.run().await.unwrap();
    drone.bring_plan(plan_of(&[pebble()])).await.unwrap();
    let view = swarm.admin.run(second).await.unwrap();
    assert_eq!((view.state, view.reused), (RunState::Succeeded, 1));
}

#[tokio::test]
async fn a_profile_has_one_run_at_a_time_and_a_cancelled_one_makes_room() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    let first = swarm.run().await.unwrap();
    let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Nightly };
    assert_eq!(refused(swarm.admin.start_run(&request, &key()).await), 409);
    swarm.admin.cancel_run(first, &key()).await.unwrap();
    swarm.admin.cancel_run(first, &key()).await.unwrap();
    swarm.run().await.unwrap();
    assert_eq!(swarm.admin.run(first).await.unwrap().state, RunState::Cancelled);
}

#[tokio::test]
async fn what_the_resolver_refused_is_shown_as_it_said_it() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let problem = PlanProblem {
        kind: ProblemKind::UseChange,
        atoms: vec!["dev-libs/boulder".to_owned()],
        message: "the following USE changes are necessary".to_owned(),
        suggestion: Some("dev-libs/pebble wet".to_owned()),
    };
    drone.bring_plan(PlanReport { problems: vec![problem.clone()], ..plan_of(&[pebble()]) }).await.unwrap();
    drone.build().await.unwrap();
    let view = swarm.admin.run(run).await.unwrap();
    assert_eq!((view.state, view.problems), (RunState::Partial, vec![problem]));
}

#[tokio::test]
async fn a_plan_that_contradicts_itself_is_refused_and_the_attempt_stays_open() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let attempt = drone.work().await.unwrap().attempt;
    let mut bad = plan_of(&[pebble()]);
    bad.cycles.push(PlanCycle { members: vec![7], stages: Vec::new() });
    let planned = |plan| swarm_common::wire::drone::Outcome::Planned { plan };
    assert_eq!(refused(drone.report(attempt, planned(bad)).await), 422);
    assert!(drone.report(attempt, planned(plan_of(&[pebble()]))).await.unwrap().accepted);
}

#[tokio::test]
async fn unknown_runs_and_profiles_are_not_found() {
    let swarm = Swarm::start().await.unwrap();
    assert_eq!(refused(swarm.admin.run(RunId(9)).await), 404);
    assert_eq!(refused(swarm.admin.cancel_run(RunId(9), &key()).await), 404);
    let request = StartRunRequest { profile: name("none"), class: RunClass::Nightly };
    assert_eq!(refused(swarm.admin.start_run(&request, &key()).await), 404);
}
