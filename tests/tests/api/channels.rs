//! The generations of a stable channel over HTTP: an earlier one is served again and stays until the next
//! promotion.

use crate::{
    advice::follow,
    binhost::{generation, index_if_any},
    key,
};
use swarm_common::{
    id::RunId,
    wire::{
        admin::ProfileRequest,
        channel::{ChannelName, ChannelView, GenerationContents, PromoteRequest, RollbackRequest},
        concern::ConcernKind,
        cpu::CpuNeeds,
        view::ProfileView,
    },
};
use swarm_tests::api::{FakeDrone, PROFILE, Swarm, name, pebble, pebble_at, plan_of, until};

const OLD: &str = "dev-libs/pebble/pebble-1.2-1.gpkg.tar";
const NEW: &str = "dev-libs/pebble/pebble-1.10-1.gpkg.tar";

async fn run(swarm: &Swarm, drone: &FakeDrone, version: &str) -> RunId {
    let run = swarm.run().await.unwrap();
    let package = if version == "1.2" { pebble() } else { pebble_at(version, "0") };
    drone.bring_plan(plan_of(&[package])).await.unwrap();
    run
}

async fn roll_back(swarm: &Swarm, generation: Option<u64>) -> ChannelView {
    swarm.admin.roll_back(&name(PROFILE), RollbackRequest { generation }, &key()).await.unwrap()
}

/// Waits until the index contains this package.
async fn serves(swarm: &Swarm, path: &str) {
    let serves = async || index_if_any(swarm, "desk").await.filter(|paths| paths == &[path]);
    until("the index", serves).await;
    let line = format!("GET /binhost/desk/{path}");
    assert_eq!(swarm.raw().await.unwrap().ask(&line, &[], b"").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_rollback_serves_the_old_packages_also_after_a_restart_and_a_promotion_the_newer() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    run(&swarm, &drone, "1.2").await;
    drone.build().await.unwrap();
    generation(&swarm, 1).await;
    let second = run(&swarm, &drone, "1.10").await;
    drone.build().await.unwrap();
    serves(&swarm, NEW).await;

    let channel = roll_back(&swarm, Some(1)).await;
    let current = &channel.generations[0];
    assert_eq!((current.number, current.like, channel.generations.len()), (3, Some(1), 3));
    assert_eq!((channel.held, channel.staged.unwrap().run), (true, second));
    serves(&swarm, OLD).await;
    generation(&swarm, 3).await;
    let concerns = swarm.admin.status().await.unwrap().concerns;
    assert!(concerns.iter().any(|c| matches!(c.fact, ConcernKind::ChannelHeld { generation: 3, .. })));

    let swarm = swarm.restart().await.unwrap();
    serves(&swarm, OLD).await;
    let channel = swarm.admin.channel(&name(PROFILE)).await.unwrap();
    assert_eq!((channel.held, channel.generation, channel.generations[0].number), (true, 3, 3));
    let shown = follow(&swarm, "swarmctl channel show desk --json").await;
    assert_eq!(serde_json::from_str::<ChannelView>(&shown).unwrap(), channel);
    assert!(follow(&swarm, "swarmctl channel list").await.contains("no, held before r2"));
    let listed = follow(&swarm, "swarmctl channel show desk --generation 2 --json").await;
    let listed: GenerationContents = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed.generation, listed.packages.len()), (channel.generations[1].clone(), 1));
    let package = &listed.packages[0];
    assert_eq!((&*package.name, &*package.version, &*package.path), ("dev-libs/pebble", "1.10", NEW));
    let listed = follow(&swarm, "swarmctl channel show desk --generation 3").await;
    assert!(
        listed.starts_with("desk generation 3: 1 package of r1, with the content of 1, made "),
        "{listed}"
    );
    assert!(listed.contains("dev-libs/pebble  1.2 "), "{listed}");
    let output = follow(&swarm, "swarmctl channel rollback desk --generation 1").await;
    assert!(
        output.starts_with("desk is at generation 3: 1 package of r1, with the content of 1\n"),
        "{output}"
    );

    // Files missing on disk are published again as the same generation.
    let stable = swarm.app.binhosts.stable(&name(PROFILE));
    std::fs::remove_dir_all(&stable).unwrap();
    let swarm = swarm.restart().await.unwrap();
    until("the index", async || stable.join("generations/3/Packages").exists().then_some(())).await;
    serves(&swarm, OLD).await;

    let promote = PromoteRequest::default();
    let channel = swarm.admin.promote(&name(PROFILE), promote, &key()).await.unwrap();
    assert_eq!((channel.held, channel.generations[0].number, channel.generations[0].run), (false, 4, second));
    serves(&swarm, NEW).await;
    generation(&swarm, 4).await;
    assert_eq!(swarm.admin.channels().await.unwrap(), [swarm.admin.channel(&name(PROFILE)).await.unwrap()]);
}

