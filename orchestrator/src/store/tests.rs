//! Tests of the store of package files.

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
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
    assert_eq!(store.total_size().unwrap(), 5);
    let other = insert(&store, &b"other bytes"[..], None).unwrap().sha256;
    assert_eq!(store.remove_others(&BTreeSet::from([digest])).unwrap(), 11);
    assert!(matches!(store.read(other), Err(StoreError::Absent(_))));
    assert!(store.remove(digest).unwrap() && !store.remove(digest).unwrap());
    assert!(matches!(store.read(digest), Err(StoreError::Absent(_))));
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

// fault: 6
#[test]
fn a_crash_leaves_nothing_behind() {
    let (dir, store) = store();
    fs::write(dir.path().join("store/tmp/half"), b"by").unwrap();
    let digest = insert(&store, &b"bytes"[..], None).unwrap().sha256;
    let store = Store::open(dir.path().join("store")).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("store/tmp")).unwrap().count(), 0);
    assert_eq!(store.list().unwrap(), [(digest, 5)]);
}
