//! Two packages of one world that install the same path: found when they arrive, told at the
//! end of the run, and never both published.

use swarm_common::{
    digest::Digest,
    id::RunId,
    state::*,
    wire::{base::UsrMerge, drone::Outcome, machine::DroneFacts, plan::PortagePackage},
};
use swarm_daemon::config::parse;
use swarm_formats::portage::packages_index::PackagesIndex;
use swarm_tests::api::{FakeDrone, Receiver, Swarm, facts, package_with, pebble, plan_of, until};

/// A package, its slot, the files that it installs and its RDEPEND.
type Made<'a> = (&'a str, &'a str, &'a [&'a str], &'a str);

const MAILONE: Made<'_> = ("app-misc/mailone-1.0", "0", &["usr/bin/maildirmake"], "");
const MAILTWO: Made<'_> = ("app-misc/mailtwo-1.0", "0", &["usr/bin/maildirmake", "usr/share/two"], "");
const LONE: Made<'_> = ("app-misc/lone-1.0", "0", &["usr/bin/lone"], "");

fn planned(&(cpv, slot, ..): &Made<'_>) -> PortagePackage {
    let inputs = Digest::of(format!("{cpv}:{slot}").as_bytes());
    let (cpv, slot, subslot) = (cpv.parse().unwrap(), slot.to_owned(), slot.to_owned());
    PortagePackage { cpv, slot, subslot, use_flags: vec![], iuse: vec![], inputs, ..pebble() }
}

/// A run that builds what was not built before.
async fn night(swarm: &Swarm, drone: &FakeDrone, world: &[Made<'_>]) -> RunId {
    let run = swarm.run().await.unwrap();
    let mut plan = plan_of(&world.iter().map(planned).collect::<Vec<_>>());
    plan.edges.clear();
    drone.bring_plan(plan).await.unwrap();
    while !swarm.admin.run(run).await.unwrap().state.is_over() {
        let (attempt, order) = drone.build_order().await.unwrap();
        let target = &order.targets[0];
        let is = |made: &&Made<'_>| {
            (made.0, made.1)
                == (target.portage().unwrap().cpv.as_str(), target.portage().unwrap().slot.as_str())
        };
        let (_, _, files, rdepend) = world.iter().find(is).unwrap();
        let bytes = package_with(target, files, &[("RDEPEND", rdepend)]);
        let artifacts = vec![drone.upload_bytes(attempt, target, bytes).await.unwrap()];
        assert!(drone.report(attempt, Outcome::Built { artifacts }).await.unwrap().accepted);
    }
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, std::time::Duration::from_secs(60)).await);
    run
}

/// What workstations can install, sorted.
async fn published(swarm: &Swarm) -> Vec<String> {
    let answer = swarm.raw().await.unwrap().ask("GET /binhost/desk/Packages", &[], b"").await.unwrap();
    assert_eq!(answer.status, 200);
    let index = PackagesIndex::parse(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    let mut cpvs: Vec<String> = index.entries().map(|entry| entry.cpv().to_owned()).collect();
    cpvs.sort();
    cpvs
}

async fn started() -> (Swarm, FakeDrone) {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    (swarm, drone)
}

#[tokio::test]
async fn two_packages_with_one_path_are_told_of_when_the_run_ends_and_one_is_published() {
    let receiver = Receiver::start().await.unwrap();
    let sink = format!("url = \"http://{}/hook\"", receiver.address);
    let sink = parse(std::path::Path::new("sink.toml"), &sink).unwrap();
    let swarm = Swarm::start_with(|config| config.notify.sink.push(sink)).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();

    let run = night(&swarm, &drone, &[MAILONE, MAILTWO, LONE]).await;
    assert_eq!(published(&swarm).await, ["app-misc/lone-1.0", "app-misc/mailone-1.0"]);
    let told = "app-misc/mailtwo-1.0 is not published: it and app-misc/mailone-1.0 both install \
                /usr/bin/maildirmake";
    let view = swarm.admin.run(run).await.unwrap();
    assert_eq!(view.state, RunState::Partial);
    assert_eq!(view.reason.unwrap(), "1 not published (file collisions)");
    let status = swarm.admin.status().await.unwrap();
    let concern = status.concerns.iter().find(|c| c.what == told);
    let why = swarm.admin.why("mailtwo", None).await.unwrap();
    assert_eq!(concern.unwrap().next, format!("`swarmctl why {}`", why.package.id));
    assert!(why.lines.iter().any(|line| line.contains(told) && line.contains("block")), "{:?}", why.lines);
    let why = swarm.admin.why("mailone", None).await.unwrap();
    assert!(why.lines.join("\n").contains("stored and published"), "{:?}", why.lines);
    let post = receiver.wait(1).await.unwrap()[0].body.to_string();
    assert!(post.contains(told), "{post}");

    // It stays so, though nothing arrives any more.
    let again = night(&swarm, &drone, &[MAILONE, MAILTWO, LONE]).await;
    assert_eq!(swarm.admin.run(again).await.unwrap().reused, 3);
    assert_eq!(published(&swarm).await, ["app-misc/lone-1.0", "app-misc/mailone-1.0"]);
    assert!(swarm.admin.status().await.unwrap().concerns.iter().any(|c| c.what == told));
}

#[tokio::test]
async fn what_was_published_first_stays_until_the_two_have_different_files() {
    let (swarm, drone) = started().await;
    night(&swarm, &drone, &[MAILTWO]).await;
    // Another version of what is published comes later than the other package, and comes first.
    let bumped = ("app-misc/mailtwo-1.1", "0", MAILTWO.2, "");
    night(&swarm, &drone, &[MAILONE, bumped]).await;
    assert_eq!(published(&swarm).await, ["app-misc/mailtwo-1.1"]);
    let parted = ("app-misc/mailone-1.1", "0", &["usr/bin/maildirmake.one"][..], "");
    let run = night(&swarm, &drone, &[parted, bumped]).await;
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Succeeded);
    assert_eq!(published(&swarm).await, ["app-misc/mailone-1.1", "app-misc/mailtwo-1.1"]);
    assert!(swarm.admin.status().await.unwrap().healthy);
}