// fault: 65
#[tokio::test]
async fn packages_of_an_earlier_run_that_are_lost_are_told_when_their_channel_is_published_without_them() {
    let mut swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    for version in ["1.2", "1.10"] {
        run(&swarm, &drone, version).await;
        drone.build().await.unwrap();
    }
    serves(&swarm, NEW).await;
    roll_back(&swarm, Some(1)).await;
    serves(&swarm, OLD).await;
    generation(&swarm, 3).await;
    assert_eq!(swarm.app.published.error(), None);

    let kept = swarm.admin.artifacts(None).await.unwrap().into_iter().find(|a| a.path() == OLD).unwrap();
    let file = swarm.app.store.describe(kept.digest);
    let entry = swarm.state_dir().join(format!("entries/{}", kept.digest));
    let stable = swarm.app.binhosts.stable(&name(PROFILE));
    let package = std::fs::read(&file).unwrap();
    for lost in [vec![file.as_ref()], vec![file.as_ref(), entry.as_path()]] {
        swarm = swarm
            .restart_after(|_| {
                lost.iter().for_each(|path| std::fs::remove_file(path).unwrap());
                std::fs::remove_dir_all(&stable).unwrap();
            })
            .await
            .unwrap();
        let error = until("the error is reported", async || swarm.app.published.error()).await;
        let says =
            format!("1 packages of desk are missing or damaged in the store, the first is {}", kept.digest);
        assert!(error.starts_with(&says), "{error}");
        let concerns = swarm.admin.status().await.unwrap().concerns;
        assert!(concerns.iter().any(|concern| concern.what.contains(&says)), "{concerns:?}");
        assert_eq!(index_if_any(&swarm, "desk").await, Some(Vec::new()));

        swarm = swarm.restart_after(|_| std::fs::write(&file, &package).unwrap()).await.unwrap();
        serves(&swarm, OLD).await;
        until("it is over", async || swarm.app.published.error().is_none().then_some(())).await;
    }
}

/// Makes the profile publish its runs in a channel.
pub async fn publish(swarm: &Swarm, channel: ChannelName) {
    let ProfileView { builder, snapshot, source, base, rebuild, .. } =
        swarm.admin.profile(&name(PROFILE)).await.unwrap();
    let cpu = CpuNeeds::default();
    let request = ProfileRequest { builder, snapshot, source, base, rebuild, publish: channel, cpu };
    swarm.admin.put_profile(&name(PROFILE), &request, &key()).await.unwrap();
}

/// Waits until staging has this generation.
pub async fn staged(swarm: &Swarm, number: u64) {
    let is_there = async || {
        let channel = swarm.admin.channel(&name(PROFILE)).await.unwrap();
        channel.staging.filter(|staging| staging.generation == number)
    };
    until("the staged generation", is_there).await;
}

