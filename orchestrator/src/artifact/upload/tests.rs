//! Uploads in pieces, at wrong offsets, at once, too large, onto a full disk.

use super::*;
use std::time::Duration;

const A: AttemptId = AttemptId(7);

fn incoming() -> (tempfile::TempDir, Incoming) {
    let dir = tempfile::tempdir().unwrap();
    let incoming = Incoming::open(dir.path().join("incoming"), 100).unwrap();
    (dir, incoming)
}

#[test]
fn a_file_arrives_in_pieces_and_over_a_restart() {
    let (dir, incoming) = incoming();
    let digest = Digest::of(b"hello world");
    assert_eq!(incoming.begin(A, digest, 11).unwrap(), 0);
    let mut piece = incoming.append(A, digest, 0).unwrap();
    piece.write(b"hel").unwrap();
    piece.write(b"lo").unwrap();
    // The connection breaks: nobody calls finish.
    drop(piece);
    let incoming = Incoming::open(dir.path().join("incoming"), 100).unwrap();
    assert_eq!(incoming.begin(A, digest, 11).unwrap(), 5);
    let mut piece = incoming.append(A, digest, 5).unwrap();
    piece.write(b" world").unwrap();
    assert_eq!(piece.finish().unwrap(), (11, true));
    let done = incoming.status(A, digest).unwrap();
    assert!(done.is_complete());
    assert_eq!(fs::read(done.path).unwrap(), b"hello world");
}

#[test]
fn pieces_at_a_wrong_offset_are_told_the_right_one() {
    let (_dir, incoming) = incoming();
    let digest = Digest::of(b"x");
    incoming.begin(A, digest, 10).unwrap();
    incoming.append(A, digest, 0).unwrap().write(b"abc").unwrap();
    for given in [0, 2, 4, 10, u64::MAX] {
        match incoming.append(A, digest, given) {
            Err(UploadError::WrongOffset { offset: 3, .. }) => {}
            other => panic!("{given}: {other:?}"),
        }
    }
}

#[test]
fn too_much_is_refused_and_what_was_there_stays() {
    let (_dir, incoming) = incoming();
    let digest = Digest::of(b"x");
    assert!(matches!(incoming.begin(A, digest, 101), Err(UploadError::TooLarge { limit: 100, .. })));
    incoming.begin(A, digest, 4).unwrap();
    assert!(matches!(incoming.begin(A, digest, 5), Err(UploadError::SizeChanged { announced: 4, .. })));
    let mut piece = incoming.append(A, digest, 0).unwrap();
    piece.write(b"abc").unwrap();
    assert!(matches!(piece.write(b"de"), Err(UploadError::TooMany { size: 4 })));
    assert_eq!(piece.finish().unwrap(), (3, false));
}

#[test]
fn a_full_disk_is_told_and_what_was_there_stays() {
    let (dir, incoming) = incoming();
    let digest = Digest::of(b"x");
    let home = dir.path().join("incoming/a7");
    fs::create_dir_all(&home).unwrap();
    // The kernel's own full device stands in for the file.
    std::os::unix::fs::symlink("/dev/full", home.join(format!("{digest}-4"))).unwrap();
    let mut piece = incoming.append(A, digest, 0).unwrap();
    let error = piece.write(b"abcd").unwrap_err();
    assert!(matches!(error, UploadError::Disk(DiskError::Full { .. })), "{error}");
    assert_eq!(incoming.status(A, digest).unwrap().offset, 0);
}

#[test]
fn of_two_requests_at_once_one_is_refused() {
    let (_dir, incoming) = incoming();
    let digest = Digest::of(b"x");
    incoming.begin(A, digest, 4).unwrap();
    let first = incoming.append(A, digest, 0).unwrap();
    assert!(matches!(incoming.append(A, digest, 0), Err(UploadError::Busy)));
    drop(first);
    incoming.append(A, digest, 0).unwrap();
}

#[test]
fn unannounced_and_dropped_uploads_are_unknown() {
    let (_dir, incoming) = incoming();
    let digest = Digest::of(b"x");
    assert!(matches!(incoming.append(A, digest, 0), Err(UploadError::Unknown)));
    incoming.begin(A, digest, 4).unwrap();
    assert!(matches!(incoming.status(AttemptId(8), digest), Err(UploadError::Unknown)));
    assert!(incoming.remove(A, digest).unwrap());
    assert!(!incoming.remove(A, digest).unwrap());
    assert!(matches!(incoming.status(A, digest), Err(UploadError::Unknown)));
    incoming.remove_attempt(A).unwrap();
    incoming.remove_attempt(A).unwrap();
}

#[test]
fn leftovers_are_listed_and_expire() {
    let (dir, incoming) = incoming();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    incoming.begin(A, one, 4).unwrap();
    incoming.begin(AttemptId(9), two, 4).unwrap();
    fs::write(dir.path().join("incoming/stray"), b"").unwrap();
    assert_eq!(incoming.list().unwrap().len(), 2);
    let now = SystemTime::now();
    assert_eq!(incoming.expire(now - Duration::from_secs(60)).unwrap(), []);
    let gone = incoming.expire(now + Duration::from_secs(60)).unwrap();
    assert_eq!(gone.len(), 2);
    assert_eq!(incoming.list().unwrap(), []);
    assert!(!dir.path().join("incoming/a7").exists());
}

#[test]
fn a_note_about_a_taken_file_is_no_upload_and_goes_with_the_attempt() {
    let (_dir, incoming) = incoming();
    let digest = Digest::of(b"x");
    incoming.begin(A, digest, 1).unwrap();
    fs::remove_file(incoming.status(A, digest).unwrap().path).unwrap();
    incoming.note_taken(A, digest, 1, "what it became").unwrap();
    assert!(matches!(incoming.status(A, digest), Err(UploadError::Unknown)));
    let notes = incoming.list().unwrap();
    assert_eq!((notes.len(), notes[0].taken, notes[0].digest), (1, true, digest));
    assert_eq!(fs::read_to_string(&notes[0].path).unwrap(), "what it became");
    assert_eq!(incoming.begin(A, digest, 1).unwrap(), 0, "it may be sent again");
    incoming.remove_attempt(A).unwrap();
    assert_eq!(incoming.list().unwrap(), []);
}
