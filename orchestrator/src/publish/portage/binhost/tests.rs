//! A channel through publications, crashes and sweeps, in a real directory.

use super::*;
use crate::store::LocalStore;
use flate2::read::GzDecoder;
use std::io::Read as _;
use swarm_formats::portage::{
    gpkg::{self, Limits},
    packages_index::PublishedFile,
};

const T: u64 = 1_800_000_000;

struct Bench {
    dir: tempfile::TempDir,
    store: LocalStore,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("stable")
    }

    fn lose(&self, digest: Digest) {
        // A published file has the date of its entry.
        let later = UNIX_EPOCH + Duration::from_secs(2 * T);
        assert!(self.store.remove(digest, later).unwrap());
    }

    fn open(&self, keep: Generations) -> Binhost {
        let header = BTreeMap::from([("ARCH".to_owned(), "amd64".to_owned())]);
        Binhost::open(self.root(), keep, header).unwrap()
    }

    fn package(&self, name: &str, path: &str) -> Published {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data/binhost");
        let bytes = fs::read(fixtures.join(name)).unwrap();
        let digests = crate::store::insert(&self.store, &bytes[..], None).unwrap();
        let digest = digests.sha256;
        let metadata = gpkg::verify(&bytes[..], &Limits::default()).unwrap().metadata;
        let file = PublishedFile { path: path.to_owned(), digests, mtime: 1_700_000_000 };
        Published { digest, entry: Entry::new(&metadata, &file).unwrap() }
    }

    fn pebble(&self, build: u32) -> Published {
        let path = format!("dev-libs/pebble/pebble-1.2-{build}.gpkg.tar");
        self.package(&format!("pebble-1.2-{build}.gpkg.tar"), &path)
    }

    fn cairn(&self) -> Published {
        self.package("cairn-3-1.gpkg.tar", "app-misc/cairn/cairn-3-1.gpkg.tar")
    }

    /// Checks that both index files agree, have the right time, and name only existing files.
    #[track_caller]
    fn check(&self) -> PackagesIndex {
        let root = self.root();
        let text = fs::read_to_string(root.join("Packages")).unwrap();
        let mut unpacked = String::new();
        let gz = fs::read(root.join("Packages.gz")).unwrap();
        let mut decoder = GzDecoder::new(&gz[..]);
        decoder.read_to_string(&mut unpacked).unwrap();
        assert_eq!(text, unpacked);
        let index = PackagesIndex::parse(&text).unwrap();
        assert_eq!(u64::from(decoder.header().unwrap().mtime()), index.timestamp());
        for name in ["Packages", "Packages.gz"] {
            assert_eq!(seconds_of(&root.join(name)), Some(index.timestamp()), "{name}");
        }
        for entry in index.entries() {
            let file = FileHasher::read_all(File::open(root.join(entry.path())).unwrap()).unwrap();
            assert_eq!(file.sha1, entry.get("SHA1"));
            assert_eq!(seconds_of(&root.join(entry.path())).unwrap().to_string(), entry.get("_mtime_"));
        }
        index
    }
}

#[test]
fn files_and_index_appear_and_an_unchanged_set_writes_nothing() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::Keep);
    let set = [bench.pebble(1), bench.cairn()];
    let outcome = binhost.publish(T, &set, &bench.store).unwrap();
    assert_eq!((outcome.generation, outcome.timestamp, outcome.added), (1, T, 2));
    assert_eq!(bench.check().len(), 2);
    let again = binhost.publish(T + 60, &set, &bench.store).unwrap();
    assert!(!again.changed);
    assert_eq!(again.timestamp, T);
    // The same after a restart.
    let again = bench.open(Generations::Keep).publish(T + 90, &set, &bench.store).unwrap();
    assert!(!again.changed, "{again:?}");
    assert_eq!((again.generation, again.timestamp), (1, T));
}

#[test]
fn a_given_number_is_a_new_generation_even_of_the_same_packages() {
    let bench = Bench::new();
    let (pebble, cairn) = ([bench.pebble(1)], [bench.cairn()]);
    let publish = |now, number, set: &[Published]| {
        let mut binhost = bench.open(Generations::Keep).numbered(number);
        let outcome = binhost.publish(now, set, &bench.store).unwrap();
        (outcome.generation, outcome.changed)
    };
    assert_eq!(publish(T, 3, &pebble), (3, true));
    assert_eq!(publish(T + 1, 3, &pebble), (3, false));
    assert_eq!(publish(T + 2, 5, &cairn), (5, true));
    assert_eq!(publish(T + 3, 6, &pebble), (6, true), "back to what was there before");
    assert_eq!(publish(T + 4, 7, &pebble), (7, true));
    assert_eq!(bench.check().timestamp(), T + 4);
    assert_eq!(generations::numbers(&bench.root()).unwrap(), [3, 5, 6, 7]);
}

