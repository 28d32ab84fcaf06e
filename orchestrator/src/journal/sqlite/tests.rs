//! The embedded journal: its contract, and its errors for faulty files.

use super::*;
use crate::journal::contract::{self, append, load, records};
use swarm_common::time::TimeMs;
use tempfile::TempDir;

fn open(folder: &TempDir) -> Result<SqliteJournal, JournalError> {
    SqliteJournal::open(&folder.path().join("journal.sqlite"))
}

/// A directory with a cleanly closed journal of this many events.
fn journal_of(events: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    append(&mut journal, 0, &records(1, events)).unwrap();
    journal.close().unwrap();
    folder
}

/// The error for the journal at startup.
fn refusal(folder: &TempDir) -> String {
    let error = open(folder).and_then(|mut journal| load(&mut journal)).unwrap_err().to_string();
    assert!(!error.contains('\n'), "more than one line: {error}");
    error
}

fn tamper(folder: &TempDir, sql: &str) {
    let connection = Connection::open(folder.path().join("journal.sqlite")).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn it_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract::check(|| Box::new(open(&folder).unwrap()));
}

#[test]
fn a_changed_event_breaks_the_chain() {
    let folder = journal_of(3);
    tamper(&folder, "UPDATE events SET at = at + 1 WHERE seq = 2");
    let error = refusal(&folder);
    assert!(error.contains("event 2 does not match the hash chain"), "{error}");
    assert!(error.contains("restore a backup") && error.contains(".recover"), "{error}");
}

#[test]
fn a_missing_event_is_a_gap() {
    let folder = journal_of(3);
    tamper(&folder, "DELETE FROM events WHERE seq = 2");
    let error = refusal(&folder);
    assert!(error.contains("event 3 follows event 1"), "{error}");
}

#[test]
fn a_long_journal_comes_back_in_order_and_what_cannot_be_read_in_it_is_named() {
    let folder = journal_of(5000);
    assert_eq!(load(&mut open(&folder).unwrap()).unwrap().records, records(1, 5000));
    let head = open(&folder).unwrap().reader().unwrap().verify().unwrap().head;
    let body = "{\"event\":\"of a version to come\"}";
    let hash = hex::encode(chain(head, 5001, TimeMs(1), body.as_bytes()).0);
    tamper(&folder, &format!("INSERT INTO events VALUES (5001, 1, '{body}', x'{hash}')"));
    let error = refusal(&folder);
    assert!(error.contains("newer version: cannot read its event 5001 (unknown variant"), "{error}");
    tamper(&folder, "UPDATE events SET at = at + 1 WHERE seq = 3000");
    let error = refusal(&folder);
    assert!(error.contains("event 3000 does not match the hash chain"), "{error}");
}

#[test]
fn missing_last_events_are_noticed_by_their_checkpoint() {
    let folder = journal_of(3);
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    journal.checkpoint(3, "{}").unwrap();
    drop(journal);
    tamper(&folder, "DELETE FROM events WHERE seq = 3");
    // The state that a version without marks leaves.
    fs::remove_file(folder.path().join("journal.mark")).unwrap();
    let error = refusal(&folder);
    assert!(error.contains("a checkpoint of event 3, but not the event"), "{error}");
}

#[test]
fn a_changed_checkpoint_is_told_and_removed_and_its_events_are_replayed() {
    let no_text = "UPDATE snapshots SET state = CAST(x'ff' || CAST(state AS BLOB) AS TEXT)";
    for change in
        ["UPDATE snapshots SET state = '{\"state\":4}'", no_text, "UPDATE snapshots SET hash = x'00'"]
    {
        let folder = journal_of(3);
        let mut journal = open(&folder).unwrap();
        load(&mut journal).unwrap();
        journal.checkpoint(3, "{\"state\":3}").unwrap();
        assert_eq!(journal.reader().unwrap().faults().unwrap(), Vec::<String>::new());
        tamper(&folder, change);
        let faults = journal.reader().unwrap().faults().unwrap();
        assert!(matches!(&faults[..], [one] if one.contains("journal.sqlite: the checkpoint of event 3")));
        drop(journal);
        let mut journal = open(&folder).unwrap();
        let loaded = load(&mut journal).unwrap();
        assert_eq!((loaded.checkpoint, loaded.records), (None, records(1, 3)), "{change}");
        assert_eq!(journal.reader().unwrap().faults().unwrap(), Vec::<String>::new(), "{change}");
    }
}

// fault: 16
#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = journal_of(3);
    tamper(&folder, "PRAGMA user_version = 99");
    let before = fs::read(folder.path().join("journal.sqlite")).unwrap();
    let error = refusal(&folder);
    assert!(error.contains("format 99") && error.contains("use a newer version"), "{error}");
    assert_eq!(fs::read(folder.path().join("journal.sqlite")).unwrap(), before);
}