#[tokio::test]
async fn what_is_built_is_served_in_staging_and_stable_stays_until_the_promotion() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    publish(&swarm, ChannelName::Staging).await;
    run(&swarm, &drone, "1.2").await;
    drone.build().await.unwrap();
    staged(&swarm, 1).await;
    assert_eq!(index_if_any(&swarm, "desk/staging").await.unwrap(), [OLD]);
    assert_eq!(index_if_any(&swarm, "desk").await, None, "nothing was promoted");
    // Older clients send no body.
    let token = format!("Bearer {}", swarm.admin_token());
    let headers = [("authorization", token.as_str()), ("idempotency-key", "first")];
    let line = "POST /api/v1/channels/desk/promote";
    assert_eq!(swarm.raw().await.unwrap().ask(line, &headers, b"").await.unwrap().status, 200);
    serves(&swarm, OLD).await;
    generation(&swarm, 2).await;

    run(&swarm, &drone, "1.10").await;
    drone.build().await.unwrap();
    staged(&swarm, 3).await;
    let swarm = swarm.restart().await.unwrap();
    let path = format!("GET /binhost/desk/staging/{NEW}");
    assert_eq!(swarm.raw().await.unwrap().ask(&path, &[], b"").await.unwrap().status, 200);
    serves(&swarm, OLD).await;
    let status = swarm.admin.status().await.unwrap();
    assert!(!status.concerns.iter().any(|c| matches!(c.fact, ConcernKind::ChannelHeld { .. })));
    assert_eq!((status.staged[0].generation, status.staged[0].packages), (3, 1));
    assert!(follow(&swarm, "swarmctl why pebble").await.contains("waits in staging, in generation 3"));
    let setup = follow(&swarm, "swarmctl client setup desk --channel staging").await;
    assert!(setup.contains("/binhost/desk/staging\n"), "{setup}");
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (Vec::<String>::new(), Vec::new()));

    let output = follow(&swarm, "swarmctl channel promote desk --from staging --generation 3").await;
    assert!(
        output.starts_with("desk is at generation 4: 1 package of r2, with the content of 3\n"),
        "{output}"
    );
    serves(&swarm, NEW).await;
    generation(&swarm, 4).await;
    let listed = follow(&swarm, "swarmctl channel list").await;
    assert!(listed.contains("promotions") && listed.contains("staging"), "{listed}");
    assert_eq!(swarm.admin.status().await.unwrap().staged, []);
}

#[tokio::test]
async fn what_cannot_be_rolled_back_to_is_not_found() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let refused = async |profile: &str, generation| {
        let request = RollbackRequest { generation };
        let error = swarm.admin.roll_back(&name(profile), request, &key()).await.unwrap_err();
        (error.status(), error.to_string())
    };
    let (status, text) = refused(PROFILE, None).await;
    assert_eq!(status, Some(404));
    assert!(text.contains("no earlier generation of `desk`"), "{text}");
    assert_eq!(refused("none", None).await.0, Some(404));
    run(&swarm, &drone, "1.2").await;
    drone.build().await.unwrap();
    generation(&swarm, 1).await;
    let (status, text) = refused(PROFILE, Some(7)).await;
    assert_eq!(status, Some(404));
    assert!(text.contains("`swarmctl channel show desk`"), "{text}");
    let error = swarm.admin.generation(&name(PROFILE), 7).await.unwrap_err();
    assert!(error.to_string().contains("no generation 7 of `desk` is kept"), "{error}");
    assert_eq!(swarm.admin.generation(&name("none"), 1).await.unwrap_err().status(), Some(404));
    for body in [r#"{"generation":-1}"#, r#"{"generations":1}"#, "7"] {
        let line = "POST /api/v1/channels/desk/rollback";
        let token = format!("Bearer {}", swarm.admin_token());
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let status = swarm.raw().await.unwrap().ask(line, &headers, body.as_bytes()).await.unwrap().status;
        assert!([400, 422].contains(&status), "{body}: {status}");
    }
}

// fault: 52
#[tokio::test]
async fn a_generation_that_a_restored_journal_does_not_know_is_not_published_again_with_other_content() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    run(&swarm, &drone, "1.2").await;
    let stable = swarm.app.binhosts.stable(&name(PROFILE));
    // The journal of a backup: generations up to 5 have been served since the backup.
    std::fs::create_dir_all(stable.join("generations/5")).unwrap();
    drone.build().await.unwrap();
    generation(&swarm, 6).await;
    serves(&swarm, OLD).await;
    let numbers: Vec<u64> = roll_back(&swarm, Some(6)).await.generations.iter().map(|g| g.number).collect();
    assert_eq!(numbers, [6, 1]);
}