#[test]
fn a_channel_grows_by_what_is_added() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::CurrentOnly);
    binhost.publish(T, &[bench.pebble(1)], &bench.store).unwrap();
    let outcome = binhost.add(T + 1, &[bench.cairn(), bench.pebble(1)], &bench.store).unwrap();
    assert_eq!((outcome.added, outcome.removed, outcome.changed), (1, 0, true));
    assert_eq!(bench.check().len(), 2);
    assert!(!binhost.add(T + 2, &[bench.cairn()], &bench.store).unwrap().changed);
    let other = bench.package("pebble-1.2-2.gpkg.tar", bench.cairn().entry.path());
    let error = binhost.add(T + 3, &[other], &bench.store).unwrap_err();
    assert!(matches!(error, PublishError::Taken(_)), "{error}");
    let absent = bench.pebble(2);
    bench.lose(absent.digest);
    let outcome = binhost.add(T + 4, std::slice::from_ref(&absent), &bench.store).unwrap();
    assert_eq!((outcome.missing, outcome.changed), (vec![absent.digest], false));
    assert_eq!(bench.check().len(), 2);
}

#[test]
fn an_empty_channel_has_an_index_too() {
    let bench = Bench::new();
    bench.open(Generations::Keep).publish(T, &[], &bench.store).unwrap();
    assert!(bench.check().is_empty());
}

#[test]
fn the_timestamp_grows_even_if_the_clock_goes_back() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::Keep);
    binhost.publish(T, &[bench.pebble(1)], &bench.store).unwrap();
    let outcome = binhost.publish(T, &[bench.cairn()], &bench.store).unwrap();
    assert_eq!(outcome.timestamp, T + 1);
    let mut binhost = bench.open(Generations::Keep);
    let outcome = binhost.publish(T - 1000, &[], &bench.store).unwrap();
    assert_eq!((outcome.timestamp, outcome.generation, outcome.removed), (T + 2, 3, 1));
    bench.check();
}

#[test]
fn a_file_that_vanished_is_placed_again_and_one_without_a_sound_artifact_is_left_out() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::Keep);
    let set = [bench.pebble(1), bench.cairn()];
    binhost.publish(T, &set, &bench.store).unwrap();
    fs::remove_file(bench.root().join(set[0].entry.path())).unwrap();
    fs::write(bench.root().join(set[1].entry.path()), b"cut").unwrap();
    // The published file is a hard link, so damaging it damages the store too.
    let outcome = binhost.publish(T + 1, &set, &bench.store).unwrap();
    assert_eq!((outcome.missing, outcome.removed), (vec![set[1].digest], 1));
    assert_eq!(bench.check().len(), 1);
    bench.cairn();
    assert_eq!(binhost.publish(T + 1, &set, &bench.store).unwrap().added, 1);
    bench.check();
    bench.lose(set[1].digest);
    fs::remove_file(bench.root().join(set[1].entry.path())).unwrap();
    let outcome = binhost.publish(T + 2, &set, &bench.store).unwrap();
    assert_eq!((outcome.missing, outcome.removed), (vec![set[1].digest], 1));
    assert_eq!(bench.check().len(), 1);
}

#[test]
fn a_published_path_never_changes_its_bytes() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::Keep);
    let first = bench.pebble(1);
    binhost.publish(T, std::slice::from_ref(&first), &bench.store).unwrap();
    let other = bench.package("pebble-1.2-2.gpkg.tar", first.entry.path());
    for set in [vec![other.clone()], vec![first.clone(), other]] {
        let error = binhost.publish(T + 1, &set, &bench.store).unwrap_err();
        assert!(matches!(error, PublishError::Taken(_)), "{error}");
    }
    assert!(bench.check().contains(&first.entry));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::Keep);
    for path in ["../evil.gpkg.tar", "/etc/x.gpkg.tar", "generations/1/x.gpkg.tar", "Packages"] {
        let package = bench.package("pebble-1.2-1.gpkg.tar", path);
        assert!(matches!(binhost.publish(T, &[package], &bench.store), Err(PublishError::Path(_))), "{path}");
    }
}

// fault: 40
#[test]
fn files_of_older_generations_stay_for_the_grace_time() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::Keep);
    let (old, new) = (bench.pebble(1), bench.pebble(2));
    binhost.publish(T, std::slice::from_ref(&old), &bench.store).unwrap();
    binhost.publish(T + 100, std::slice::from_ref(&new), &bench.store).unwrap();
    assert_eq!(binhost.sweep(T + 150, 60).unwrap(), 0);
    assert!(bench.root().join(old.entry.path()).exists());
    assert!(bench.root().join("generations/1/Packages.gz").exists());
    assert_eq!(binhost.sweep(T + 160, 60).unwrap(), 1);
    assert!(!bench.root().join(old.entry.path()).exists());
    assert!(!bench.root().join("generations/1").exists());
    assert!(bench.root().join("generations/2/Packages").exists());
    assert!(bench.store.read(old.digest).is_ok(), "the store is not touched");
    bench.check();
}

