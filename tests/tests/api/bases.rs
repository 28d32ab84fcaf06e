//! Bases and their images.

use crate::{key, refused};
use std::{fs, os::unix::fs::symlink, path::Path};
use swarm_client::{Client, ClientError};
use swarm_common::{
    digest::Digest,
    wire::{
        admin::{BuilderKind, ProfileRequest},
        base::{Base, BaseRequest, FollowRequest},
        drone::{Outcome, Work},
        plan::PortagePackage,
    },
};
use swarm_daemon::config::Size;
use swarm_formats::image::ImageContents;
use swarm_tests::api::{PROFILE, Swarm, name, pebble, plan_of, snapshot};

/// Creates a tree that looks like the root of a Gentoo system, with one file of this content.
pub fn root(at: &Path, content: &str) {
    for dir in ["etc", "usr/bin", "var"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    symlink("usr/bin", at.join("bin")).unwrap();
    fs::write(
        at.join("usr/bin/sh"),
        [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"[..], &[0; 64]].concat(),
    )
    .unwrap();
    fs::write(at.join("usr/bin/emerge"), "#!/usr/bin/python3\n").unwrap();
    fs::write(at.join("etc/release"), content).unwrap();
}

/// Packs the tree at `root` as an image, `root.tar.zst` beside it.
pub fn pack(root: &Path) -> (Digest, std::path::PathBuf) {
    let mut contents = ImageContents::default();
    contents.add_root(root).unwrap();
    let archive = root.with_extension("tar.zst");
    (contents.write(fs::File::create(&archive).unwrap(), || ()).unwrap(), archive)
}

fn from(image: Digest) -> BaseRequest {
    BaseRequest { image, source: "a test".into(), signed_by: None, follow: None }
}

async fn fetch(client: &Client, digest: Digest, first: u64) -> Result<Vec<u8>, ClientError> {
    let mut stream = client.image(digest, first).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_base_is_made_shown_fetched_by_drones_rolled_back_and_removed() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let gentoo = name("gentoo");
    let mut images = Vec::new();
    for content in ["June", "July"] {
        let at = dir.path().join(content);
        root(&at, content);
        let (digest, archive) = pack(&at);
        assert_eq!(refused(swarm.admin.put_base(&gentoo, &from(digest), &key()).await), 422);
        assert!(!swarm.admin.has_image(digest).await.unwrap());
        swarm.admin.put_image(digest, &archive).await.unwrap();
        assert!(swarm.admin.has_image(digest).await.unwrap());
        let view = swarm.admin.put_base(&gentoo, &from(digest), &key()).await.unwrap();
        let current = &view.generations[0].image;
        assert_eq!((current.digest, current.machine.as_str(), current.has_portage), (digest, "x86_64", true));
        let whole = fs::read(&archive).unwrap();
        assert_eq!(fetch(&drone.client, digest, 0).await.unwrap(), whole);
        assert_eq!(fetch(&drone.client, digest, 100).await.unwrap(), whole[100..]);
        assert_eq!(refused(fetch(&drone.client, digest, whole.len() as u64).await), 416);
        images.push(digest);
    }
    let view = swarm.admin.base(&gentoo).await.unwrap();
    assert_eq!(view.generations.iter().map(|g| g.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(swarm.admin.bases().await.unwrap(), [view]);
    let back = swarm.admin.roll_back_base(&gentoo, &key()).await.unwrap();
    assert_eq!(back.generations[0].image.digest, images[0]);
    swarm.admin.remove_base(&gentoo, &key()).await.unwrap();
    assert_eq!(refused(swarm.admin.base(&gentoo).await), 404);
    assert_eq!(refused(swarm.admin.remove_base(&gentoo, &key()).await), 404);
}

/// A request that pins the profile to a base and a snapshot, which this uploads.
async fn pinned(swarm: &Swarm, dir: &Path) -> ProfileRequest {
    let (archived, archive) = snapshot(&dir.join("s.tar.zst")).unwrap();
    swarm.admin.put_snapshot(archived, &archive).await.unwrap();
    ProfileRequest {
        builder: BuilderKind::Portage,
        snapshot: archived,
        source: "test".into(),
        base: Some(name("gentoo")),
        rebuild: Default::default(),
        publish: Default::default(),
        cpu: Default::default(),
    }
}

pub async fn make_base(swarm: &Swarm, dir: &Path) -> Digest {
    root(&dir.join("root"), "");
    let (image, archive) = pack(&dir.join("root"));
    swarm.admin.put_image(image, &archive).await.unwrap();
    swarm.admin.put_base(&name("gentoo"), &from(image), &key()).await.unwrap();
    image
}

#[tokio::test]
async fn a_profile_builds_in_its_base_and_keeps_it_from_being_removed() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let pin = pinned(&swarm, dir.path()).await;
    assert_eq!(refused(swarm.admin.put_profile(&name(PROFILE), &pin, &key()).await), 404);
    let image = make_base(&swarm, dir.path()).await;
    let profile = swarm.admin.put_profile(&name(PROFILE), &pin, &key()).await.unwrap();
    assert_eq!(profile.base, Some(name("gentoo")));
    assert_eq!(swarm.admin.base(&name("gentoo")).await.unwrap().profiles, [name(PROFILE)]);
    assert_eq!(refused(swarm.admin.remove_base(&name("gentoo"), &key()).await), 409);
    swarm.run().await.unwrap();
    let base = drone.work().await.unwrap().base;
    assert!(matches!(&base, Base::Image { image: found, .. } if found.digest == image), "{base:?}");
}

#[tokio::test]
async fn a_base_follows_a_run_when_the_drone_that_makes_it_says_that_it_works() {
    let swarm = Swarm::start().await.unwrap();
    let (drone, other) = (swarm.drone("one").await.unwrap(), swarm.drone("two").await.unwrap());
    let dir = tempfile::tempdir().unwrap();
    let pin = pinned(&swarm, dir.path()).await;
    let image = make_base(&swarm, dir.path()).await;
    swarm.admin.put_profile(&name(PROFILE), &pin, &key()).await.unwrap();
    let run = swarm.run().await.unwrap();
    drone.bring_plan(plan_of(&[PortagePackage { in_base: true, ..pebble() }])).await.unwrap();
    drone.build().await.unwrap();

    let got = drone.work().await.unwrap();
    let Base::Image { image: found, installed } = &got.base else { panic!("{got:?}") };
    assert_eq!((&got.work, found.digest, installed.len()), (&Work::Base, image, 1));
    assert_eq!(installed[0].cpv.as_str(), "dev-libs/pebble-1.2");
    let view = swarm.admin.base(&name("gentoo")).await.unwrap();
    assert!(view.following.is_some_and(|f| f.run == run && f.packages == 1 && f.drone == Some(name("one"))));
    assert_eq!(refused(other.report(got.attempt, Outcome::Based).await), 403);
    assert_eq!(refused(drone.report(got.attempt, Outcome::Built { artifacts: vec![] }).await), 422);
    assert!(drone.report(got.attempt, Outcome::Based).await.unwrap().accepted);
    let view = swarm.admin.base(&name("gentoo")).await.unwrap();
    let numbers: Vec<_> = view.generations.iter().map(|g| (g.number, g.run)).collect();
    assert_eq!((numbers, view.following), (vec![(2, Some(run)), (1, None)], None));
    assert_eq!(&view.generations[0].base(), &got.base);

    let stays = swarm.admin.follow_base(&name("gentoo"), FollowRequest { follow: false }, &key()).await;
    assert!(!stays.unwrap().follow);
    let unknown = swarm.admin.follow_base(&name("arch"), FollowRequest { follow: true }, &key()).await;
    assert_eq!(refused(unknown), 404);
}

#[tokio::test]
async fn what_is_no_image_or_another_one_is_refused_and_leaves_nothing() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("root");
    root(&at, "");
    let (digest, archive) = pack(&at);
    let other = Digest::of(b"other");
    assert_eq!(refused(swarm.admin.put_image(other, &archive).await), 422);
    let whole = fs::read(&archive).unwrap();
    let cut = dir.path().join("cut");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(refused(swarm.admin.put_image(digest, &cut).await), 422);
    fs::remove_file(at.join("usr/bin/sh")).unwrap();
    let (digest, archive) = pack(&at);
    let error = swarm.admin.put_image(digest, &archive).await.unwrap_err();
    assert!(error.status() == Some(422) && error.to_string().contains("no shell /bin/sh"), "{error}");
    assert!(!swarm.admin.has_image(digest).await.unwrap());
    assert_eq!(fs::read_dir(swarm.state_dir().join("images")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_larger_than_allowed_is_refused() {
    let swarm = Swarm::start_with(|config| config.limits.image_size = Size::from_bytes(10)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    root(&dir.path().join("root"), "");
    let (digest, archive) = pack(&dir.path().join("root"));
    assert_eq!(refused(swarm.admin.put_image(digest, &archive).await), 413);
}
