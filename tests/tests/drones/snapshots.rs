//! How a drone gets snapshots from a real orchestrator: the cost of a second one, connections that break, and
//! damaged disks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;
use swarm_drone::snapshots::{FetchError, Snapshot, Snapshots};
use swarm_formats::snapshot::{FORMAT, SnapshotContents, SnapshotManifest, SnapshotRepository};
use swarm_tests::api::{FakeDrone, Line, Swarm};

/// Files by path.
type Tree = BTreeMap<String, Vec<u8>>;

/// Packages of the repository, each with a Manifest that cannot be compressed.
const PACKAGES: usize = 300;

/// The repository in the first night.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut noise = fs::File::open("/dev/urandom").unwrap();
    for n in 0..PACKAGES {
        let mut sums = vec![0; 2000];
        noise.read_exact(&mut sums).unwrap();
        tree.insert(format!("repos/example/app-misc/part{n}/Manifest"), sums);
        tree.insert(format!("repos/example/app-misc/part{n}/part{n}-1.ebuild"), vec![b'x'; 100]);
    }
    tree.insert("repos/example/profiles/example/eapi".into(), b"8".to_vec());
    tree.insert("etc/portage/make.conf".into(), b"USE=\"x\"".to_vec());
    tree.insert("world".into(), b"app-misc/part1".to_vec());
    tree
}

/// The repository in the next night: one package is new, one is gone, and one has another version.
fn next(tree: &Tree) -> Tree {
    let mut next = tree.clone();
    next.retain(|path, _| !path.contains("/part7/"));
    next.remove("repos/example/app-misc/part8/part8-1.ebuild");
    next.insert("repos/example/app-misc/part8/part8-2.ebuild".into(), b"new".to_vec());
    next.insert("repos/example/app-misc/new/new-1.ebuild".into(), b"new".to_vec());
    next.insert("etc/portage/make.conf".into(), b"USE=\"y\"".to_vec());
    next
}

/// An orchestrator with the snapshots of two nights, a drone, and the drone's cache.
struct Lab {
    swarm: Swarm,
    drone: FakeDrone,
    nights: [(Digest, Tree); 2],
    dir: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Self {
        let swarm = Swarm::start().await.unwrap();
        let drone = swarm.drone("ada").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let first = tree();
        let second = next(&first);
        let mut nights = [(Digest::of(b""), first), (Digest::of(b""), second)];
        for (digest, tree) in &mut nights {
            *digest = send(&swarm, &dir.path().join("packed"), tree).await;
        }
        Self { swarm, drone, nights, dir }
    }

    /// The cache, as the drone opens it when it starts.
    fn cache(&self) -> Snapshots {
        Snapshots::open(&self.dir.path().join("cache"), false).unwrap()
    }

    fn digest(&self, night: usize) -> Digest {
        self.nights[night].0
    }

    async fn get(&self, cache: &Snapshots, night: usize) -> Snapshot {
        cache.get(&self.drone.client, self.digest(night)).await.unwrap()
    }

    /// A proxy that breaks once, and a client that uses it.
    async fn line(&self, breaks_after: u64) -> (Line, swarm_client::Client) {
        let line = Line::that_breaks_after(breaks_after, self.swarm.address).await.unwrap();
        let client = line.client(&self.drone.credential).unwrap();
        (line, client)
    }

    /// The path of one of the orchestrator's files.
    fn stored(&self, name: &str) -> PathBuf {
        self.swarm.state_dir().join("snapshots").join(name)
    }

    /// The size of a complete snapshot's archive.
    fn size(&self, night: usize) -> u64 {
        fs::metadata(self.stored(&format!("{}.tar.zst", self.digest(night)))).unwrap().len()
    }

    #[track_caller]
    fn assert_is(&self, snapshot: &Snapshot, night: usize) {
        let mut found = seen(snapshot);
        found.remove("snapshot.json").expect("it has a manifest");
        let tree = &self.nights[night].1;
        let paths = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(&found), paths(tree));
        assert!(found == *tree, "a file has another content");
        let own = |path: &str| fs::read(snapshot.path().join(path)).unwrap();
        assert_eq!(own("etc/portage/make.conf"), tree["etc/portage/make.conf"]);
        assert!(!own("snapshot.json").is_empty());
    }
}