#[test]
fn a_channel_without_generations_sweeps_too() {
    let bench = Bench::new();
    let mut binhost = bench.open(Generations::CurrentOnly);
    binhost.publish(T, &[bench.pebble(1)], &bench.store).unwrap();
    binhost.publish(T + 100, &[bench.pebble(2)], &bench.store).unwrap();
    assert!(!bench.root().join("generations").exists());
    assert_eq!(binhost.sweep(T + 150, 60).unwrap(), 0);
    assert_eq!(binhost.sweep(T + 160, 60).unwrap(), 1);
    bench.check();
}

// fault: 5
#[test]
fn a_crash_between_any_two_steps_is_repaired_by_the_next_publication() {
    let bench = Bench::new();
    let set = [bench.pebble(1), bench.cairn()];
    bench.open(Generations::Keep).publish(T, &set[..1], &bench.store).unwrap();
    let old_gz = fs::read(bench.root().join("Packages.gz")).unwrap();
    bench.open(Generations::Keep).publish(T + 1, &set, &bench.store).unwrap();
    // Killed between the two index files.
    generations::replace(&bench.root(), &[("Packages.gz", &old_gz)], T).unwrap();
    assert!(bench.open(Generations::Keep).publish(T + 2, &set, &bench.store).unwrap().changed);
    bench.check();
    // Killed while writing an index, with leftover files and generations.
    fs::write(bench.root().join("Packages.new"), b"ARCH: am").unwrap();
    fs::write(bench.root().join("dev-libs/pebble/half.new"), b"x").unwrap();
    fs::create_dir_all(bench.root().join("generations/.4")).unwrap();
    fs::write(bench.root().join("Packages"), b"ARCH: am").unwrap();
    let mut binhost = bench.open(Generations::Keep);
    assert!(binhost.publish(T + 9, &set, &bench.store).unwrap().changed);
    assert_eq!(bench.check().len(), 2);
    assert_eq!(binhost.sweep(T + 10_000, 60).unwrap(), 1);
    // No index at all.
    fs::remove_file(bench.root().join("Packages")).unwrap();
    assert!(bench.open(Generations::Keep).publish(T + 20, &set, &bench.store).unwrap().changed);
    bench.check();
}

#[test]
fn another_header_is_published() {
    let bench = Bench::new();
    let set = [bench.pebble(1)];
    bench.open(Generations::Keep).publish(T, &set, &bench.store).unwrap();
    let header = BTreeMap::from([("CHOST".to_owned(), "x86_64-pc-linux-gnu".to_owned())]);
    let mut binhost = Binhost::open(bench.root(), Generations::Keep, header).unwrap();
    assert!(binhost.publish(T, &set, &bench.store).unwrap().changed);
    let text = fs::read_to_string(bench.root().join("Packages")).unwrap();
    assert_eq!(text.matches("CHOST").count(), 1, "the block inherits it: {text}");
    assert!(!binhost.publish(T, &set, &bench.store).unwrap().changed);
}

// fault: 51
#[test]
fn a_changed_byte_of_either_index_file_is_seen_when_it_is_opened_and_both_are_written_again() {
    let bench = Bench::new();
    let set = [bench.pebble(1), bench.cairn()];
    bench.open(Generations::CurrentOnly).publish(T, &set, &bench.store).unwrap();
    let mut tried = 0;
    for name in ["Packages", "Packages.gz"] {
        let length = fs::read(bench.root().join(name)).unwrap().len();
        for at in (0..length).step_by(11) {
            let timestamp = bench.check().timestamp();
            let path = bench.root().join(name);
            let mut bytes = fs::read(&path).unwrap();
            let Some(byte) = bytes.get_mut(at) else { continue };
            *byte ^= 1;
            fs::write(&path, &bytes).unwrap();
            // Disks corrupt data without changing the modification time.
            let date = UNIX_EPOCH + Duration::from_secs(timestamp);
            File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
            let outcome = bench.open(Generations::CurrentOnly).publish(T, &set, &bench.store).unwrap();
            assert!(outcome.changed, "{name}: byte {at}");
            let index = bench.check();
            let entries: Vec<&Entry> = index.entries().collect();
            assert_eq!(entries, [&set[1].entry, &set[0].entry], "{name}: byte {at}");
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} bytes were changed");
}
