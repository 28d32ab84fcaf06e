//! Pinned generations, with their files on disk: a rollback serves exactly what was pinned, although everything
//! else of that time is removed.

use crate::{
    advice::follow,
    binhost::{generation, index},
    key,
};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use swarm_common::{
    digest::Digest,
    time::TimeMs,
    wire::{
        channel::{ChannelView, PinRequest, RollbackRequest},
        drone::Outcome,
    },
};
use swarm_tests::api::{FakeDrone, PROFILE, Swarm, TestClock, name, package_for, pebble_at, plan_of, until};

const HOUR_MS: u64 = 3_600_000;

/// A swarm that keeps as little as possible, and its clock.
pub async fn forgetful() -> (Swarm, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    let swarm = Swarm::start_at(Some(clock.clone()), |config| config.policy.keep_runs = Some(1)).await;
    (swarm.unwrap(), clock)
}

pub async fn pin(swarm: &Swarm, generation: u64, note: &str) -> ChannelView {
    let request = PinRequest { note: note.to_owned() };
    swarm.admin.pin(&name(PROFILE), generation, &request, &key()).await.unwrap()
}

pub async fn roll_back(swarm: &Swarm, to: u64) -> u64 {
    let request = RollbackRequest { generation: Some(to) };
    let channel = swarm.admin.roll_back(&name(PROFILE), request, &key()).await.unwrap();
    let number = channel.generations[0].number;
    generation(swarm, number).await;
    number
}

/// Lets two days pass, in steps after which the clean-up believes the clock, and cleans up.
pub async fn clean(mut swarm: Swarm, clock: &TestClock) -> Swarm {
    for _ in 0..4 {
        clock.forward(12 * HOUR_MS);
        swarm = swarm.restart().await.unwrap();
        let started = swarm.admin.status().await.unwrap().started_at;
        let cleaned = async || {
            let passes = swarm.admin.status().await.unwrap().passes;
            let pass = passes.into_iter().find(|pass| pass.name == "leftovers")?;
            (pass.last_run >= started && pass.last_run > TimeMs(0)).then_some(pass)
        };
        let pass = until("the clean-up", cleaned).await;
        assert_eq!(pass.trouble, None, "{pass:?}");
    }
    swarm
}

/// A run that builds these packages, and their digests by path.
async fn night(swarm: &Swarm, drone: &FakeDrone, version: u32) -> BTreeMap<String, Digest> {
    swarm.run().await.unwrap();
    let mut lib = pebble_at(&format!("{version}.0"), "0");
    lib.cpv = format!("dev-libs/gravel-{version}.0").parse().unwrap();
    drone.bring_plan(plan_of(&[lib, pebble_at(&format!("{version}.1"), "0")])).await.unwrap();
    let mut built = BTreeMap::new();
    for _ in 0..2 {
        let (attempt, order) = drone.build_order().await.unwrap();
        drone.upload_bytes(attempt, &order.targets[0], package_for(&order.targets[0])).await.unwrap();
        let digest = Digest::of(&package_for(&order.targets[0]));
        let outcome = Outcome::Built { artifacts: vec![digest] };
        assert!(drone.report(attempt, outcome).await.unwrap().accepted);
    }
    generation(swarm, u64::from(version)).await;
    for artifact in swarm.admin.artifacts(None).await.unwrap() {
        built.insert(artifact.path(), artifact.digest);
    }
    built.retain(|path, _| path.contains(&format!("-{version}.")));
    built
}

#[tokio::test]
async fn thirty_nights_after_a_pin_a_rollback_serves_exactly_its_packages() {
    let (swarm, clock) = forgetful().await;
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let first = night(&swarm, &drone, 1).await;
    let output = follow(&swarm, "swarmctl channel pin desk 1 --note before-KDE").await;
    assert!(output.starts_with("Generation 1 of desk is pinned: before-KDE\n"), "{output}");
    let second = night(&swarm, &drone, 2).await;
    for version in 3..=31 {
        night(&swarm, &drone, version).await;
    }
    let swarm = clean(swarm, &clock).await;
    let channel = swarm.admin.channel(&name(PROFILE)).await.unwrap();
    let kept: Vec<_> = channel.generations.iter().map(|g| (g.number, g.pinned.as_deref())).collect();
    assert_eq!(kept, [(31, None), (30, None), (1, Some("before-KDE"))]);
    let is_stored = |digest: &Digest| Path::new(&*swarm.app.store.describe(*digest)).exists();
    assert!(!second.values().any(is_stored), "the clean-up removes what is not pinned");
    assert!(first.len() == 2 && first.values().all(is_stored));

    assert_eq!(roll_back(&swarm, 1).await, 32);
    let serves = async || {
        let mut paths = index(&swarm, "desk").await;
        paths.sort();
        paths.iter().eq(first.keys()).then_some(())
    };
    until("the index of the pinned generation", serves).await;
    for (path, digest) in &first {
        let line = format!("GET /binhost/desk/{path}");
        let answer = swarm.raw().await.unwrap().ask(&line, &[], b"").await.unwrap();
        assert_eq!((answer.status, Digest::of(&answer.body)), (200, *digest), "{path}");
    }
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (Vec::<String>::new(), Vec::new()));
    let shown = follow(&swarm, "swarmctl channel show desk").await;
    assert!(shown.contains("PINNED") && shown.contains("before-KDE"), "{shown}");

    let output = follow(&swarm, "swarmctl channel unpin desk 1").await;
    assert!(output.starts_with("Generation 1 of desk is no longer kept"), "{output}");
    let error = swarm.admin.unpin(&name(PROFILE), 1, &key()).await.unwrap_err();
    assert!(error.to_string().contains("no generation 1 of `desk` is kept, only 31 and 32"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_pinned_is_refused_with_what_exists() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    night(&swarm, &drone, 1).await;
    let refused = async |profile: &str, generation: u64, note: &str| {
        let request = PinRequest { note: note.to_owned() };
        let error = swarm.admin.pin(&name(profile), generation, &request, &key()).await.unwrap_err();
        (error.status().unwrap(), error.to_string())
    };
    let (status, text) = refused(PROFILE, 7, "").await;
    assert_eq!(status, 404);
    assert!(text.contains("no generation 7 of `desk` is kept, only 1"), "{text}");
    assert_eq!(refused("none", 1, "").await.0, 404);
    assert_eq!(refused(PROFILE, 1, "two\nlines").await.0, 422);
    assert_eq!(refused(PROFILE, 1, &"x".repeat(201)).await.0, 422);
    let error = swarm.admin.unpin(&name(PROFILE), 1, &key()).await.unwrap_err();
    assert_eq!(error.status(), Some(409));
    assert!(error.to_string().contains("generation 1 of `desk` is not pinned"), "{error}");
    // The body may be left out.
    let token = format!("Bearer {}", swarm.admin_token());
    let headers = [("authorization", token.as_str()), ("idempotency-key", "first")];
    let line = "PUT /api/v1/channels/desk/generations/1/pin";
    assert_eq!(swarm.raw().await.unwrap().ask(line, &headers, b"").await.unwrap().status, 200);
    let channel = swarm.admin.channel(&name(PROFILE)).await.unwrap();
    assert_eq!(channel.generations[0].pinned.as_deref(), Some(""));
    assert_eq!(pin(&swarm, 1, "ä note").await.generations[0].pinned.as_deref(), Some("ä note"));
}
