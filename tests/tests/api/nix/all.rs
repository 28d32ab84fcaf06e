//! The common cache of all Nix profiles.

use super::{built, key, only, realise, url};
use crate::advice::follow;
use std::fs;
use swarm_common::state::RunClass;
use swarm_common::wire::{
    admin::{ProfileRequest, StartRunRequest},
    nix::{ALL_PROFILES, base_name},
    view::ProfileView,
};
use swarm_tests::api::{PROFILE, Swarm, name, nix::World, until};

/// Creates a second Nix profile with a run that reuses a library from the first one.
async fn with_library(swarm: &Swarm, world: &World) {
    let ProfileView { builder, snapshot, source, base, rebuild, publish, .. } =
        swarm.admin.profile(&name(PROFILE)).await.unwrap();
    let request =
        ProfileRequest { builder, snapshot, source, base, rebuild, publish, cpu: Default::default() };
    swarm.admin.put_profile(&name("den"), &request, &crate::key()).await.unwrap();
    let run = StartRunRequest { profile: name("den"), class: RunClass::Interactive };
    swarm.admin.start_run(&run, &crate::key()).await.unwrap();
    let drone = swarm.nix_drone("two").await.unwrap();
    drone.bring_plan(only(&world.plan().await.unwrap(), &["lib-1.0"])).await.unwrap();
    let den = async || swarm.admin.profile(&name("den")).await.unwrap().generation;
    until("den is published", async || (den().await > 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_of_all_profiles_has_what_one_of_them_has_and_no_longer() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    with_library(&swarm, &world).await;
    let all = url(&swarm).replace(PROFILE, ALL_PROFILES);
    realise(&world, "client", &top, &all, &key(&swarm).await).await.unwrap();
    let closure = world.ok("client", "nix-store", &["-qR", &top]).await.unwrap();
    let narinfo = |end: &str| {
        let path = closure.lines().find(|path| path.ends_with(end)).unwrap();
        format!("{}.narinfo", &base_name(path)[..32])
    };

    // The lane's response, and that of the router, which also accepts queries.
    let get = async |path: &str| {
        let mut answers = Vec::new();
        for end in ["", "?x"] {
            let line = format!("GET /binhost/{ALL_PROFILES}/{path}{end}");
            answers.push(swarm.raw().await.unwrap().ask(&line, &[], b"").await.unwrap());
        }
        assert_eq!((answers[0].status, &answers[0].body), (answers[1].status, &answers[1].body), "{path}");
        answers.remove(0)
    };
    assert_eq!(get("nix-cache-info").await.status, 200);
    for pointer in ["ready/desk", "generations/1/ready-desk"] {
        assert_eq!(get(pointer).await.status, 404, "it is of one profile: {pointer}");
    }
    let stable = swarm.app.binhosts.stable(&name(PROFILE));
    for (file, left) in [(narinfo("-lib-1.0"), 200), (narinfo("-prog-2.0"), 404)] {
        let before = get(&file).await;
        assert_eq!(before.status, 200);
        fs::remove_file(stable.join(&file)).unwrap();
        let after = get(&file).await;
        assert_eq!(after.status, left, "{file}");
        assert!(left == 404 || after.body == before.body, "both profiles have the same");
    }
    let setup = follow(&swarm, "swarmctl client setup --all --address http://nas:8100").await;
    assert!(setup.contains("extra-substituters = http://nas:8100/binhost/_nix\n"), "{setup}");
}
