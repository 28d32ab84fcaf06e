//! What the cache keeps, what it removes, and how it detects damage.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use swarm_formats::snapshot::{SnapshotContents, difference};

fn digest(n: u8) -> Digest {
    Digest::of(&[n])
}

/// Adds a snapshot, as a layer over another one if `below` is given.
fn make(cache: &SnapshotCache, n: u8, below: Option<u8>) {
    let dir = cache.dir(digest(n));
    fs::create_dir_all(dir.join(LAYER).join("repos")).unwrap();
    fs::write(dir.join(LAYER).join("repos/ebuild"), [n]).unwrap();
    if let Some(below) = below {
        fs::write(dir.join(BELOW), digest(below).to_string()).unwrap();
    }
    seal::write(&dir).unwrap();
    used_at(cache, n, u64::from(n));
}

fn used_at(cache: &SnapshotCache, n: u8, seconds: u64) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::open(cache.dir(digest(n))).unwrap().set_modified(then).unwrap();
}

fn left(cache: &SnapshotCache) -> Vec<u8> {
    (0..50).filter(|&n| cache.dir(digest(n)).exists()).collect()
}

// fault: 47
#[test]
fn what_a_cut_off_start_left_is_removed_and_whole_snapshots_and_downloads_stay() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SnapshotCache::open(dir.path()).unwrap();
    make(&cache, 1, None);
    let half = cache.dir(digest(2)).with_extension("new");
    fs::create_dir_all(half.join(LAYER)).unwrap();
    fs::create_dir(cache.dir(digest(3))).unwrap();
    fs::create_dir(cache.dir(digest(4)).with_extension("old")).unwrap();
    fs::write(dir.path().join(format!("{}.tar.zst", digest(5))), "of an older version").unwrap();
    fs::write(cache.partial(digest(6), Some(digest(1))), "half").unwrap();
    let cache = SnapshotCache::open(dir.path()).unwrap();
    assert_eq!(cache.find(digest(1)).unwrap(), Some(vec![digest(1)]));
    assert!(cache.partial(digest(6), Some(digest(1))).exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn of_many_snapshots_the_last_used_are_kept_and_those_that_builds_have_and_all_below_them() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SnapshotCache::open(dir.path()).unwrap();
    for (n, below) in
        [(0, None), (1, None), (2, None), (3, Some(2)), (4, None), (5, Some(0)), (6, None), (7, Some(6))]
    {
        make(&cache, n, below);
    }
    let (first, again) = (cache.hold(digest(3)), cache.hold(digest(3)));
    drop(again);
    used_at(&cache, 3, 3);
    cache.touch_and_sweep(digest(3));
    assert_eq!(left(&cache), [0, 2, 3, 5, 6, 7], "7, 6 and 5 were used last; 5 lies over 0 and 3 over 2");
    drop(first);
    cache.touch_and_sweep(digest(7));
    assert_eq!(left(&cache), [2, 3, 6, 7]);
    assert_eq!(cache.find(digest(7)).unwrap(), Some(vec![digest(6), digest(7)]));
}

// fault: 47
#[test]
fn what_was_changed_added_or_removed_is_named_once_a_start_and_the_snapshot_goes() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 5] = [
        ("`files/repos/ebuild` was changed", |at| fs::write(at.join("files/repos/ebuild"), "x").unwrap()),
        ("`files/repos/ebuild` was changed", |at| {
            // Size and modification time stay the same.
            let then = fs::metadata(at.join("files/repos/ebuild")).unwrap().modified().unwrap();
            fs::write(at.join("files/repos/ebuild"), [7]).unwrap();
            File::open(at.join("files/repos/ebuild")).unwrap().set_modified(then).unwrap();
        }),
        ("`files/repos/ebuild` is missing", |at| fs::remove_file(at.join("files/repos/ebuild")).unwrap()),
        ("`files/repos/added` was added, and 1 more", |at| {
            fs::write(at.join("files/repos/added"), "").unwrap();
            fs::remove_file(at.join("files/repos/ebuild")).unwrap();
        }),
        ("`files/repos` was changed", |at| {
            fs::set_permissions(at.join("files/repos"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
    ];
    for (expected, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let cache = SnapshotCache::open(dir.path()).unwrap();
        make(&cache, 1, None);
        make(&cache, 2, Some(1));
        let at = cache.dir(digest(1));
        assert_eq!(seal::damage(&at), None);
        // File times may have a granularity of some milliseconds.
        std::thread::sleep(Duration::from_millis(20));
        change(&at);
        assert_eq!(seal::damage(&at).as_deref(), Some(expected));
        assert_eq!(cache.find(digest(2)).unwrap(), None, "what lies over it is no better");
        assert_eq!(left(&cache), [0_u8; 0]);
    }
}

#[test]
fn a_snapshot_lies_over_a_bounded_number_of_others_and_never_over_itself() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SnapshotCache::open(dir.path()).unwrap();
    for n in 0..40 {
        make(&cache, n, n.checked_sub(1));
    }
    assert_eq!(cache.find(digest(31)).unwrap().unwrap().len(), MOST_BELOW + 1);
    assert_eq!(cache.candidates().first(), Some(&digest(30)), "the newest that another one may lie over");
    assert_eq!(cache.find(digest(32)).unwrap(), None);
    make(&cache, 45, Some(45));
    assert_eq!(cache.find(digest(45)).unwrap(), None);
    fs::write(cache.dir(digest(1)).join(BELOW), "no digest").unwrap();
    assert_eq!(cache.find(digest(1)).unwrap(), None);
}

#[test]
fn a_snapshot_for_nix_is_one_plain_directory_even_if_only_a_difference_was_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SnapshotCache::open(&dir.path().join("cache")).unwrap();
    let pack = |name: &str, text: &str| {
        let manifest = r#"{"format":1,"nix":{"flake":false,"file":"default.nix","attributes":["x"]}}"#;
        let mut contents = SnapshotContents::new(serde_json::from_str(manifest).unwrap()).unwrap();
        contents.add_bytes("source/default.nix", text.into()).unwrap();
        contents.add_bytes("source/same.nix", "1".into()).unwrap();
        let at = dir.path().join(name);
        let digest = contents.write(File::create(&at).unwrap(), || ()).unwrap();
        (at, digest)
    };
    let ((first, one), (second, two)) = (pack("first", "1"), pack("second", "2"));
    let open = |path: &Path| File::open(path).unwrap();
    let between = dir.path().join("between");
    difference(open(&first), [open(&second), open(&second)], File::create(&between).unwrap()).unwrap();
    cache.put(&first, one, &[]).unwrap();
    cache.put(&between, two, &[one]).unwrap();
    for (digest, text) in [(one, "1"), (two, "2")] {
        let chain = cache.find(digest).unwrap().unwrap();
        let (own, layers) = cache.places(digest, &chain);
        assert!(layers.is_empty());
        assert_eq!(fs::read_to_string(own.join("source/default.nix")).unwrap(), text);
        assert!(own.join("source/same.nix").is_file());
    }
}
