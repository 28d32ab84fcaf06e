//! How a drone gets the image of a base from a real orchestrator: over connections that break, from damaged
//! disks, and onto full disks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};
use swarm_client::IdempotencyKey;
use swarm_common::{
    state::FailureClass,
    wire::base::{BaseRequest, Image},
};
use swarm_drone::bases::{BaseError, Bases};
use swarm_formats::image::ImageContents;
use swarm_tests::api::{FakeDrone, Line, Swarm, name};

/// An orchestrator with a base, a drone, and the drone's cache.
struct Lab {
    swarm: Swarm,
    drone: FakeDrone,
    image: Image,
    dir: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Self {
        let swarm = Swarm::start().await.unwrap();
        let drone = swarm.drone("ada").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let image = add(&swarm, &dir.path().join("root"), "gentoo").await;
        Self { swarm, drone, image, dir }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn bases(&self) -> Bases {
        Bases::open(&self.cache(), u64::MAX).unwrap()
    }

    /// The partial download of the image.
    fn partial(&self) -> PathBuf {
        self.cache().join("images").join(format!("{}.partial", self.image.digest))
    }

    /// The orchestrator's copy of the image.
    fn stored(&self) -> PathBuf {
        self.swarm.state_dir().join("images").join(format!("{}.tar.zst", self.image.digest))
    }
}

/// Makes a base from a tree that looks like a root file system and contains two megabytes of incompressible
/// data.
async fn add(swarm: &Swarm, root: &Path, called: &str) -> Image {
    for dir in ["etc", "usr/bin", "var/tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    symlink("usr/bin", root.join("bin")).unwrap();
    let head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
    let mut noise = vec![0; 2 << 20];
    getrandom(&mut noise);
    fs::write(root.join("usr/bin/sh"), [&head[..], &noise].concat()).unwrap();
    fs::set_permissions(root.join("usr/bin/sh"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(root.join("usr/bin/sh"), root.join("usr/bin/bash")).unwrap();
    fs::write(root.join("usr/bin/emerge"), "").unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root.join("var/tmp"), Some(250), Some(251)).unwrap();
    }
    let mut contents = ImageContents::default();
    contents.add_root(root).unwrap();
    let archive = root.with_extension("tar.zst");
    let digest = contents.write(fs::File::create(&archive).unwrap(), || ()).unwrap();
    swarm.admin.put_image(digest, &archive).await.unwrap();
    let request = BaseRequest { image: digest, source: "a test".into(), signed_by: None, follow: None };
    let key = IdempotencyKey::random().unwrap();
    let base = swarm.admin.put_base(&name(called), &request, &key).await.unwrap();
    base.generations[0].image.clone()
}

fn getrandom(noise: &mut [u8]) {
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), noise).unwrap();
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_stood_and_the_base_is_as_it_was_packed() {
    let lab = Lab::new().await;
    let line = Line::that_breaks_after(1_500_000, lab.swarm.address).await.unwrap();
    let client = line.client(&lab.drone.credential).unwrap();
    let base = lab.bases().get(&client, &lab.image).await.unwrap();
    let brought = line.brought();
    assert!(
        brought > lab.image.size && brought < lab.image.size + 100_000,
        "{brought} of {}",
        lab.image.size
    );

    let (packed, unpacked) = (lab.dir.path().join("root"), base.path());
    let looks = |path: PathBuf| {
        let found = fs::symlink_metadata(path).unwrap();
        (found.mode(), found.uid(), found.gid(), found.nlink(), found.mtime())
    };
    for path in ["etc", "bin", "usr/bin/sh", "usr/bin/bash", "usr/bin/emerge", "var/tmp"] {
        assert_eq!(looks(packed.join(path)), looks(unpacked.join(path)), "{path}");
    }
    assert_eq!(fs::read(packed.join("bin/sh")).unwrap(), fs::read(unpacked.join("bin/sh")).unwrap());
    assert_eq!(entries(&lab.cache().join("images")), [""; 0], "what is unpacked is not kept packed");
}

#[tokio::test]
async fn what_was_left_of_another_download_is_thrown_away_and_all_of_it_fetched() {
    let lab = Lab::new().await;
    // A partial download with another beginning, one that is too long, and one that is complete.
    let whole = fs::read(lab.stored()).unwrap();
    for left in [vec![7; 1000], vec![7; whole.len() + 1], whole] {
        let bases = lab.bases();
        fs::write(lab.partial(), left).unwrap();
        let base = bases.get(&lab.drone.client, &lab.image).await.unwrap();
        assert!(base.path().join("bin/sh").exists());
        fs::remove_dir_all(lab.cache()).unwrap();
    }
}

#[tokio::test]
async fn an_image_that_is_damaged_at_the_orchestrator_is_refused_and_leaves_nothing() {
    let lab = Lab::new().await;
    let mut bytes = fs::read(lab.stored()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(lab.stored(), bytes).unwrap();
    let error = lab.bases().get(&lab.drone.client, &lab.image).await.unwrap_err();
    assert!(matches!(error, BaseError::Unusable { .. }) && error.class() == FailureClass::Infra, "{error}");
    let message = error.to_string();
    assert!(message.contains("damaged") && message.contains("swarmctl base update"), "{message}");
    for dir in ["images", "bases"] {
        assert_eq!(entries(&lab.cache().join(dir)), [""; 0]);
    }
}

#[tokio::test]
async fn an_image_larger_than_the_disk_is_not_fetched_and_the_drone_says_what_helps() {
    let lab = Lab::new().await;
    let image = Image { unpacked_bytes: 1 << 60, ..lab.image.clone() };
    let error = lab.bases().get(&lab.drone.client, &image).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Drone);
    let message = error.to_string();
    assert!(message.contains("MiB free") && message.contains("builder.cache_dir"), "{message}");
    assert!(!lab.partial().exists());
}

#[tokio::test]
async fn what_a_power_cut_left_half_or_changed_is_not_used() {
    let lab = Lab::new().await;
    let base = lab.bases().get(&lab.drone.client, &lab.image).await.unwrap();
    let shell = base.path().join("usr/bin/sh");
    // Truncated: the name exists, but only part of the content.
    fs::File::options().write(true).open(&shell).unwrap().set_len(100).unwrap();
    let half = lab.cache().join("bases").join(lab.image.digest.to_string()).with_extension("new");
    fs::create_dir_all(half.join("files/usr")).unwrap();
    drop(base);
    let bases = lab.bases();
    assert!(!half.exists());
    let base = bases.get(&lab.drone.client, &lab.image).await.unwrap();
    assert!(fs::metadata(&shell).unwrap().len() > 2 << 20);
    drop(base);
}

#[tokio::test]
async fn a_base_in_use_outlives_the_budget_and_the_one_used_least_lately_goes() {
    let lab = Lab::new().await;
    let others = [
        add(&lab.swarm, &lab.dir.path().join("second"), "second").await,
        add(&lab.swarm, &lab.dir.path().join("third"), "third").await,
    ];
    // Two of them fit, including the names of their files.
    let bases = Bases::open(&lab.cache(), 9 << 20).unwrap();
    let used = bases.get(&lab.drone.client, &lab.image).await.unwrap();
    for other in &others {
        drop(bases.get(&lab.drone.client, other).await.unwrap());
    }
    let kept = |image: &Image| lab.cache().join("bases").join(image.digest.to_string()).exists();
    assert!(used.path().join("bin/sh").exists() && !kept(&others[0]) && kept(&others[1]));
}
