//! Upstream caches: what they have counts as a reference, and one that does not answer is told.

use super::{built, key, only, url};
use swarm_common::wire::{
    concern::{Concern, ConcernKind},
    drone::Outcome,
};
use swarm_orchestrator::metrics;
use swarm_tests::api::{Receiver, Swarm, nix::World, until};

const OTHER_KEY: &str = "swarm-other-1:fM2i9qGiocAwtR4qUr6MOqeoyQaLEK8g2jo84DCu9MU=";

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_an_upstream_cache_counts_as_a_reference_only_if_the_cache_has_it_with_its_signature() {
    let world = World::new().unwrap();
    let (upstream, _) = built(&world).await.unwrap();
    let plan = world.plan().await.unwrap();
    for (key, expected) in [(key(&upstream).await, &["lib-1.0", "seed"][..]), (OTHER_KEY.to_owned(), &[])] {
        let swarm = Swarm::start().await.unwrap();
        let drone = swarm.nix_drone("one").await.unwrap();
        swarm.nix_profile(&[(url(&upstream), key)]).await.unwrap();
        swarm.nix_run(&drone, only(&plan, &["prog-2.0"])).await.unwrap();
        drone.build_from(&world).await.unwrap();
        let artifact = &swarm.admin.artifacts(None).await.unwrap()[0];
        let references = &artifact.nar.as_ref().unwrap().references;
        let mut names: Vec<&str> = references.iter().map(|path| &path[33..]).collect();
        names.sort_unstable();
        assert_eq!(names, expected);
    }
}

/// What is said of upstream caches, after they were asked again.
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
    let (cache, told) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    cache.answer_with(503);
    let swarm = Swarm::start_with(|config| told.subscribe(config).unwrap()).await.unwrap();
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
    let heard = |words: &str| told.taken().iter().any(|post| post.text("text").contains(words)).then_some(());
    until("it is told", async || heard(&words)).await;

    cache.answer_with(404);
    assert_eq!(concerns(&swarm).await, [], "it was asked again");
    assert!(!metrics::text(&swarm.app).contains(line));
    until("its end is told", async || heard("resolved")).await;
    let artifacts = drone.bring(&world, attempt, &order.targets).await.unwrap();
    assert!(drone.report(attempt, Outcome::Built { artifacts }).await.unwrap().accepted);
}
