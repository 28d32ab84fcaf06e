//! The binary package hosts over HTTP, with requests like Portage's.

use swarm_common::{
    state::*,
    wire::drone::{Failure, Outcome},
};
use swarm_formats::portage::packages_index::PackagesIndex;
use swarm_tests::api::{Answer, PROFILE, Swarm, name, package_for, pebble, pebble_at, plan_of, until};

const PORTAGE: (&str, &str) = ("user-agent", "Gentoo Portage/3.0.83");

async fn get(swarm: &Swarm, path: &str, headers: &[(&str, &str)]) -> Answer {
    let line = format!("GET /binhost/{path}");
    swarm.raw().await.unwrap().ask(&line, headers, b"").await.unwrap()
}

pub async fn index(swarm: &Swarm, path: &str) -> Vec<String> {
    index_if_any(swarm, path).await.unwrap_or_else(|| panic!("{path} has no index"))
}

/// The paths in an index; `None` if there is no index.
pub async fn index_if_any(swarm: &Swarm, path: &str) -> Option<Vec<String>> {
    let answer = get(swarm, &format!("{path}/Packages"), &[]).await;
    if answer.status == 404 {
        return None;
    }
    assert_eq!(answer.status, 200, "{path}");
    let index = PackagesIndex::parse(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    Some(index.entries().map(|entry| entry.path().to_owned()).collect())
}

/// Waits until the profile's stable channel has this generation.
pub async fn generation(swarm: &Swarm, expected: u64) {
    let generation = || swarm.app.engine.read(|s| s.profiles[&name(PROFILE)].generation);
    until("the generation", async || (generation() >= expected).then_some(())).await;
}

#[tokio::test]
async fn a_drone_that_gets_a_package_finds_its_dependencies_in_the_runs_index() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let plan = drone.work().await.unwrap();
    assert_eq!(plan.binhost, format!("/binhost/desk/runs/{run}"));
    let binhost = plan.binhost.trim_start_matches("/binhost/");
    assert!(index(&swarm, binhost).await.is_empty(), "there is an index from the first assignment on");
    let planned = Outcome::Planned { plan: plan_of(&[pebble(), pebble_at("1.10", "0")]) };
    drone.report(plan.attempt, planned).await.unwrap();
    drone.build().await.unwrap();
    let (_, order) = drone.build_order().await.unwrap();
    assert_eq!(order.targets[0].portage().unwrap().cpv.version(), "1.10");
    assert_eq!(index(&swarm, binhost).await, ["dev-libs/pebble/pebble-1.2-1.gpkg.tar"]);
    assert_eq!(get(&swarm, "desk/Packages", &[]).await.status, 404, "nothing is stable yet");
}

#[tokio::test]
async fn an_ended_run_is_published_as_a_new_generation() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    generation(&swarm, 1).await;
    let path = "dev-libs/pebble/pebble-1.2-1.gpkg.tar";
    assert_eq!(index(&swarm, "desk").await, [path]);
    let view = swarm.admin.profile(&name(PROFILE)).await.unwrap();
    assert_eq!((view.generation, view.published_packages), (1, 1));
    let artifact = &swarm.admin.artifacts(None).await.unwrap()[0];
    let file = get(&swarm, &format!("desk/{path}"), &[]).await;
    assert_eq!(swarm_common::digest::Digest::of(&file.body), artifact.digest);
    let compressed = get(&swarm, "desk/Packages.gz", &[]).await;
    assert_eq!(&compressed.body[..2], [0x1f, 0x8b]);
    assert_eq!(compressed.header("content-encoding"), "");
}

#[tokio::test]
async fn what_a_newer_run_could_not_build_stays_published_as_it_was() {
    let swarm = Swarm::start_with(|config| config.policy.package_failures = Some(1)).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    generation(&swarm, 1).await;
    let second = swarm.run().await.unwrap();
    drone.bring_plan(plan_of(&[pebble_at("1.10", "0")])).await.unwrap();
    let (attempt, _) = drone.build_order().await.unwrap();
    let failure = Failure {
        class: FailureClass::Package,
        cause: None,
        phase: Phase::Building,
        signature: "e".to_owned(),
        message: "e".to_owned(),
    };
    drone.report(attempt, Outcome::Failed { failure }).await.unwrap();
    assert_eq!(swarm.admin.run(second).await.unwrap().state, RunState::Partial);
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, std::time::Duration::from_secs(60)).await);
    assert_eq!(index(&swarm, "desk").await, ["dev-libs/pebble/pebble-1.2-1.gpkg.tar"]);

    // A third run, for which the ebuild was fixed, builds the new version, which is published.
    swarm.run().await.unwrap();
    let mut mended = pebble_at("1.10", "0");
    mended.inputs = swarm_common::digest::Digest::of(b"mended");
    drone.bring_plan(plan_of(&[mended])).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    assert_eq!(order.targets[0].portage().unwrap().build_id, 2, "a build id is never used twice");
    let bytes = package_for(&order.targets[0]);
    let artifact = drone.upload_bytes(attempt, &order.targets[0], bytes).await.unwrap();
    drone.report(attempt, Outcome::Built { artifacts: vec![artifact] }).await.unwrap();
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, std::time::Duration::from_secs(60)).await);
    assert_eq!(index(&swarm, "desk").await, ["dev-libs/pebble/pebble-1.10-2.gpkg.tar"]);
}

