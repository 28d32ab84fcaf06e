//! Logs of attempts.

use crate::refused;
use swarm_client::{ByteStream, Bytes, LogAppend};
use swarm_common::{id::AttemptId, wire::drone::Outcome};
use swarm_daemon::config::Size;
use swarm_tests::api::Swarm;

async fn rest(mut stream: ByteStream) -> String {
    let mut text = String::new();
    while let Some(piece) = stream.next().await.unwrap() {
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    text
}

#[tokio::test]
async fn a_log_grows_by_pieces_that_fit_on() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let error = swarm.admin.package_log(order.package, None, false).await.err().unwrap();
    assert_eq!(error.status(), Some(404));
    let append = async |offset, text: &'static str| {
        drone.client.append_log(attempt, offset, Bytes::from_static(text.as_bytes())).await.unwrap()
    };
    assert_eq!(append(0, "one\n").await, LogAppend::Stored);
    assert_eq!(append(0, "one\n").await, LogAppend::StandsAt(4));
    assert_eq!(append(9, "three\n").await, LogAppend::StandsAt(4));
    assert_eq!(append(4, "two\n").await, LogAppend::Stored);
    let log = swarm.admin.package_log(order.package, Some(attempt), false).await.unwrap();
    assert_eq!(rest(log).await, "one\ntwo\n");
}

#[tokio::test]
async fn the_log_of_a_runs_plan_is_kept_though_the_plan_failed() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let attempt = drone.work().await.unwrap().attempt;
    drone.client.append_log(attempt, 0, Bytes::from_static(b"plan: the resolver broke off\n")).await.unwrap();
    assert_eq!(swarm.admin.run(run).await.unwrap().plan_attempts, [attempt]);
    let log = swarm.admin.plan_log(run, None, false).await.unwrap();
    assert_eq!(rest(log).await, "plan: the resolver broke off\n");
    let other = swarm.admin.plan_log(run, Some(AttemptId(99)), false).await.err().unwrap();
    assert_eq!(other.status(), Some(404));
}

#[tokio::test]
async fn a_followed_log_streams_live_and_ends_with_the_attempt() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    drone.client.append_log(attempt, 0, Bytes::from_static(b"one\n")).await.unwrap();
    let mut log = swarm.admin.package_log(order.package, None, true).await.unwrap();
    assert_eq!(&log.next().await.unwrap().unwrap()[..], b"one\n");
    drone.client.append_log(attempt, 4, Bytes::from_static(b"two\n")).await.unwrap();
    assert_eq!(&log.next().await.unwrap().unwrap()[..], b"two\n");
    drone.report(attempt, Outcome::HandedBack { reason: "stopped".to_owned() }).await.unwrap();
    assert_eq!(log.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_log_has_a_bound_and_so_has_a_piece() {
    let swarm = Swarm::start_with(|config| {
        config.policy.log_size = Some(Size::from_bytes(10));
        config.limits.log_piece_size = Size::from_bytes(20);
    })
    .await
    .unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, _) = drone.build_order().await.unwrap();
    for bytes in [11, 21] {
        let piece = Bytes::from(vec![b'x'; bytes]);
        assert_eq!(refused(drone.client.append_log(attempt, 0, piece).await), 413, "{bytes}");
    }
}