#[test]
fn a_foreign_or_emptied_file_is_refused_and_left_alone() {
    let foreign = "this is not a database, but it is long enough to be looked at by SQLite";
    for content in [foreign, ""] {
        let folder = journal_of(3);
        let path = folder.path().join("journal.sqlite");
        fs::write(&path, content).unwrap();
        assert!(refusal(&folder).contains("damaged"));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn nothing_is_begun_beside_the_log_of_a_journal_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    append(&mut journal, 0, &records(1, 3)).unwrap();
    fs::remove_file(folder.path().join("journal.sqlite")).unwrap();
    let error = refusal(&folder);
    assert!(error.contains("is missing, but its write-ahead log"), "{error}");
    assert!(!folder.path().join("journal.sqlite").exists());
}

#[test]
fn a_start_that_broke_off_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journal.sqlite.new"), "half").unwrap();
    assert_eq!(load(&mut open(&folder).unwrap()).unwrap().records, []);
    assert!(!folder.path().join("journal.sqlite.new").exists());
}

// fault: 16
#[test]
fn a_damaged_page_is_found_at_the_start() {
    let folder = journal_of(2000);
    let path = folder.path().join("journal.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert!(refusal(&folder).contains("damaged"));
}

#[test]
fn a_log_that_was_cut_off_gives_the_events_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    append(&mut journal, 0, &records(1, 50)).unwrap();
    append(&mut journal, 50, &records(51, 50)).unwrap();
    // The state after a crash: the writer has not closed the file.
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.sqlite", "journal.sqlite-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let log = File::options().write(true).open(copy.path().join("journal.sqlite-wal")).unwrap();
    log.set_len(log.metadata().unwrap().len() - 5).unwrap();
    let mut journal = open(&copy).unwrap();
    assert_eq!(load(&mut journal).unwrap().records, records(1, 50));
    append(&mut journal, 50, &records(51, 1)).unwrap();
    assert_eq!(journal.reader().unwrap().verify().unwrap().events, 51);
}

