//! Upstream caches: their paths count as references, and a cache that does not answer is reported.

use super::{built, intake::strings, key, only, output_of, url};
use crate::binhost::generation;
use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
};
use std::fs;
use swarm_common::wire::{
    concern::{Concern, ConcernKind},
    drone::Outcome,
    nix::base_name,
    plan::PlanReport,
};
use swarm_orchestrator::metrics;
use swarm_tests::api::{PROFILE, Receiver, Swarm, name, nix::World, until};

const OTHER_KEY: &str = "swarm-other-1:fM2i9qGiocAwtR4qUr6MOqeoyQaLEK8g2jo84DCu9MU=";

/// Names of the only artifact's references.
async fn references(swarm: &Swarm) -> Vec<String> {
    let artifact = &swarm.admin.artifacts(None).await.unwrap()[0];
    let references = &artifact.nar.as_ref().unwrap().references;
    let mut names: Vec<String> = references.iter().map(|path| path[33..].to_owned()).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_is_in_a_cache_with_its_signature_or_the_output_is_refused() {
    let world = World::new().unwrap();
    let (upstream, _) = built(&world).await.unwrap();
    let plan = world.plan().await.unwrap();
    for (key, is_reported, expected) in [
        (key(&upstream).await, true, Some(&["lib-1.0", "seed"][..])),
        (OTHER_KEY.to_owned(), true, None),
        // Drones of older versions do not report what Nix registered.
        (key(&upstream).await, false, Some(&["lib-1.0", "seed"])),
        (OTHER_KEY.to_owned(), false, Some(&[])),
    ] {
        let swarm = Swarm::start().await.unwrap();
        let drone = swarm.nix_drone("one").await.unwrap();
        swarm.nix_profile(&[(url(&upstream), key)]).await.unwrap();
        swarm.nix_run(&drone, only(&plan, &["prog-2.0"])).await.unwrap();
        let (attempt, order) = drone.build_order().await.unwrap();
        let artifacts = drone.bring(&world, attempt, &order.targets).await.unwrap();
        let registered = world.references(order.targets[0].id()).await.unwrap();
        assert_eq!(registered.len(), 2, "{registered:?}");
        let reported = if is_reported { vec![registered.clone()] } else { Vec::new() };
        let report = drone.report_with(attempt, artifacts, reported).await;
        let Some(expected) = expected else {
            let refused = report.unwrap_err().to_string();
            let names = registered.iter().any(|path| refused.contains(path));
            assert!(names && refused.contains(&url(&upstream)), "{refused}");
            assert!(swarm.admin.artifacts(None).await.unwrap().is_empty());
            continue;
        };
        assert!(report.unwrap().accepted);
        assert_eq!(references(&swarm).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_is_only_a_hash_is_found_if_the_drone_tells_it() {
    let world = World::new().unwrap();
    let (upstream, _) = built(&world).await.unwrap();
    let plan = world.plan().await.unwrap();
    let lib = base_name(&output_of(&plan, "lib-1.0")).to_owned();
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.nix_drone("one").await.unwrap();
    swarm.nix_profile(&[(url(&upstream), key(&upstream).await)]).await.unwrap();
    swarm.nix_run(&drone, only(&plan, &["prog-2.0"])).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let words: [&[u8]; 7] =
        [b"nix-archive-1", b"(", b"type", b"regular", b"contents", &lib.as_bytes()[..32], b")"];
    let packed = zstd::encode_all(&strings(&words)[..], 3).unwrap();
    let digest = drone.upload_bytes(attempt, &order.targets[0], packed).await.unwrap();
    // The archive does not contain the second path, so the cache is not asked for it.
    let reported = vec![lib, format!("{}-other", "a".repeat(32))];
    assert!(drone.report_with(attempt, vec![digest], vec![reported]).await.unwrap().accepted);
    assert_eq!(references(&swarm).await, ["lib-1.0"]);
}

/// A cache that answers 403 for all paths, and with this status for its own information.
async fn forbidding(info: StatusCode) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |uri: Uri| async move {
        if uri.path() == "/nix-cache-info" { info } else { StatusCode::FORBIDDEN }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_lacks_what_it_forbids_only_if_it_forbids_what_nobody_has_and_answers_otherwise() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    for (info, is_taken) in [(StatusCode::OK, true), (StatusCode::FORBIDDEN, false)] {
        let swarm = Swarm::start().await.unwrap();
        let drone = swarm.nix_drone("one").await.unwrap();
        swarm.nix_profile(&[(forbidding(info).await, OTHER_KEY.to_owned())]).await.unwrap();
        swarm.nix_run(&drone, only(&plan, &["prog-2.0"])).await.unwrap();
        let (attempt, order) = drone.build_order().await.unwrap();
        let brought = drone.bring(&world, attempt, &order.targets).await;
        assert_eq!(brought.is_ok(), is_taken, "{brought:?}");
        if let Err(error) = brought {
            assert!(error.to_string().contains("cannot be asked: HTTP 403"), "{error}");
        }
    }
}

/// A proxy in front of a cache, for the login `ada` with the password `s3cret`.
async fn with_password(cache: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |uri: Uri, headers: HeaderMap| {
        let cache = cache.clone();
        async move {
            // `ada:s3cret` in base64.
            if headers.get("authorization").is_none_or(|value| value != "Basic YWRhOnMzY3JldA==") {
                return (StatusCode::UNAUTHORIZED, Bytes::new());
            }
            let answer = reqwest::get(format!("{cache}{}", uri.path())).await.unwrap();
            (answer.status(), answer.bytes().await.unwrap())
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_with_a_password_is_asked_with_that_of_the_netrc_file_and_a_wrong_one_is_named() {
    let world = World::new().unwrap();
    let (upstream, _) = built(&world).await.unwrap();
    let plan = world.plan().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let netrc = dir.path().join("netrc");
    let swarm = Swarm::start_with(|config| config.netrc_file = netrc.clone()).await.unwrap();
    let drone = swarm.nix_drone("one").await.unwrap();
    let proxy = with_password(url(&upstream)).await;
    swarm.nix_profile(&[(proxy, key(&upstream).await)]).await.unwrap();
    swarm.nix_run(&drone, only(&plan, &["prog-2.0"])).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    for (text, expected) in [
        (None, "HTTP 401 Unauthorized; its password in the file `netrc_file` is missing"),
        (Some("machine 127.0.0.1 login ada password wrong"), "`netrc_file` is wrong"),
    ] {
        text.into_iter().for_each(|text| fs::write(&netrc, text).unwrap());
        let refused = drone.bring(&world, attempt, &order.targets).await.unwrap_err().to_string();
        assert!(refused.contains(expected) && !refused.contains("wrong\""), "{refused}");
    }
    fs::write(&netrc, "machine 127.0.0.1 login ada password s3cret").unwrap();
    let artifacts = drone.bring(&world, attempt, &order.targets).await.unwrap();
    assert!(drone.report_with(attempt, artifacts, vec![]).await.unwrap().accepted);
    assert_eq!(references(&swarm).await, ["lib-1.0", "seed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_leaves_to_an_upstream_cache_is_there_with_its_signature_or_is_a_problem() {
    let world = World::new().unwrap();
    let (upstream, top) = built(&world).await.unwrap();
    let whole = world.plan().await.unwrap();
    let lib = output_of(&whole, "lib-1.0");
    for (key, is_there) in [(key(&upstream).await, true), (OTHER_KEY.to_owned(), false)] {
        let swarm = Swarm::start().await.unwrap();
        let drone = swarm.nix_drone("one").await.unwrap();
        swarm.nix_profile(&[(url(&upstream), key)]).await.unwrap();
        let (roots, available) = (whole.roots.clone(), vec![lib.clone()]);
        let plan = PlanReport { roots, available, ..only(&whole, &["prog-2.0"]) };
        let run = swarm.nix_run(&drone, plan).await.unwrap();
        let problems = swarm.admin.run(run).await.unwrap().problems;
        if is_there {
            assert_eq!(problems, []);
            continue;
        }
        let atoms: Vec<&str> = problems.iter().map(|problem| problem.atoms[0].as_str()).collect();
        assert_eq!(atoms, ["desk", base_name(&lib)], "{problems:?}");
        for (problem, path) in problems.iter().zip([&top, &lib]) {
            let says =
                problem.message.starts_with(path.as_str()) && problem.message.contains(&url(&upstream));
            assert!(says, "{problem:?}");
        }
        drone.build_from(&world).await.unwrap();
        generation(&swarm, 1).await;
        assert_eq!(swarm.admin.profile(&name(PROFILE)).await.unwrap().roots, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_a_profile_has_its_upstream_caches() {
    let swarm = Swarm::start().await.unwrap();
    let caches = [("https://cache.example.org".to_owned(), OTHER_KEY.to_owned())];
    swarm.nix_profile(&caches).await.unwrap();
    let found = swarm.admin.profile(&name(PROFILE)).await.unwrap().upstreams;
    let found: Vec<_> = found.into_iter().map(|cache| (cache.url, cache.keys.join(" "))).collect();
    assert_eq!(found, caches);
}

/// The concerns about upstream caches, after they were asked again.
async fn concerns(swarm: &Swarm) -> Vec<Concern> {
    swarm.app.checks.look().await.unwrap();
    let all = swarm.admin.status().await.unwrap().concerns;
    all.into_iter().filter(|concern| matches!(concern.fact, ConcernKind::UpstreamAway { .. })).collect()
}

// fault: 62
#[tokio::test(flavor = "multi_thread")]
async fn a_package_waits_for_an_upstream_cache_that_is_away_and_this_is_told_until_it_answers() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    let (cache, inbox) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    cache.answer_with(503);
    let swarm = Swarm::start_with(|config| inbox.subscribe(config).unwrap()).await.unwrap();
    let drone = swarm.nix_drone("one").await.unwrap();
    let address = format!("http://{}", cache.address);
    swarm.nix_profile(&[(address.clone(), OTHER_KEY.to_owned())]).await.unwrap();
    swarm.nix_run(&drone, only(&plan, &["prog-2.0"])).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    assert_eq!(concerns(&swarm).await, []);

    let refused = drone.bring(&world, attempt, &order.targets).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be asked: HTTP 503"), "{refused}");
    let found = concerns(&swarm).await;
    let words = format!("the upstream cache {address} does not answer");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what.starts_with(&words) && found[0].what.contains("HTTP 503"), "{found:?}");
    let line = "\nswarm_concern{kind=\"upstream_away\"} 1\n";
    assert!(metrics::text(&swarm.app).contains(line));
    let heard =
        |words: &str| inbox.taken().iter().any(|post| post.text("text").contains(words)).then_some(());
    until("a notification of it", async || heard(&words)).await;

    cache.answer_with(404);
    assert_eq!(concerns(&swarm).await, [], "it was asked again");
    assert!(!metrics::text(&swarm.app).contains(line));
    until("a notification of its end", async || heard("resolved")).await;
    let artifacts = drone.bring(&world, attempt, &order.targets).await.unwrap();
    assert!(drone.report(attempt, Outcome::Built { artifacts }).await.unwrap().accepted);
}
