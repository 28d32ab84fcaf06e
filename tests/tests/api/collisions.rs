//! Two packages of one world that install the same path, or of which one lost a soname that the other needs:
//! this is detected on arrival, reported at the end of the run, and never are both published.

use swarm_common::{
    digest::Digest,
    id::RunId,
    state::*,
    wire::{
        base::UsrMerge,
        drone::Outcome,
        machine::DroneFacts,
        plan::{PlanEdge, PortagePackage},
    },
};
use swarm_daemon::config::parse;
use swarm_formats::portage::packages_index::PackagesIndex;
use swarm_tests::api::{FakeDrone, Receiver, Swarm, facts, package_with, pebble, plan_of, until};

/// A package, its slot, its files, and additional metadata.
type Made<'a> = (&'a str, &'a str, &'a [&'a str], &'a [(&'static str, &'a str)]);

/// No additional metadata.
const NONE: &[(&str, &str)] = &[];

const MAILONE: Made<'_> = ("app-misc/mailone-1.0", "0", &["usr/bin/maildirmake"], NONE);
const MAILTWO: Made<'_> = ("app-misc/mailtwo-1.0", "0", &["usr/bin/maildirmake", "usr/share/two"], NONE);
const LONE: Made<'_> = ("app-misc/lone-1.0", "0", &["usr/bin/lone"], NONE);

fn planned(&(cpv, slot, ..): &Made<'_>) -> PortagePackage {
    let inputs = Digest::of(format!("{cpv}:{slot}").as_bytes());
    let (cpv, slot, subslot) = (cpv.parse().unwrap(), slot.to_owned(), slot.to_owned());
    PortagePackage { cpv, slot, subslot, use_flags: vec![], iuse: vec![], inputs, ..pebble() }
}

/// A run that builds everything that was not built before.
async fn night(swarm: &Swarm, drone: &FakeDrone, world: &[Made<'_>]) -> RunId {
    let run = swarm.run().await.unwrap();
    let mut plan = plan_of(&world.iter().map(planned).collect::<Vec<_>>());
    let needs = |from: u32, to: u32| PlanEdge {
        from,
        to,
        build: false,
        runtime: true,
        slot_operator: false,
        satisfied: false,
    };
    let cp = |made: &Made<'_>| made.0.rsplit_once('-').unwrap().0.to_owned();
    let named = |made: &Made<'_>, other: &Made<'_>| made.3.contains(&("RDEPEND", &cp(other)));
    let numbered = || (0..).zip(world);
    plan.edges = numbered()
        .flat_map(|(n, made)| {
            numbered().filter(move |(_, other)| named(made, other)).map(move |(m, _)| needs(n, m))
        })
        .collect();
    drone.bring_plan(plan).await.unwrap();
    while !swarm.admin.run(run).await.unwrap().state.is_over() {
        let (attempt, order) = drone.build_order().await.unwrap();
        let target = &order.targets[0];
        let is = |made: &&Made<'_>| {
            (made.0, made.1)
                == (target.portage().unwrap().cpv.as_str(), target.portage().unwrap().slot.as_str())
        };
        let (_, _, files, metadata) = world.iter().find(is).unwrap();
        let bytes = package_with(target, files, metadata);
        let artifacts = vec![drone.upload_bytes(attempt, target, bytes).await.unwrap()];
        assert!(drone.report(attempt, Outcome::Built { artifacts }).await.unwrap().accepted);
    }
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, std::time::Duration::from_secs(60)).await);
    run
}

/// The packages that workstations can install, sorted.
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
    let sentence = "app-misc/mailtwo-1.0 is not published: it and app-misc/mailone-1.0 both install \
                /usr/bin/maildirmake";
    let view = swarm.admin.run(run).await.unwrap();
    assert_eq!(view.state, RunState::Partial);
    assert_eq!(view.reason.unwrap(), "1 not published (file collisions)");
    let status = swarm.admin.status().await.unwrap();
    let concern = status.concerns.iter().find(|c| c.what == sentence);
    let why = swarm.admin.why("mailtwo", None).await.unwrap();
    assert_eq!(concern.unwrap().next, format!("`swarmctl why {}`", why.package.id));
    assert!(
        why.lines.iter().any(|line| line.contains(sentence) && line.contains("block")),
        "{:?}",
        why.lines
    );
    let why = swarm.admin.why("mailone", None).await.unwrap();
    assert!(why.lines.join("\n").contains("stored and published"), "{:?}", why.lines);
    let post = receiver.wait(1).await.unwrap()[0].body.to_string();
    assert!(post.contains(sentence), "{post}");

    // This stays the same although no more packages arrive.
    let again = night(&swarm, &drone, &[MAILONE, MAILTWO, LONE]).await;
    assert_eq!(swarm.admin.run(again).await.unwrap().reused, 3);
    assert_eq!(published(&swarm).await, ["app-misc/lone-1.0", "app-misc/mailone-1.0"]);
    assert!(swarm.admin.status().await.unwrap().concerns.iter().any(|c| c.what == sentence));
}

