//! Uploads in pieces, at wrong offsets, concurrent, too large, and onto a full disk.

use super::*;
use std::time::Duration;

const A: AttemptId = AttemptId(7);
const MUCH: Allowance = Allowance { files: 10, bytes: 1000 };

fn incoming() -> (tempfile::TempDir, Incoming) {
    let dir = tempfile::tempdir().unwrap();
    let incoming = Incoming::open(dir.path().join("incoming"), 100).unwrap();
    (dir, incoming)
}

#[test]
fn a_file_arrives_in_pieces_and_over_a_restart() {
    let (dir, incoming) = incoming();
    let digest = Digest::of(b"hello world");
    assert_eq!(incoming.begin(A, digest, 11, MUCH).unwrap(), 0);
    let mut piece = incoming.append(A, digest, 0).unwrap();
    piece.write(b"hel").unwrap();
    piece.write(b"lo").unwrap();
    // Simulates a broken connection: `finish` is never called.
    drop(piece);
    let incoming = Incoming::open(dir.path().join("incoming"), 100).unwrap();
    assert_eq!(incoming.begin(A, digest, 11, MUCH).unwrap(), 5);
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
    incoming.begin(A, digest, 10, MUCH).unwrap();
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
    assert!(matches!(incoming.begin(A, digest, 101, MUCH), Err(UploadError::TooLarge { limit: 100, .. })));
    incoming.begin(A, digest, 4, MUCH).unwrap();
    assert!(matches!(incoming.begin(A, digest, 5, MUCH), Err(UploadError::SizeChanged { announced: 4, .. })));
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
    // `/dev/full` stands in for a file on a full disk.
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
    incoming.begin(A, digest, 4, MUCH).unwrap();
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
    incoming.begin(A, digest, 4, MUCH).unwrap();
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
    incoming.begin(A, one, 4, MUCH).unwrap();
    incoming.begin(AttemptId(9), two, 4, MUCH).unwrap();
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
    incoming.begin(A, digest, 1, MUCH).unwrap();
    fs::remove_file(incoming.status(A, digest).unwrap().path).unwrap();
    incoming.note_accepted(A, digest, 1, "what it became").unwrap();
    assert!(matches!(incoming.status(A, digest), Err(UploadError::Unknown)));
    let notes = incoming.list().unwrap();
    assert_eq!((notes.len(), notes[0].is_note, notes[0].digest), (1, true, digest));
    assert_eq!(fs::read_to_string(&notes[0].path).unwrap(), "what it became");
    assert_eq!(incoming.begin(A, digest, 1, MUCH).unwrap(), 0, "it may be sent again");
    incoming.remove_attempt(A).unwrap();
    assert_eq!(incoming.list().unwrap(), []);
}

#[test]
fn what_an_attempt_announces_is_bounded_in_number_and_sum() {
    let (_dir, incoming) = incoming();
    let digest = |n: usize| Digest::of(&n.to_le_bytes());
    let few = Allowance { files: 3, bytes: 25 };
    assert_eq!(incoming.begin(A, digest(0), 10, few).unwrap(), 0);
    assert_eq!(incoming.begin(A, digest(1), 10, few).unwrap(), 0);
    let error = incoming.begin(A, digest(2), 6, few).unwrap_err();
    assert!(matches!(error, UploadError::TooLargeTogether { sum: 26, limit: 25 }), "{error}");
    assert_eq!(incoming.begin(A, digest(2), 5, few).unwrap(), 0);
    let error = incoming.begin(A, digest(3), 0, few).unwrap_err();
    assert!(matches!(error, UploadError::TooManyFiles { limit: 3 }), "{error}");
    // An existing file is found again, a note counts as a file, and each attempt has its own limit.
    assert_eq!(incoming.begin(A, digest(0), 10, few).unwrap(), 0);
    incoming.remove(A, digest(0)).unwrap();
    incoming.note_accepted(A, digest(0), 10, "taken").unwrap();
    assert!(matches!(incoming.begin(A, digest(3), 0, few), Err(UploadError::TooManyFiles { .. })));
    assert_eq!(incoming.begin(AttemptId(8), digest(3), 25, few).unwrap(), 0);
}

#[test]
fn of_many_announced_at_once_no_more_than_may_be_are_taken() {
    let (_dir, incoming) = incoming();
    let few = Allowance { files: 4, bytes: 1000 };
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32_u8)
            .map(|n| {
                let incoming = incoming.clone();
                scope.spawn(move || incoming.begin(A, Digest::of(&[n]), 10, few).is_ok())
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|&taken| taken).count()
    });
    assert_eq!((taken, incoming.list().unwrap().len()), (4, 4));
}
