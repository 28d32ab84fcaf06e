//! A drone that runs several builds at a time, with the real Portage.

use super::*;
use std::process::Command;
use swarm_formats::snapshot::{FORMAT, SnapshotContents, SnapshotManifest, SnapshotRepository};
use swarm_tests::{api::PROFILE, e2e::programs::part};

/// Compiles until it is told to continue or to fail.
const PATIENT: &str = "EAPI=8\nDESCRIPTION=\"Waits to be told\"\nHOMEPAGE=\"https://build-swarm.invalid\"\nLICENSE=\"MIT\"\n\
    SLOT=0\nKEYWORDS=amd64\nS=${WORKDIR}\n\
    src_compile() {\n: >/var/tmp/compiles\nuntil [[ -s /var/tmp/told ]]; do sleep 0.05; done\n\
    [[ $(</var/tmp/told) == go ]] || kill -KILL 0\n}\n\
    src_install() { echo built >f && insinto /usr/share/${PN} && doins f; }\n";

/// Adds the files below `root`.
fn add_all(contents: &mut SnapshotContents, prefix: &str, root: &Path) {
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap().map(Result::unwrap) {
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else {
                contents.add_from(prefix, root, path.to_str().unwrap()).unwrap();
            }
        }
    }
}

/// The example repository with two such packages, which are independent of each other.
async fn two_patient_packages(swarm: &Swarm, dir: &Path) {
    let mut contents = SnapshotContents::new(SnapshotManifest {
        format: FORMAT,
        portage_profile: Some("example/amd64".into()),
        profile_repository: None,
        main_repository: "swarm-example".into(),
        repositories: vec![SnapshotRepository {
            name: "swarm-example".into(),
            commit: None,
            settings: Default::default(),
        }],
        nix: None,
    })
    .unwrap();
    add_all(&mut contents, "repos/swarm-example", &part("examples/repository"));
    add_all(&mut contents, "etc", &part("examples/desktop/etc"));
    for package in ["left", "right"] {
        let ebuild = format!("repos/swarm-example/app-misc/{package}/{package}-1.0.ebuild");
        contents.add_bytes(&ebuild, PATIENT.into()).unwrap();
    }
    contents.add_bytes("world", b"app-misc/left\napp-misc/right\n".to_vec()).unwrap();
    let archive = dir.join("snapshot.tar.zst");
    let digest = contents.write(fs::File::create(&archive).unwrap(), || {}).unwrap();
    swarm.admin.put_snapshot(digest, &archive).await.unwrap();
    let request = ProfileRequest {
        builder: BuilderKind::Portage,
        snapshot: digest,
        source: "test".into(),
        base: None,
        rebuild: Default::default(),
        publish: Default::default(),
        cpu: Default::default(),
    };
    swarm.admin.put_profile(&name(PROFILE), &request, &key()).await.unwrap();
}

#[tokio::test]
async fn two_slots_build_two_packages_at_the_same_time_and_one_that_dies_leaves_the_other_whole() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let portage = Command::new(part("scripts/portage")).output().unwrap();
    let portage = PathBuf::from(String::from_utf8(portage.stdout).unwrap().trim());
    let with_slots =
        |slots: u32| config_with(dir.path(), &address(&swarm), &portage, &format!("slots = {slots}"));
    // It enrols with one slot, and reports the second one with a heartbeat.
    write_token(&swarm, dir.path(), true).await;
    let drone = Running::start(with_slots(1));
    assert_eq!(ada(&swarm.admin, DroneState::Online).await.facts.slots, 1);
    drone.stop().await.unwrap();
    let drone = Running::start(with_slots(2));

    two_patient_packages(&swarm, dir.path()).await;
    swarm.run().await.unwrap();
    let tmp = |work: &WorkView| dir.path().join("roots").join(work.attempt.to_string()).join("tmp");
    let works = until("both compile", async || {
        let ada = swarm.admin.drones().await.unwrap().into_iter().find(|d| d.facts.slots == 2)?;
        let compile = ada
            .working_on
            .iter()
            .all(|work| work.phase == Phase::Building && tmp(work).join("compiles").exists());
        (ada.working_on.len() == 2 && compile).then_some(ada.working_on)
    })
    .await;
    // Neither continues before it is told to, so both were running when the later one began.
    let ending = |work: &WorkView| swarm.app.engine.read(|s| s.attempts[&work.attempt].ending.clone());
    fs::write(tmp(&works[0]).join("told"), "die").unwrap();
    let died = until("one dies", async || ending(&works[0])).await;
    assert!(matches!(died, Ending::Failed(_)), "{died:?}");
    assert_eq!(ending(&works[1]), None, "the other builds");
    fs::write(tmp(&works[1]).join("told"), "go").unwrap();
    let built = until("the other ends", async || ending(&works[1])).await;
    assert_eq!(built, Ending::Accepted);

    // The package that failed may be tried again, and nobody tells that build to continue.
    drone.stop.send(ControlRequest::Stop).await.unwrap();
    drone.stop().await.unwrap();
}
