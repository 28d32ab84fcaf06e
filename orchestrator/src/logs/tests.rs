//! Build logs: how they grow, are compressed and expire.

use super::*;
use std::time::{Duration, SystemTime};

const A: AttemptId = AttemptId(3);
const B: AttemptId = AttemptId(4);
const ROOMY: Bounds = Bounds { age: Duration::from_secs(90 * 24 * 3600), total: 1 << 30 };

fn logs() -> (tempfile::TempDir, Logs) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path().join("logs")).unwrap();
    (dir, logs)
}

fn all(logs: &Logs, attempt: AttemptId) -> Option<Vec<u8>> {
    let mut reader = logs.reader(attempt).unwrap()?;
    let mut bytes = Vec::new();
    loop {
        let piece = reader.read(1000).unwrap();
        if piece.is_empty() {
            return Some(bytes);
        }
        bytes.extend(piece);
    }
}

fn later(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

#[test]
fn a_piece_that_comes_twice_is_stored_once() {
    let (_dir, logs) = logs();
    logs.append(A, 0, b"one\n", 100).unwrap();
    assert!(matches!(logs.append(A, 0, b"one\n", 100), Err(LogError::WrongOffset { offset: 4 })));
    let mut reader = logs.reader(A).unwrap().unwrap();
    assert_eq!(reader.read(100).unwrap(), b"one\n");
    logs.append(A, 4, b"two\n", 100).unwrap();
    assert_eq!(reader.read(2).unwrap(), b"tw", "a reader goes on where it stood");
    assert!(logs.reader(B).unwrap().is_none());
}

#[test]
fn a_log_has_a_bound_and_goes_with_its_attempt() {
    let (_dir, logs) = logs();
    logs.append(A, 0, b"12345678", 10).unwrap();
    assert!(matches!(logs.append(A, 8, b"123", 10), Err(LogError::TooLarge { limit: 10 })));
    assert_eq!(logs.tidy(later(0), ROOMY, |_| LogState::Open).unwrap(), 0);
    assert_eq!(logs.tidy(later(0), ROOMY, |_| LogState::Forgotten).unwrap(), 1);
    assert!(all(&logs, A).is_none());
}

#[test]
fn the_log_of_an_ended_attempt_is_compressed_and_reads_and_grows_as_before() {
    let (dir, logs) = logs();
    let text = "cc -O2 -c tally.c\n".repeat(10_000);
    logs.append(A, 0, text.as_bytes(), 1 << 20).unwrap();
    let mut early = logs.reader(A).unwrap().unwrap();
    let form = |name: &str| fs::metadata(dir.path().join("logs").join(name)).map(|m| m.len()).ok();

    logs.tidy(later(3600), ROOMY, |_| LogState::Open).unwrap();
    assert!(
        form("3.log").is_some() || form(&format!("{A}.log")).is_some(),
        "while it may go on it stays plain"
    );
    logs.tidy(later(3600), ROOMY, |_| LogState::Ended).unwrap();
    assert!(form(&format!("{A}.log")).is_none());
    assert!(form(&format!("{A}.log.zst")).unwrap() < text.len() as u64 / 10);
    assert_eq!(all(&logs, A).unwrap(), text.as_bytes());
    assert_eq!(early.read(4).unwrap(), b"cc -", "who had begun to read goes on");

    let end = text.len() as u64;
    assert!(
        matches!(logs.append(A, 3, b"x", 1 << 20), Err(LogError::WrongOffset { offset }) if offset == end)
    );
    logs.append(A, end, b"last line\n", 1 << 20).unwrap();
    assert!(all(&logs, A).unwrap().ends_with(b"tally.c\nlast line\n"));
    assert!(form(&format!("{A}.log.zst")).is_none());
}

#[test]
fn logs_go_by_age_and_the_oldest_first_by_size_but_never_of_what_goes_on() {
    let (_dir, logs) = logs();
    for attempt in [A, B] {
        logs.append(attempt, 0, &[b'x'; 1000], 1 << 20).unwrap();
    }
    let a_day = Duration::from_secs(24 * 3600);
    let short = Bounds { age: a_day, ..ROOMY };
    assert_eq!(logs.tidy(later(60), short, |_| LogState::Ended).unwrap(), 0);
    assert_eq!(
        logs.tidy(later(2 * 24 * 3600), short, |a| if a == A { LogState::Open } else { LogState::Ended })
            .unwrap(),
        1
    );
    assert!(all(&logs, A).is_some() && all(&logs, B).is_none());

    let c = AttemptId(5);
    logs.append(c, 0, &[b'y'; 1000], 1 << 20).unwrap();
    let path = logs.path(A);
    fs::File::options().append(true).open(path).unwrap().set_modified(SystemTime::now() - a_day).unwrap();
    let small = Bounds { total: 1010, ..ROOMY };
    assert_eq!(logs.tidy(later(0), small, |_| LogState::Ended).unwrap(), 1);
    assert!(all(&logs, A).is_none() && all(&logs, c).is_some(), "the older one went");
}