async fn send(swarm: &Swarm, at: &Path, tree: &Tree) -> Digest {
    let mut contents = SnapshotContents::new(SnapshotManifest {
        format: FORMAT,
        portage_profile: Some("example".into()),
        profile_repository: None,
        main_repository: "example".into(),
        repositories: vec![SnapshotRepository {
            name: "example".into(),
            commit: None,
            settings: BTreeMap::new(),
        }],
        nix: None,
    })
    .unwrap();
    for (path, bytes) in tree {
        contents.add_bytes(path, bytes.clone()).unwrap();
    }
    let digest = contents.write(fs::File::create(at).unwrap(), || ()).unwrap();
    swarm.admin.put_snapshot(digest, at).await.unwrap();
    digest
}

/// What a build sees: the snapshot's layers over one another, as with overlayfs.
fn seen(snapshot: &Snapshot) -> Tree {
    let mut all = Tree::new();
    let one = [snapshot.path().to_owned()];
    let layers = if snapshot.layers().is_empty() { &one } else { snapshot.layers() };
    for layer in layers {
        for at in files(layer) {
            let path = at.strip_prefix(layer).unwrap().to_str().unwrap().to_owned();
            let below = format!("{path}/");
            all.retain(|other, _| *other != path && !other.starts_with(&below));
            if !fs::symlink_metadata(&at).unwrap().file_type().is_char_device() {
                all.insert(path, fs::read(&at).unwrap());
            }
        }
    }
    all
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|at| if at.is_dir() { files(&at) } else { vec![at] }).collect()
}

#[tokio::test]
async fn a_second_snapshot_costs_only_its_difference_and_is_exactly_what_was_sent() {
    let lab = Lab::new().await;
    let (line, client) = lab.line(u64::MAX).await;
    let cache = lab.cache();
    let first = cache.get(&client, lab.digest(0)).await.unwrap();
    lab.assert_is(&first, 0);
    let whole = line.brought();
    assert!(whole > lab.size(0), "{whole}");

    let second = cache.get(&client, lab.digest(1)).await.unwrap();
    let difference = line.brought();
    lab.assert_is(&second, 1);
    lab.assert_is(&first, 0);
    assert!(difference < whole / 50, "{difference} of {whole} bytes came over the network");
    let made = files(&second.layers()[1]).len();
    assert!(made < 10, "{made} files were made of {}", lab.nights[1].1.len());

    // A third snapshot is a layer over both.
    let mut third = lab.nights[1].1.clone();
    third.remove("world");
    let digest = send(&lab.swarm, &lab.dir.path().join("packed"), &third).await;
    let snapshot = cache.get(&client, digest).await.unwrap();
    assert_eq!(snapshot.layers().len(), 3);
    let mut found = seen(&snapshot);
    found.remove("snapshot.json");
    assert!(found == third);
    // After a restart all of them are there, and nothing is downloaded.
    line.brought();
    let cache = lab.cache();
    for night in [0, 1] {
        lab.assert_is(&cache.get(&client, lab.digest(night)).await.unwrap(), night);
    }
    assert_eq!(line.brought(), 0);
}

#[tokio::test]
async fn a_build_in_the_machines_own_root_gets_it_in_one_directory() {
    let lab = Lab::new().await;
    drop(lab.get(&lab.cache(), 0).await);
    drop(lab.get(&lab.cache(), 1).await);
    let cache = Snapshots::open(&lab.dir.path().join("cache"), true).unwrap();
    let snapshot = lab.get(&cache, 1).await;
    assert!(snapshot.layers().is_empty());
    lab.assert_is(&snapshot, 1);
}

// fault: 47
#[tokio::test]
async fn a_damaged_cache_is_found_at_the_next_start_and_mended() {
    let lab = Lab::new().await;
    let damages: [fn(&Path); 3] = [
        |at| fs::write(at.join("repos/example/app-misc/part1/part1-1.ebuild"), vec![b'y'; 100]).unwrap(),
        |at| fs::remove_file(at.join("repos/example/app-misc/part2/Manifest")).unwrap(),
        |at| fs::write(at.join("repos/example/app-misc/part3/part3-2.ebuild"), "extra").unwrap(),
    ];
    for damage in damages {
        let cache = lab.cache();
        drop(lab.get(&cache, 0).await);
        let second = lab.get(&cache, 1).await;
        damage(second.layers().first().unwrap_or(&second.path().to_owned()));
        drop(second);
        lab.assert_is(&lab.get(&lab.cache(), 1).await, 1);
    }
}

