//! Tests of the store in a directory.

use super::*;

fn store() -> (tempfile::TempDir, LocalStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    (dir, store)
}

// fault: 6
#[test]
fn what_is_inserted_twice_is_there_once() {
    let (_dir, store) = store();
    let digest = insert(&store, &b"bytes"[..], None).unwrap().sha256;
    assert_eq!(insert(&store, &b"bytes"[..], Some(digest)).unwrap().size, 5);
    assert_eq!(store.list().unwrap(), [(digest, 5)]);
    assert_eq!(store.verify(digest).unwrap().sha256, digest);
}

#[test]
fn only_what_is_old_is_removed_and_then_absent() {
    let (_dir, store) = store();
    let digest = insert(&store, &b"bytes"[..], None).unwrap().sha256;
    let hour = Duration::from_secs(3600);
    let removed = |before| store.remove(digest, before).unwrap();
    assert!(!removed(SystemTime::now() - hour), "it is young");
    assert!(removed(SystemTime::now() + hour) && !removed(SystemTime::now() + hour));
    let absent = |error| matches!(error, StoreError::Absent(absent) if absent == digest);
    assert!(store.read(digest).err().is_some_and(absent));
    assert!(store.size(digest).err().is_some_and(absent) && store.locate(digest).err().is_some_and(absent));
}

#[test]
fn other_bytes_than_expected_do_not_enter() {
    let (dir, store) = store();
    let result = insert(&store, &b"bytes"[..], Some(Digest::of(b"other")));
    assert!(matches!(result, Err(StoreError::Damaged { .. })));
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(fs::read_dir(dir.path().join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn damage_is_found_and_healed_by_a_new_insert() {
    let (_dir, store) = store();
    let digest = insert(&store, &b"bytes"[..], None).unwrap().sha256;
    fs::write(store.path(digest), b"bytez").unwrap();
    assert!(matches!(store.verify(digest), Err(StoreError::Damaged { .. })));
    store.verify(insert(&store, &b"bytes"[..], None).unwrap().sha256).unwrap();
}

#[test]
fn a_published_file_is_a_link_or_as_good_a_copy() {
    let (dir, store) = store();
    let digest = insert(&store, &b"bytes"[..], None).unwrap().sha256;
    let (published, date) = (dir.path().join("published"), SystemTime::UNIX_EPOCH + Duration::from_secs(7));
    fs::write(&published, b"before").unwrap();
    assert!(!store.is_linked(digest, &published).unwrap());
    store.link(digest, &published, Some(date)).unwrap();
    assert!(store.is_linked(digest, &published).unwrap());
    assert_eq!(fs::metadata(&published).unwrap().modified().unwrap(), date);
    // Another file system, to which hard links are impossible.
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let copy = elsewhere.path().join("copy");
    store.link(digest, &copy, None).unwrap();
    assert!(!store.is_linked(digest, &copy).unwrap());
    assert_eq!(fs::read(&copy).unwrap(), b"bytes");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    let absent = Digest::of(b"absent");
    assert!(matches!(store.link(absent, &copy, None), Err(StoreError::Absent(_))));
    assert_eq!(fs::read(&copy).unwrap(), b"bytes");
}

// fault: 6
#[test]
fn a_crash_leaves_nothing_behind() {
    let (dir, store) = store();
    fs::write(dir.path().join("store/tmp/half"), b"by").unwrap();
    let digest = insert(&store, &b"bytes"[..], None).unwrap().sha256;
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("store/tmp")).unwrap().count(), 0);
    assert_eq!(store.list().unwrap(), [(digest, 5)]);
}
