//! Publishing, sweeping, and leftovers of interrupted publications.

use super::*;
use crate::store::{LocalStore, insert};
use std::time::SystemTime;
use swarm_common::time::TimeMs;
use swarm_formats::nix::{keys::PublicKey, nar::NarSum, narinfo::Compression, store_path::StorePath};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

struct Place {
    dir: tempfile::TempDir,
    store: LocalStore,
    keys: Arc<NixKeys>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        let keys = Arc::new(NixKeys::load_or_create(&dir.path().join("key"), "swarm-t-1").unwrap().0);
        Self { dir, store, keys }
    }

    fn open(&self) -> NixCache {
        NixCache::open(self.dir.path().join("cache"), Some(self.keys.clone())).unwrap()
    }

    fn path(&self, name: &str, content: &str, references: &[&str]) -> CachedPath {
        let digests = insert(&self.store, content.as_bytes(), None).unwrap();
        let info = NarInfo {
            path: store_path(name),
            url: nar_path(digests.sha256).parse().unwrap(),
            compression: Compression::Zstd,
            file_hash: Some(digests.sha256),
            file_size: Some(digests.size),
            nar: NarSum { hash: Digest::of(content.as_bytes()), size: 100 },
            references: references.iter().map(|name| store_path(name)).collect(),
            deriver: Some(format!("{}.drv", store_path(name)).parse().unwrap()),
            signatures: [].into(),
            content_address: None,
        };
        CachedPath { info, digest: digests.sha256 }
    }

    fn publish(&self, now: u64, content: &CacheContent) -> ChannelOutcome {
        self.open().publish(now, content, &self.store, &Always).unwrap()
    }

    fn has(&self, file: &str) -> bool {
        self.dir.path().join("cache").join(file).exists()
    }

    fn narinfo(&self, name: &str) -> NarInfo {
        let file = self.dir.path().join("cache").join(narinfo(name));
        NarInfo::parse(&fs::read(file).unwrap(), &StoreDir::default()).unwrap()
    }

    fn ready(&self, host: &str) -> Ready {
        let file = self.dir.path().join("cache/ready").join(host);
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }
}

/// Provides a listing and a log for every path.
struct Always;

impl SideFiles for Always {
    fn listing(&self, _: &CachedPath) -> Result<Option<String>, StoreError> {
        Ok(Some("{}".to_owned()))
    }

    fn log(&self, path: &CachedPath) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(Some(path.info.path.to_string().into_bytes()))
    }

    fn lock(&self, ready: &Ready) -> Option<Vec<u8>> {
        Some(lock(ready.run.0).into_bytes())
    }
}

/// The lock file of a run.
fn lock(run: u64) -> String {
    format!("the lock of {run}")
}

fn store_path(name: &str) -> StorePath {
    let hash: String = name.chars().cycle().take(32).collect();
    format!("{hash}-{name}").parse().unwrap()
}

fn narinfo(name: &str) -> String {
    format!("{}.narinfo", store_path(name).hash_part())
}

fn host(name: &str, path: &str, run: u64) -> Ready {
    Ready {
        profile: "home".parse().unwrap(),
        channel: Default::default(),
        host: name.to_owned(),
        path: format!("/nix/store/{}", store_path(path)),
        generation: 0,
        run: swarm_common::id::RunId(run),
        built_at: TimeMs(NOW * 1000),
        commit: None,
        lock: Some(Digest::of(lock(run).as_bytes())),
        closure_paths: 0,
        closure_size: 0,
        missing: Vec::new(),
        boot: BTreeMap::new(),
        signatures: Vec::new(),
    }
}

#[test]
fn a_published_path_has_archive_listing_log_and_a_signed_narinfo() {
    let place = Place::new();
    let (lib, prog) = (place.path("a", "lib", &[]), place.path("b", "prog", &["a", "b"]));
    let content = CacheContent { paths: vec![prog.clone(), lib], hosts: vec![host("desk", "b", 1)] };
    let outcome = place.publish(NOW, &content);
    assert_eq!(outcome, ChannelOutcome { generation: 1, packages: 2, missing: Vec::new() });
    let info = place.narinfo("b");
    let key: PublicKey = place.keys.public()[0].parse().unwrap();
    assert!(info.is_signed_by(std::slice::from_ref(&key), &StoreDir::default()));
    assert_eq!(info.url.to_string(), format!("nar/{}.nar.zst", prog.digest));
    for file in [&info.url.to_string(), &format!("{}.ls", info.path.hash_part()), "nix-cache-info"] {
        assert!(place.has(file), "{file}");
    }
    assert!(place.has(&format!("log/{}", info.deriver.unwrap())));
    let ready = place.ready("desk");
    assert_eq!((ready.generation, ready.closure_paths, ready.closure_size), (1, 2, 200));
    let text = format!("swarm-ready-1;home;desk;1;/nix/store/{}", store_path("b"));
    assert!(key.verifies(&text, &ready.signatures[0].parse().unwrap()));
    assert_eq!(place.publish(NOW + 5, &content).generation, 1, "nothing is new");
}