#[tokio::test]
async fn conditional_requests_are_answered_for_portages_habit_of_five_seconds() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    generation(&swarm, 1).await;
    let first = get(&swarm, "desk/Packages.gz", &[]).await;
    let modified = first.header("last-modified").to_owned();
    let text = get(&swarm, "desk/Packages", &[]).await;
    let text = PackagesIndex::parse(std::str::from_utf8(&text.body).unwrap()).unwrap();
    let dated = swarm_orchestrator::serve::conditional::http_date;
    assert_eq!(modified, dated(text.timestamp()), "Last-Modified is TIMESTAMP");
    let ask = async |seconds: u64| {
        let since = dated(seconds);
        get(&swarm, "desk/Packages.gz", &[PORTAGE, ("if-modified-since", since.as_str())]).await.status
    };
    assert_eq!(ask(text.timestamp() + 5).await, 304);
    assert_eq!(ask(text.timestamp() + 4).await, 200, "as if it had an index one second older");
}

#[tokio::test]
async fn ranges_and_heads_are_answered() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    generation(&swarm, 1).await;
    let path = "desk/dev-libs/pebble/pebble-1.2-1.gpkg.tar";
    let whole = get(&swarm, path, &[]).await;
    let size = whole.body.len();
    let part = get(&swarm, path, &[("range", "bytes=100-199")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &whole.body[100..200]));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{size}"));
    let rest = get(&swarm, path, &[("range", "bytes=-10")]).await;
    assert_eq!(&rest.body[..], &whole.body[size - 10..]);
    let beyond = get(&swarm, path, &[("range", "bytes=99999999-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, &*format!("bytes */{size}")));
    let line = format!("HEAD /binhost/{path}");
    let head = swarm.raw().await.unwrap().ask(&line, &[], b"").await.unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, &*size.to_string()));
}

#[tokio::test]
async fn whatever_is_absent_or_not_for_clients_is_not_found() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    generation(&swarm, 1).await;
    for path in [
        "none/Packages",
        "desk/packages",
        "desk/dev-libs/pebble/pebble-9-1.gpkg.tar",
        "desk/generations/1/Packages",
        "desk/../../admin.token",
        "desk/..%2f..%2f..%2fadmin.token",
        "desk/%2e%2e/%2e%2e/signing-key.asc",
        "desk/..%2fruns%2fr1%2fPackages",
        "..%2f..%2fstate/Packages",
        "desk/runs/r99/Packages",
        "desk/runs/..%2fstable/Packages",
        "desk/dev-libs",
        "desk/",
        "desk/dev-libs/pebble%00/x.gpkg.tar",
    ] {
        let answer = get(&swarm, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}: {}", String::from_utf8_lossy(&answer.body));
    }
    assert_eq!(get(&swarm, &format!("desk/runs/{run}/Packages"), &[]).await.status, 200);
}

#[tokio::test]
async fn large_files_are_streamed_whole_and_in_parts() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let dir = swarm.app.binhosts.run(&name(PROFILE), run).join("dev-libs/cliff");
    std::fs::create_dir_all(&dir).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    std::fs::write(dir.join("cliff-1-1.gpkg.tar"), &bytes).unwrap();
    let path = &format!("desk/runs/{run}/dev-libs/cliff/cliff-1-1.gpkg.tar");
    assert!(get(&swarm, path, &[]).await.body == bytes);
    let part = get(&swarm, path, &[("range", "bytes=1000000-1999999")]).await;
    assert_eq!(part.status, 206);
    assert!(part.body == bytes[1_000_000..2_000_000]);
    let modified = part.header("last-modified").to_owned();
    let resumed = [("range", "bytes=2999990-"), ("if-range", modified.as_str())];
    assert_eq!(&get(&swarm, path, &resumed).await.body[..], &bytes[2_999_990..]);
    let old = "Thu, 01 Jan 1970 00:00:00 GMT";
    let changed = get(&swarm, path, &[("range", "bytes=2999990-"), ("if-range", old)]).await;
    assert_eq!((changed.status, changed.body.len()), (200, bytes.len()));
}
