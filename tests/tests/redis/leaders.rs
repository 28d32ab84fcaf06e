//! The leader is killed, or paused for longer than the lifetime of its lock.

use super::*;
use rustix::process::Signal;
use std::time::Instant;
use swarm_tests::faults::house::LOCK;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_is_killed_the_standby_goes_on_with_everything_it_had_said() {
    let (redis, mut house, mut crew) = house().await;
    for (dead, next) in [(0, 1), (1, 0), (0, 1)] {
        assert_eq!(house.leader(&redis).unwrap(), Some(dead));
        house.kill(dead).unwrap();
        let began = Instant::now();
        house.wait_for_leader(&redis, next).unwrap();
        println!(
            "the standby leads after {} ms, the lock's life being {LOCK:?}",
            began.elapsed().as_millis()
        );
        crew.works(SOME).await.unwrap();
        house.start(dead).unwrap();
    }
    all_is_there(&redis, &house, crew).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_past_its_lock_says_nothing_more_and_ends() {
    let (redis, mut house, mut crew) = house().await;
    house.signal(0, Signal::STOP).unwrap();
    house.wait_for_leader(&redis, 1).unwrap();
    crew.works(SOME).await.unwrap();
    house.signal(0, Signal::CONT).unwrap();
    let status = house.end(0).unwrap();
    assert_eq!(status.code(), Some(69), "{status}: {}", house.log(0));
    let log = house.log(0);
    assert!(
        log.contains("another orchestrator is the leader now") && log.contains(house.address(1)),
        "{log}"
    );
    crew.works(SOME).await.unwrap();
    house.start(0).unwrap();
    let status = house.client_of(&[0]).unwrap().status().await.unwrap();
    assert_eq!(status.standby.as_deref(), Some(house.address(1)));
    all_is_there(&redis, &house, crew).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_while_nobody_took_over_goes_on() {
    let (redis, mut house, mut crew) = house().await;
    house.kill(1).unwrap();
    house.signal(0, Signal::STOP).unwrap();
    let gone = || Ok((house.leader(&redis)?.is_none()).then_some(()));
    swarm_tests::e2e::wait::until("the lock lapses", house::SOON, gone).unwrap();
    house.signal(0, Signal::CONT).unwrap();
    crew.works(SOME).await.unwrap();
    house.start(1).unwrap();
    all_is_there(&redis, &house, crew).await;
}