#[test]
fn a_listing_log_or_lock_that_a_power_loss_left_empty_is_written_again() {
    let place = Place::new();
    let content =
        CacheContent { paths: vec![place.path("a", "lib", &[])], hosts: vec![host("desk", "a", 1)] };
    place.publish(NOW, &content);
    let info = place.narinfo("a");
    let small = [
        format!("{}.ls", info.path.hash_part()),
        format!("log/{}", info.deriver.unwrap()),
        super::lock_path(Digest::of(lock(1).as_bytes())),
    ];
    let read = || small.each_ref().map(|name| fs::read(place.dir.path().join("cache").join(name)).unwrap());
    let before = read();
    assert!(before.iter().all(|bytes| !bytes.is_empty()));
    small.iter().for_each(|name| fs::write(place.dir.path().join("cache").join(name), "").unwrap());
    place.publish(NOW + 5, &content);
    assert_eq!(read(), before);
}

#[test]
fn what_was_published_first_stays_and_is_signed_by_a_new_key() {
    let mut place = Place::new();
    let content = |path| CacheContent { paths: vec![path], hosts: vec![host("desk", "a", 1)] };
    place.publish(NOW, &content(place.path("a", "one", &[])));
    let first = place.narinfo("a");
    place.publish(NOW + 1, &content(place.path("a", "other content", &[])));
    assert_eq!(place.narinfo("a"), first);
    NixKeys::load_or_create(&place.dir.path().join("second"), "swarm-t-2").unwrap();
    let files = ["key", "second"].map(|name| place.dir.path().join(name));
    place.keys = Arc::new(NixKeys::load(&files).unwrap());
    place.publish(NOW + 2, &content(place.path("a", "other content", &[])));
    let both = place.narinfo("a");
    assert_eq!((both.nar, both.signatures.len()), (first.nar, 2));
    let ready = place.ready("desk");
    assert_eq!((ready.generation, ready.signatures.len()), (1, 2));
}

#[test]
fn a_path_whose_reference_is_lost_is_not_published_and_its_host_keeps_the_old_system() {
    let place = Place::new();
    let (lib, prog) = (place.path("a", "lib", &[]), place.path("b", "prog", &["a"]));
    let old = CacheContent { paths: vec![lib.clone(), prog], hosts: vec![host("desk", "b", 1)] };
    place.publish(NOW, &old);
    let (dep, top) = (place.path("c", "dep", &[]), place.path("d", "top", &["c", "a"]));
    place.store.remove(dep.digest, SystemTime::now()).unwrap();
    let mut new = CacheContent { paths: vec![top, dep.clone(), lib], hosts: vec![host("desk", "d", 2)] };
    let outcome = place.publish(NOW + 1, &new);
    assert_eq!(outcome.missing.len(), 2);
    assert!(!place.has(&narinfo("c")) && !place.has(&narinfo("d")));
    assert_eq!(place.ready("desk").run.0, 1);
    new.paths[1] = place.path("c", "dep", &[]);
    assert_eq!(place.publish(NOW + 2, &new).missing, []);
    assert_eq!((place.ready("desk").run.0, place.ready("desk").generation), (2, 3));
}

#[test]
fn ready_moves_back_to_an_earlier_system_in_a_later_generation() {
    let place = Place::new();
    let content = |name: &str, run| CacheContent {
        paths: vec![place.path(name, name, &[])],
        hosts: vec![host("desk", name, run), host("nas", "z", 1)],
    };
    let publish = |now, number, content: &CacheContent| {
        let mut cache = place.open().numbered(number);
        assert_eq!(cache.publish(now, content, &place.store, &Always).unwrap().generation, number);
        let (desk, nas) = (place.ready("desk"), place.ready("nas"));
        (desk.generation, desk.run.0, nas.generation)
    };
    assert_eq!(publish(NOW, 1, &content("a", 1)), (1, 1, 1));
    assert_eq!(publish(NOW + 1, 2, &content("b", 2)), (2, 2, 1));
    assert_eq!(publish(NOW + 2, 4, &content("a", 1)), (4, 1, 1), "the other host's system is the same");
    assert!(place.has(&narinfo("a")) && place.has("generations/4/ready-desk"));
    assert_eq!(publish(NOW + 3, 5, &content("a", 1)), (4, 1, 1));
}

