//! The embedded journal: its contract, and what it says of a file that is not in order.

use super::*;
use crate::journal::contract::{self, append, load, records};
use tempfile::TempDir;

fn open(folder: &TempDir) -> Result<SqliteJournal, JournalError> {
    SqliteJournal::open(&folder.path().join("journal.sqlite"))
}

/// A folder with a journal of so many events that was closed in order.
fn journal_of(events: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    append(&mut journal, 0, &records(1, events)).unwrap();
    folder
}

/// Why it cannot be started from.
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
    assert!(error.contains("event 2 does not fit the hash chain"), "{error}");
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
    assert!(error.contains("event 5001 cannot be read: unknown variant"), "{error}");
    tamper(&folder, "UPDATE events SET at = at + 1 WHERE seq = 3000");
    let error = refusal(&folder);
    assert!(error.contains("event 3000 does not fit the hash chain"), "{error}");
}

#[test]
fn missing_last_events_are_noticed_by_their_snapshot() {
    let folder = journal_of(3);
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    journal.snapshot(3, "{}").unwrap();
    drop(journal);
    tamper(&folder, "DELETE FROM events WHERE seq = 3");
    let error = refusal(&folder);
    assert!(error.contains("a snapshot of event 3 without the event"), "{error}");
}

#[test]
fn a_changed_snapshot_is_passed_over_and_its_events_are_replayed() {
    let folder = journal_of(3);
    let mut journal = open(&folder).unwrap();
    load(&mut journal).unwrap();
    journal.snapshot(3, "{\"state\":3}").unwrap();
    drop(journal);
    tamper(&folder, "UPDATE snapshots SET state = '{\"state\":4}'");
    let loaded = load(&mut open(&folder).unwrap()).unwrap();
    assert_eq!((loaded.snapshot, loaded.records), (None, records(1, 3)));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = journal_of(3);
    tamper(&folder, "PRAGMA user_version = 99");
    let before = fs::read(folder.path().join("journal.sqlite")).unwrap();
    let error = refusal(&folder);
    assert!(error.contains("format 99") && error.contains("start the newer version"), "{error}");
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
    assert!(error.contains("is gone, but its log"), "{error}");
    assert!(!folder.path().join("journal.sqlite").exists());
}

#[test]
fn a_start_that_broke_off_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journal.sqlite.new"), "half").unwrap();
    assert_eq!(load(&mut open(&folder).unwrap()).unwrap().records, []);
    assert!(!folder.path().join("journal.sqlite.new").exists());
}

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
    // As a crash leaves it: the writer has not closed the file.
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
    assert!(error.contains("another program has it locked"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    append(&mut journal, 3, &records(4, 1)).unwrap();
}