#[tokio::test]
async fn what_was_published_first_stays_until_the_two_have_different_files() {
    let (swarm, drone) = started().await;
    night(&swarm, &drone, &[MAILTWO]).await;
    // A new version of the published package arrives after the other package, but takes precedence.
    let bumped = ("app-misc/mailtwo-1.1", "0", MAILTWO.2, NONE);
    night(&swarm, &drone, &[MAILONE, bumped]).await;
    assert_eq!(published(&swarm).await, ["app-misc/mailtwo-1.1"]);
    let parted = ("app-misc/mailone-1.1", "0", &["usr/bin/maildirmake.one"][..], NONE);
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
        ("dev-libs/lib-1.0", "1", &["usr/lib64/liblib.so.1", shared[0]][..], NONE),
        ("dev-libs/lib-2.0", "2", &["usr/lib64/liblib.so.2", shared[0]][..], NONE),
        ("app-misc/one-1.0", "0", &["usr/bin/tool", shared[1]][..], &[("RDEPEND", "!<app-misc/two-2")][..]),
        ("app-misc/two-1.0", "0", &["usr/bin/tool", shared[1]][..], NONE),
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
            let world =
                [("app-misc/one-1.0", "0", &one[..], NONE), ("app-misc/two-1.0", "0", &two[..], NONE)];
            night(&swarm, &drone, &world).await;
            let expected = if apart { 1 } else { 2 };
            assert_eq!(published(&swarm).await.len(), expected, "{usr:?} {first:?}");
            let sentence = "both install /usr/bin/tool";
            let status = swarm.admin.status().await.unwrap();
            assert_eq!(
                status.concerns.iter().any(|c| c.what.contains(sentence)),
                apart,
                "{:?}",
                status.concerns
            );
        }
    }
}

#[tokio::test]
async fn a_file_where_another_package_has_a_directory_collides() {
    for files in [["usr/share/x", "usr/share/x/y"], ["usr/share/x/y", "usr/share/x"]] {
        let (swarm, drone) = started().await;
        let [one, two] = files.map(|path| vec![path]);
        let world = [("app-misc/one-1.0", "0", &one[..], NONE), ("app-misc/two-1.0", "0", &two[..], NONE)];
        night(&swarm, &drone, &world).await;
        assert_eq!(published(&swarm).await, ["app-misc/one-1.0"]);
    }
}

#[tokio::test]
async fn lists_of_files_that_were_lost_are_made_anew_and_files_of_slots_do_collide() {
    let (swarm, drone) = started().await;
    let one = ("dev-libs/lib-1.0", "1", &["usr/include/lib.h", "usr/include/liblib.h"][..], NONE);
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
    let two = ("dev-libs/lib-2.0", "2", one.2, NONE);
    night(&swarm, &drone, &[one, two]).await;
    assert_eq!(published(&swarm).await, ["dev-libs/lib-1.0"]);
    let sentence = "dev-libs/lib-2.0 is not published: it and dev-libs/lib-1.0 both install \
                /usr/include/lib.h, /usr/include/liblib.h";
    until("the status", async || {
        let status = swarm.admin.status().await.unwrap();
        status.concerns.iter().any(|c| c.what == sentence).then_some(())
    })
    .await;
}

const LIB_1: Made<'_> =
    ("dev-libs/lib-1.0", "0", &["usr/lib64/liblib.so.1"], &[("PROVIDES", "x86_64: liblib.so.1")]);
const LIB_2: Made<'_> =
    ("dev-libs/lib-2.0", "0", &["usr/lib64/liblib.so.2"], &[("PROVIDES", "x86_64: liblib.so.2")]);