#[test]
fn a_sweep_removes_narinfos_first_and_archives_later() {
    let place = Place::new();
    let (old, new) = (place.path("a", "old", &[]), place.path("b", "new", &[]));
    place.publish(NOW, &CacheContent { paths: vec![old.clone()], hosts: vec![host("desk", "a", 1)] });
    place.publish(NOW + 10, &CacheContent { paths: vec![new.clone()], hosts: Vec::new() });
    assert!(!place.has("ready/desk"), "the host is gone from the profile");
    let nar = nar_path(old.digest);
    let sweep = |now, kept: &[u64]| {
        place.open().sweep(now, DAY, &kept.iter().copied().collect()).unwrap();
    };
    sweep(NOW + DAY, &[2]);
    assert!(place.has(&narinfo("a")), "the grace time is not over");
    sweep(NOW + DAY + 10, &[1, 2]);
    assert!(place.has(&narinfo("a")) && place.has("generations/1/ready-desk"), "it is kept");
    sweep(NOW + DAY + 10, &[2]);
    assert!(!place.has(&narinfo("a")) && place.has(&nar) && !place.has("generations/1"));
    fs::write(place.dir.path().join("cache/nar/x.new"), b"").unwrap();
    sweep(NOW + DAY + 20, &[2]);
    assert!(!place.has(&nar) && !place.has("nar/x.new"));
    assert!(place.has(&narinfo("b")) && place.has(&nar_path(new.digest)));
    assert_eq!(place.open().generation(), 2);
}

#[test]
fn the_lock_of_a_system_is_there_for_as_long_as_a_generation_names_it() {
    let place = Place::new();
    let path = |name| place.path(name, name, &[]);
    let file = |run| lock_path(Digest::of(lock(run).as_bytes()));
    place.publish(NOW, &CacheContent { paths: vec![path("a")], hosts: vec![host("desk", "a", 1)] });
    assert_eq!(fs::read_to_string(place.dir.path().join("cache").join(file(1))).unwrap(), lock(1));
    let other = Ready { lock: Some(Digest::of(b"another")), ..host("nas", "b", 2) };
    let content = CacheContent { paths: vec![path("b")], hosts: vec![host("desk", "b", 2), other] };
    place.publish(NOW + DAY, &content);
    assert!(place.has(&file(1)) && place.has(&file(2)));
    assert!(!place.has(&lock_path(Digest::of(b"another"))), "the snapshot has another one");
    let mut cache = place.open();
    cache.sweep(NOW + 2 * DAY, DAY, &[1, 2].into()).unwrap();
    assert!(place.has(&file(1)), "generation 1 is kept");
    cache.sweep(NOW + 3 * DAY, DAY, &[2].into()).unwrap();
    assert!(!place.has(&file(1)) && place.has(&file(2)));
}

#[test]
fn a_rollback_to_a_system_of_a_forgotten_run_names_its_source() {
    let place = Place::new();
    let content = |name: &str, ready: Ready| CacheContent {
        paths: vec![place.path(name, name, &[])],
        hosts: vec![ready],
    };
    let known = Ready { commit: Some("c0ffee".to_owned()), ..host("desk", "a", 1) };
    let unknown = Ready { lock: None, ..host("desk", "a", 1) };
    place.publish(NOW, &content("a", known.clone()));
    place.publish(NOW + 1, &content("b", host("desk", "b", 2)));
    place.open().sweep(NOW + 3 * DAY, DAY, &[1, 2].into()).unwrap();
    place.publish(NOW + 3 * DAY, &content("a", unknown));
    let ready = place.ready("desk");
    assert_eq!((ready.generation, ready.commit, ready.lock), (3, known.commit, known.lock));
    assert!(place.has(&lock_path(known.lock.unwrap())));
    // Another run may have made the same system from another commit.
    let other = Ready { lock: None, ..host("desk", "a", 4) };
    place.publish(NOW + 4 * DAY, &content("a", other));
    assert_eq!((place.ready("desk").run.0, place.ready("desk").lock), (4, None));
}

#[test]
fn a_damaged_narinfo_or_archive_is_found_and_written_again() {
    let place = Place::new();
    let path = place.path("a", "content", &[]);
    let content = CacheContent { paths: vec![path.clone()], hosts: Vec::new() };
    place.publish(NOW, &content);
    let file = place.dir.path().join("cache").join(narinfo("a"));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(check(&place.open(), &place.store).unwrap(), (Vec::new(), Vec::new()));
    fs::write(&file, text.replace("NarSize: 100", "NarSize: 101")).unwrap();
    assert_eq!(check(&place.open(), &place.store).unwrap().0.len(), 1);
    place.publish(NOW + 1, &content);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let nar = place.dir.path().join("cache").join(nar_path(path.digest));
    fs::remove_file(&nar).unwrap();
    assert_eq!(check(&place.open(), &place.store).unwrap().0.len(), 1);
    fs::copy(place.store.describe(path.digest), &nar).unwrap();
    assert_eq!(check(&place.open(), &place.store).unwrap().1, [(path.digest, 7, nar)]);
}
