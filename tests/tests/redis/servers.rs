//! Redis is killed, emptied, full, read-only, or replaced by its replica.

use super::*;
use rustix::process::{Pid, Signal, kill_process};
use swarm_tests::{
    e2e::wait,
    faults::house::{NAME, SOON},
};

fn events(redis: &Redis) -> String {
    redis.say(&format!("XLEN {{{NAME}}}:events")).unwrap()
}

// fault: 11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_redis_is_killed_all_wait_for_it_and_nothing_is_lost() {
    let (mut redis, house, mut crew) = house().await;
    for _ in 0..2 {
        redis.kill().unwrap();
        for n in [0, 1] {
            concern(&house, n, "is unavailable").await;
            let (status, body) = ready(&house, n).await;
            assert!(status == 503 && body.contains("is unavailable"), "{status} {body}");
            assert!(is_published(&house, n).await, "published packages are still served");
        }
        redis.run().unwrap();
        crew.works(SOME).await.unwrap();
    }
    for n in [0, 1] {
        wait_until_ready(&house, n).await;
    }
    all_is_there(&redis, &house, crew).await;
}

async fn wait_until_ready(house: &House, n: usize) {
    let ready = async {
        while ready(house, n).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, ready).await.unwrap_or_else(|_| panic!("{}", house.log(n)));
}

// fault: 11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_is_not_written_to_and_everybody_says_why() {
    let (mut redis, mut house, crew) = house().await;
    redis.kill().unwrap();
    redis.forget().unwrap();
    redis.run().unwrap();
    for n in [0, 1] {
        let shown = concern(&house, n, "lost acknowledged events").await;
        assert!(shown.contains("restored from a replica or a backup"), "{shown}");
        let (status, body) = ready(&house, n).await;
        assert!(status == 503 && body.contains("lost acknowledged events"), "{status} {body}");
        assert!(is_published(&house, n).await);
    }
    // A restart does not forget this, and the published files are still served.
    house.kill(0).unwrap();
    house.start(0).unwrap();
    concern(&house, 0, "lost acknowledged events").await;
    assert!(is_published(&house, 0).await);
    assert!(events(&redis).starts_with(":0\r"), "nothing was written");
    assert!(crew.acknowledged() > 0);
}

// fault: 13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_or_as_a_replica_redis_takes_nothing_and_then_all_goes_on() {
    let (redis, house, mut crew) = house().await;
    redis.say("CONFIG SET maxmemory 1").unwrap();
    concern(&house, 0, "out of memory").await;
    redis.say("CONFIG SET maxmemory 0").unwrap();
    crew.works(SOME).await.unwrap();

    // A replica of a master that does not exist, so that it keeps its data.
    redis.say("REPLICAOF 127.0.0.1 1").unwrap();
    concern(&house, 0, "read-only replica").await;
    let (status, body) = ready(&house, 0).await;
    assert!(status == 503 && body.contains("read-only replica"), "{status} {body}");
    redis.say("REPLICAOF NO ONE").unwrap();
    crew.works(SOME).await.unwrap();
    all_is_there(&redis, &house, crew).await;
}

// fault: 12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_sentinel_loses_nothing_that_a_replica_confirmed() {
    let safe = ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"];
    let master = Redis::start_with(&safe).unwrap();
    let port = master.port().to_string();
    let replica = Redis::start_with(&[&safe[..], &["--replicaof", "127.0.0.1", &port]].concat()).unwrap();
    let in_step = || Ok(replica.say("INFO replication")?.contains("master_link_status:up").then_some(()));
    wait::until("the replica is in step", SOON, in_step).unwrap();
    let sentinel = Redis::sentinel(master.port()).unwrap();
    let knows =
        || Ok(sentinel.say("SENTINEL REPLICAS swarm")?.contains(&replica.port().to_string()).then_some(()));
    wait::until("the sentinel knows the replica", SOON, knows).unwrap();

    let place = format!(
        "sentinels = [\"127.0.0.1:{}\"]\nsentinel_master = \"swarm\"\nwait_replicas = 1",
        sentinel.port()
    );
    let mut house = House::new(2, &place).unwrap();
    for n in [0, 1] {
        house.start(n).unwrap();
    }
    let mut crew = Crew::start(&house.client().unwrap(), DRONES, house.folder()).await.unwrap();
    crew.works(SOME).await.unwrap();

    let old = Pid::from_raw(i32::try_from(master.id().unwrap()).unwrap()).unwrap();
    kill_process(old, Signal::STOP).unwrap();
    // Sentinel closes a server's connections when it changes its role.
    let has_role = |redis: &Redis, role| Ok(redis.say("ROLE").is_ok_and(|r| r.contains(role)).then_some(()));
    let is_master = || has_role(&replica, "master");
    wait::until("the replica is the master", SOON, is_master).unwrap();
    // For a moment it still believes that it is the master.
    kill_process(old, Signal::CONT).unwrap();
    {
        let mut works = std::pin::pin!(crew.works(SOME));
        loop {
            tokio::select! {
                worked = &mut works => break worked.unwrap(),
                () = tokio::time::sleep(std::time::Duration::from_millis(100)) => house.revive().unwrap(),
            }
        }
    }
    wait::until("the old master follows", SOON, || has_role(&master, "slave")).unwrap();
    all_is_there(&replica, &house, crew).await;
}