fn app(requires: &'static str) -> [(&'static str, &'static str); 2] {
    [("RDEPEND", "dev-libs/lib"), ("REQUIRES", requires)]
}

#[tokio::test]
async fn a_program_is_rebuilt_for_a_library_that_lost_its_soname_and_until_then_both_stay_as_they_were() {
    let (swarm, drone) = started().await;
    let (old, new) = (app("x86_64: libc.so.6 liblib.so.1"), app("x86_64: libc.so.6 liblib.so.2"));
    let old = ("app-misc/app-1.0", "0", &["usr/bin/app"][..], &old[..]);
    let new = (old.0, old.1, old.2, &new[..]);
    night(&swarm, &drone, &[LIB_1, old]).await;
    assert_eq!(published(&swarm).await, ["app-misc/app-1.0", "dev-libs/lib-1.0"]);

    let run = night(&swarm, &drone, &[LIB_2, old]).await;
    let view = swarm.admin.run(run).await.unwrap();
    assert_eq!((view.reused, view.state), (1, RunState::Partial));
    assert_eq!(view.reason.unwrap(), "1 not published (libraries of packages to rebuild)");
    assert_eq!(published(&swarm).await, ["app-misc/app-1.0", "dev-libs/lib-1.0"]);
    let sentence =
        "dev-libs/lib-2.0 is not published: app-misc/app-1.0 needs liblib.so.1, which it no longer has";
    let status = swarm.admin.status().await.unwrap();
    assert!(status.concerns.iter().any(|c| c.what == sentence), "{:?}", status.concerns);
    let why = swarm.admin.why("lib", None).await.unwrap().lines.join("\n");
    assert!(why.contains(sentence) && why.contains("The next run rebuilds"), "{why}");

    let run = night(&swarm, &drone, &[LIB_2, new]).await;
    let view = swarm.admin.run(run).await.unwrap();
    assert_eq!((view.reused, view.state), (1, RunState::Succeeded));
    assert_eq!(published(&swarm).await, ["app-misc/app-1.0", "dev-libs/lib-2.0"]);
    assert!(swarm.admin.status().await.unwrap().healthy);
    let why = swarm.admin.why("app", None).await.unwrap().lines.join("\n");
    let sentence =
        "An earlier build is not reused: it needs liblib.so.1, which dev-libs/lib-2.0 no longer has.";
    assert!(why.contains(sentence), "{why}");
    let run = night(&swarm, &drone, &[LIB_2, new]).await;
    assert_eq!(swarm.admin.run(run).await.unwrap().reused, 2);
}

#[tokio::test]
async fn a_program_linked_with_a_soname_that_its_library_has_lost_is_not_published_beside_it() {
    let (swarm, drone) = started().await;
    night(&swarm, &drone, &[LIB_1]).await;
    night(&swarm, &drone, &[LIB_2]).await;
    let app = app("x86_64: liblib.so.1");
    night(&swarm, &drone, &[LIB_2, ("app-misc/app-1.0", "0", &["usr/bin/app"], &app)]).await;
    assert_eq!(published(&swarm).await, ["dev-libs/lib-2.0"]);
    let sentence =
        "app-misc/app-1.0 is not published: it needs liblib.so.1, which dev-libs/lib-2.0 does not have";
    let status = swarm.admin.status().await.unwrap();
    assert!(status.concerns.iter().any(|c| c.what == sentence), "{:?}", status.concerns);
}

#[tokio::test]
async fn a_soname_that_moved_to_another_package_or_that_nothing_needs_is_not_lost() {
    let (swarm, drone) = started().await;
    let app = app("x86_64: libc.so.6 liblib.so.1");
    let app = ("app-misc/app-1.0", "0", &["usr/bin/app"][..], &app[..]);
    let moved = ("dev-libs/compat-1.0", "0", &["usr/lib64/compat/liblib.so.1"][..], LIB_1.3);
    let other = ("app-misc/other-1.0", "0", &["usr/bin/other"][..], &[("REQUIRES", "x86_64: libc.so.6")][..]);
    night(&swarm, &drone, &[LIB_1, app, other, moved]).await;
    let run = night(&swarm, &drone, &[moved, LIB_2, app, other]).await;
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Succeeded);
    assert_eq!(published(&swarm).await.len(), 4);
}
