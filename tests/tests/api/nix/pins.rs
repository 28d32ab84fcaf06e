//! A pinned generation of a Nix cache: what clients need of it stays on disk, while everything else of that time
//! is removed.

use super::{get, key, only, output_of, realise, url};
use crate::{
    binhost::generation,
    pins::{clean, forgetful, pin, roll_back},
};
use std::fs;
use swarm_common::{
    digest::Digest,
    wire::{nix::NixRoot, plan::PlanReport, ready::Ready},
};
use swarm_tests::api::{
    PROFILE, Swarm, name,
    nix::{World, fields},
};

/// The part of a plan that builds these packages; the last is the system of the host.
fn part(plan: &PlanReport, names: &[&str]) -> PlanReport {
    let path = output_of(plan, names.last().unwrap());
    let roots = vec![NixRoot { attribute: PROFILE.to_owned(), path, host: true }];
    PlanReport { roots, ..only(plan, names) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_generation_of_nix_keeps_its_narinfos_archives_and_lock() {
    let world = World::new().unwrap();
    let (mut swarm, clock) = forgetful().await;
    let mut drone = swarm.nix_drone("one").await.unwrap();
    let lock = r#"{ "nodes": { "root": {} }, "root": "root", "version": 7 }"#;
    let source = |commit: u32| {
        let commit = format!("{commit:040}");
        serde_json::json!({ "flake": true, "file": "flake.nix", "hosts": ["desk"], "lock": Digest::of(lock.as_bytes()),
            "commit": commit })
    };
    let whole = world.plan().await.unwrap();
    let pinned = part(&whole, &["seed", "lib-1.0", "prog-2.0"]);
    let (twins, fixed) = (part(&whole, &["seed", "twins-1.0"]), part(&whole, &["seed", "fixed.txt"]));
    let mut first = Vec::new();
    for night in 1..=9_u32 {
        let files = [("flake.nix", "{ }"), ("flake.lock", lock)];
        swarm.nix_profile_of(&source(night), &files).await.unwrap();
        let plan = match night {
            1 => &pinned,
            even if even % 2 == 0 => &twins,
            _ => &fixed,
        };
        let run = swarm.nix_run(&drone, plan.clone()).await.unwrap();
        let is_over = |swarm: &Swarm| swarm.app.engine.read(|state| state.runs[&run].state.is_over());
        while !is_over(&swarm) {
            drone.build_from(&world).await.unwrap();
        }
        generation(&swarm, u64::from(night)).await;
        if night == 1 {
            first = swarm.admin.artifacts(None).await.unwrap();
            pin(&swarm, 1, "").await;
        }
        if night == 5 {
            swarm = clean(swarm, &clock).await;
            drone = swarm.nix_drone("two").await.unwrap();
        }
    }
    let swarm = clean(swarm, &clock).await;
    assert_eq!(first.len(), 3, "{first:?}");
    let cache = swarm.app.binhosts.stable(&name(PROFILE));
    let path = output_of(&pinned, "prog-2.0");
    let before: Ready =
        serde_json::from_slice(&fs::read(cache.join("generations/1/ready-desk")).unwrap()).unwrap();
    assert_eq!((&before.path, before.lock), (&path, Some(Digest::of(lock.as_bytes()))));
    assert!(!cache.join("generations/5").exists(), "the clean-up removes what is not pinned");
    for artifact in &first {
        let narinfo = cache.join(format!("{}.narinfo", &artifact.target.id()["/nix/store/".len()..][..32]));
        let fields = fields(&fs::read(narinfo).unwrap());
        assert_eq!(fields["StorePath"], artifact.target.id());
        assert!(cache.join(&fields["URL"]).exists());
    }

    let number = roll_back(&swarm, 1).await;
    let ready = get(&swarm, "ready/desk", &[]).await;
    let ready: Ready = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!((ready.generation, &ready.path, ready.run), (number, &path, before.run));
    assert_eq!((ready.commit, ready.lock), (before.commit, before.lock), "its run is forgotten");
    let (url, key) = (url(&swarm), key(&swarm).await);
    realise(&world, "client", &path, &url, &key).await.unwrap();
    let output = world.ok("client", "nix", &["shell", &path, "-c", "prog"]).await.unwrap();
    assert_eq!(output, "the library speaks");
}