#[test]
fn a_file_that_another_program_has_locked_is_named_and_can_be_written_later() {
    let folder = journal_of(3);
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    let other = Connection::open(folder.path().join("journal.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = append(&mut journal, 3, &records(4, 1)).unwrap_err().to_string();
    assert!(error.contains("locked by another program"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    append(&mut journal, 3, &records(4, 1)).unwrap();
}

/// Damage to the journal of a killed process; `older` is the journal file before the last events.
type Damage = fn(&Path, older: &[u8]);

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn log(folder: &Path) -> PathBuf {
    folder.join("journal.sqlite-wal")
}

/// A copy of a running journal: 40 events in its file, 10 more in its WAL.
fn cut_off() -> (TempDir, Vec<u8>) {
    let folder = journal_of(40);
    let older = fs::read(folder.path().join("journal.sqlite")).unwrap();
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    for seq in 41..=50 {
        append(&mut journal, seq - 1, &records(seq, 1)).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.sqlite", "journal.sqlite-wal", "journal.mark"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    (copy, older)
}

// fault: 49
#[test]
fn a_journal_that_lost_acknowledged_events_is_refused_and_left_alone_whatever_they_were_lost_by() {
    let cases: [(&str, Damage, &str); 10] = [
        ("a flipped byte in the log's head", |f, _| change(&log(f), |b| b[20] ^= 1), "ends at event 40"),
        ("one in its first frame", |f, _| change(&log(f), |b| b[32 + 24 + 700] ^= 1), "ends at event 40"),
        ("one in the head of a frame", |f, _| change(&log(f), |b| b[32 + 9] ^= 0x80), "ends at event 40"),
        (
            "one in its last frame",
            |f, _| change(&log(f), |b| *b.last_mut().unwrap() ^= 1),
            "ends at event 49",
        ),
        (
            "a log without its last byte",
            |f, _| change(&log(f), |b| b.truncate(b.len() - 1)),
            "ends at event 49",
        ),
        ("half a log", |f, _| change(&log(f), |b| b.truncate(b.len() / 2)), "ends at event 4"),
        ("an empty log", |f, _| change(&log(f), Vec::clear), "ends at event 40"),
        ("a backup of the file alone", |f, _| fs::remove_file(log(f)).unwrap(), "ends at event 40"),
        (
            "another history of the same length",
            |f, older| {
                fs::remove_file(log(f)).unwrap();
                fs::write(f.join("journal.sqlite"), older).unwrap();
                let mark = fs::read_to_string(f.join("journal.mark")).unwrap();
                fs::remove_file(f.join("journal.mark")).unwrap();
                let mut other = SqliteJournal::open(&f.join("journal.sqlite")).unwrap();
                load(&mut other).unwrap();
                let events: Vec<_> =
                    records(51, 10).into_iter().zip(41..).map(|(r, seq)| Record { seq, ..r }).collect();
                append(&mut other, 40, &events).unwrap();
                other.close().unwrap();
                fs::write(f.join("journal.mark"), mark).unwrap();
            },
            "event 50 is not the acknowledged one",
        ),
        (
            "a file and a log that are gone",
            |f, _| {
                ["journal.sqlite", "journal.sqlite-wal"]
                    .iter()
                    .for_each(|n| fs::remove_file(f.join(n)).unwrap())
            },
            "is empty or missing",
        ),
    ];
    for (what, damage, words) in cases {
        let (folder, older) = cut_off();
        damage(folder.path(), &older);
        let files = || {
            ["journal.sqlite", "journal.sqlite-wal", "journal.mark"]
                .map(|n| fs::read(folder.path().join(n)).unwrap_or_default())
        };
        let before = files();
        let error = refusal(&folder);
        assert!(error.contains("lost acknowledged events") && error.contains(words), "{what}: {error}");
        assert!(error.contains("journal.sqlite") && error.contains("--accept-new"), "{what}: {error}");
        assert!(files() == before, "{what}: something was changed");
        Mark::discard(&folder.path().join("journal.mark")).unwrap();
        let mut journal = open(&folder).unwrap();
        let left = load(&mut journal).unwrap().records.len() as u64;
        append(&mut journal, left, &records(left + 1, 1)).unwrap();
    }
}

// fault: 49
#[test]
fn a_mark_with_any_changed_byte_is_named_and_the_journal_is_not_blamed() {
    let (folder, _) = cut_off();
    drop(open(&folder).map(|mut journal| append(&mut journal, 0, &[])));
    let path = folder.path().join("journal.mark");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        match open(&folder) {
            // A line break is no part of a mark.
            Ok(_) => assert_eq!(at, whole.len() - 1),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains("journal.mark") && error.contains("--accept-new"),
                    "byte {at}: {error}"
                );
                assert!(!error.contains("lost acknowledged"), "byte {at}: {error}");
            }
        }
    }
    Mark::discard(&path).unwrap();
    assert_eq!(load(&mut open(&folder).unwrap()).unwrap().records, records(1, 50));
}

// fault: 49
#[test]
fn a_journal_that_has_what_its_mark_knows_is_taken_as_it_is() {
    let whole: [(&str, Damage); 4] = [
        ("a kill", |_, _| {}),
        ("a power cut that took the last marks", |f, older| {
            let copy = tempfile::tempdir().unwrap();
            fs::write(copy.path().join("journal.sqlite"), older).unwrap();
            let mut journal = SqliteJournal::open(&copy.path().join("journal.sqlite")).unwrap();
            load(&mut journal).unwrap();
            append(&mut journal, 40, &records(41, 1)).unwrap();
            fs::copy(copy.path().join("journal.mark"), f.join("journal.mark")).unwrap();
        }),
        ("one of a version without a mark", |f, _| fs::remove_file(f.join("journal.mark")).unwrap()),
        ("a mark that was begun and not finished", |f, _| fs::write(f.join("journal.mark.new"), "").unwrap()),
    ];
    for (what, damage) in whole {
        let (folder, older) = cut_off();
        damage(folder.path(), &older);
        let mut journal = open(&folder).unwrap();
        assert_eq!(load(&mut journal).unwrap().records, records(1, 50), "{what}");
        append(&mut journal, 50, &records(51, 1)).unwrap();
        drop(journal);
        let mark = fs::read_to_string(folder.path().join("journal.mark")).unwrap();
        assert!(mark.starts_with("00000000000000000051 "), "{what}: {mark}");
    }
}

#[test]
fn after_a_stop_in_order_the_file_alone_is_the_whole_journal() {
    let folder = journal_of(50);
    assert_eq!(fs::metadata(folder.path().join("journal.sqlite-wal")).unwrap().len(), 0);
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.sqlite", "journal.mark"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(load(&mut open(&copy).unwrap()).unwrap().records, records(1, 50));
}

// fault: 49
#[test]
fn what_a_start_has_read_is_not_marked_before_it_is_certain_to_be_on_the_disk() {
    let (folder, _) = cut_off();
    let mark = || fs::read_to_string(folder.path().join("journal.mark")).unwrap();
    fs::remove_file(folder.path().join("journal.mark")).unwrap();
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    assert!(!folder.path().join("journal.mark").exists());
    append(&mut journal, 50, &records(51, 1)).unwrap();
    assert!(mark().starts_with("00000000000000000051 "), "{}", mark());
}