#[tokio::test]
async fn slots_blockers_and_what_portage_ignores_do_not_collide() {
    let (swarm, drone) = started().await;
    let shared = ["etc/tool.conf", "usr/lib/python3.13/x.pyc"];
    let world = [
        ("dev-libs/lib-1.0", "1", &["usr/lib64/liblib.so.1", shared[0]][..], ""),
        ("dev-libs/lib-2.0", "2", &["usr/lib64/liblib.so.2", shared[0]][..], ""),
        ("app-misc/one-1.0", "0", &["usr/bin/tool", shared[1]][..], "!<app-misc/two-2"),
        ("app-misc/two-1.0", "0", &["usr/bin/tool", shared[1]][..], ""),
    ];
    let run = night(&swarm, &drone, &world).await;
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Succeeded);
    assert_eq!(published(&swarm).await.len(), 4);
}

#[tokio::test]
async fn two_paths_of_one_file_collide_where_usr_is_merged_and_nowhere_else() {
    for (usr, apart) in [(UsrMerge::Split, false), (UsrMerge::Merged, true)] {
        for first in [["bin/tool", "usr/bin/tool"], ["usr/bin/tool", "bin/tool"]] {
            let swarm = Swarm::start().await.unwrap();
            let drone = swarm.enrol_with("one", true, DroneFacts { usr, ..facts() }).await.unwrap();
            swarm.profile().await.unwrap();
            let [one, two] = first.map(|path| vec![path]);
            let world = [("app-misc/one-1.0", "0", &one[..], ""), ("app-misc/two-1.0", "0", &two[..], "")];
            night(&swarm, &drone, &world).await;
            let expected = if apart { 1 } else { 2 };
            assert_eq!(published(&swarm).await.len(), expected, "{usr:?} {first:?}");
            let told = "both install /usr/bin/tool";
            let status = swarm.admin.status().await.unwrap();
            assert_eq!(status.concerns.iter().any(|c| c.what.contains(told)), apart, "{:?}", status.concerns);
        }
    }
}

#[tokio::test]
async fn a_file_where_another_package_has_a_directory_collides() {
    for files in [["usr/share/x", "usr/share/x/y"], ["usr/share/x/y", "usr/share/x"]] {
        let (swarm, drone) = started().await;
        let [one, two] = files.map(|path| vec![path]);
        let world = [("app-misc/one-1.0", "0", &one[..], ""), ("app-misc/two-1.0", "0", &two[..], "")];
        night(&swarm, &drone, &world).await;
        assert_eq!(published(&swarm).await, ["app-misc/one-1.0"]);
    }
}

#[tokio::test]
async fn lists_of_files_that_were_lost_are_made_anew_and_files_of_slots_do_collide() {
    let (swarm, drone) = started().await;
    let one = ("dev-libs/lib-1.0", "1", &["usr/include/lib.h", "usr/include/liblib.h"][..], "");
    night(&swarm, &drone, &[one]).await;
    let mut lost = 0;
    for file in std::fs::read_dir(swarm.state_dir().join("entries")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "files") {
            std::fs::remove_file(path).unwrap();
            lost += 1;
        }
    }
    assert_eq!(lost, 1);
    let two = ("dev-libs/lib-2.0", "2", one.2, "");
    night(&swarm, &drone, &[one, two]).await;
    assert_eq!(published(&swarm).await, ["dev-libs/lib-1.0"]);
    let told = "dev-libs/lib-2.0 is not published: it and dev-libs/lib-1.0 both install \
                /usr/include/lib.h, /usr/include/liblib.h";
    until("the status", async || {
        let status = swarm.admin.status().await.unwrap();
        status.concerns.iter().any(|c| c.what == told).then_some(())
    })
    .await;
}