// fault: 47
#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_stood() {
    let lab = Lab::new().await;
    let size = lab.size(0);
    let (line, client) = lab.line(size / 2).await;
    let cache = lab.cache();
    lab.assert_is(&cache.get(&client, lab.digest(0)).await.unwrap(), 0);
    let brought = line.brought();
    assert!(brought > size && brought < size + size / 10, "{brought} bytes for {size}");

    // The download of a difference is resumed too, even if the drone was restarted.
    let difference = lab.drone.client.snapshot_since(lab.digest(1), lab.digest(0), 0).await.unwrap();
    drop(difference);
    let stored = lab.stored(&format!("{}.since-{}.tar.zst", lab.digest(1), lab.digest(0)));
    let name = format!("{}.since-{}.partial", lab.digest(1), lab.digest(0));
    let whole = fs::read(stored).unwrap();
    for left in [&whole[..whole.len() / 2], &whole[..], &b"of something else"[..]] {
        fs::write(lab.dir.path().join("cache").join(&name), left).unwrap();
        let cache = lab.cache();
        let second = lab.get(&cache, 1).await;
        assert_eq!(second.layers().len(), 2, "{} bytes were there", left.len());
        lab.assert_is(&second, 1);
        drop(second);
        fs::remove_dir_all(lab.dir.path().join("cache").join(lab.digest(1).to_string())).unwrap();
    }
}

// fault: 48
#[tokio::test]
async fn without_a_difference_that_can_be_used_the_whole_snapshot_is_fetched() {
    let lab = Lab::new().await;
    let (first, second) = (lab.digest(0), lab.digest(1));
    let difference = lab.stored(&format!("{second}.since-{first}.tar.zst"));
    let cache_dir = lab.dir.path().join("cache");
    let own = cache_dir.join(first.to_string()).join("archive");
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    type Fault<'a> = (&'a str, &'a dyn Fn());
    let faults: [Fault<'_>; 5] = [
        ("it is damaged at the orchestrator", &|| flip(&difference)),
        ("it is larger than a whole one", &|| fs::write(&difference, vec![0; 2_000_000]).unwrap()),
        ("the archive here is damaged", &|| flip(&own)),
        ("they have too little in common", &|| fs::write(&difference, "").unwrap()),
        ("the older one is gone", &|| {
            fs::remove_file(&difference).unwrap();
            fs::rename(lab.stored(&format!("{first}.tar.zst")), lab.dir.path().join("gone")).unwrap();
        }),
    ];
    for (what, fault) in faults {
        let cache = lab.cache();
        drop(lab.get(&cache, 0).await);
        // Request it, so that there is a difference to damage.
        drop(lab.drone.client.snapshot_since(second, first, 0).await);
        fault();
        let snapshot = lab.get(&cache, 1).await;
        assert!(snapshot.layers().is_empty(), "{what}");
        lab.assert_is(&snapshot, 1);
        drop(snapshot);
        let _ = fs::remove_file(&difference);
        fs::remove_dir_all(&cache_dir).unwrap();
        if what != "the older one is gone" {
            continue;
        }
        let error = lab.cache().get(&lab.drone.client, first).await.unwrap_err();
        assert!(matches!(error, FetchError::Remote { .. }), "{error}");
    }
}

#[tokio::test]
async fn two_snapshots_with_little_in_common_have_no_difference() {
    let lab = Lab::new().await;
    let other = send(&lab.swarm, &lab.dir.path().join("packed"), &tree()).await;
    let (first, nowhere) = (lab.digest(0), Digest::of(b"nowhere"));
    for (newer, older) in [(other, first), (other, first), (first, nowhere), (nowhere, first)] {
        let asked = lab.drone.client.snapshot_since(newer, older, 0).await;
        assert_eq!(asked.err().unwrap().status(), Some(404));
    }
    assert_eq!(fs::metadata(lab.stored(&format!("{other}.since-{first}.tar.zst"))).unwrap().len(), 0);
}
