//! What every journal must do, as one suite that each implementation runs.

use super::{Journal, JournalError, genesis};
use swarm_common::{digest::Digest, id::DroneId, time::TimeMs};
use swarm_core::{Event, Record};

/// `count` records from number `first` on.
pub(crate) fn records(first: u64, count: u64) -> Vec<Record> {
    let event = |seq| match seq % 2 {
        0 => Event::DroneApproved { drone: DroneId(seq) },
        _ => Event::EnrolTokenIssued {
            token_hash: Digest::of(&seq.to_be_bytes()),
            expires_at: TimeMs(seq),
            approved: false,
        },
    };
    (first..first + count).map(|seq| Record { seq, at: TimeMs(1000 + seq), event: event(seq) }).collect()
}

/// Runs the suite on an empty journal; `reopen` opens the same one as a restart does.
pub(crate) fn check(mut journal: Box<dyn Journal>, reopen: impl Fn() -> Box<dyn Journal>) {
    let empty = journal.load().unwrap();
    assert!(empty.snapshot.is_none() && empty.records.is_empty());
    assert_eq!(journal.reader().unwrap().verify().unwrap().head, genesis());

    journal.append(0, &records(1, 3)).unwrap();
    journal.append(3, &records(4, 2)).unwrap();
    let refused = journal.append(3, &records(4, 2)).unwrap_err();
    assert!(matches!(refused, JournalError::Moved { expected: 3, found: 5 }), "{refused}");

    let mut reader = journal.reader().unwrap();
    assert_eq!(reader.records(0, 100).unwrap(), records(1, 5));
    assert_eq!(reader.records(2, 2).unwrap(), records(3, 2));
    assert_eq!(reader.records(5, 2).unwrap(), []);
    let before = reader.verify().unwrap();
    assert_eq!(before.events, 5);

    drop((reader, journal));
    let mut journal = reopen();
    assert_eq!(journal.load().unwrap().records, records(1, 5));
    journal.snapshot(5, "{\"state\":5}").unwrap();
    journal.append(5, &records(6, 1)).unwrap();
    assert_ne!(journal.reader().unwrap().verify().unwrap().head, before.head);

    drop(journal);
    let mut journal = reopen();
    let loaded = journal.load().unwrap();
    assert_eq!(loaded.snapshot.as_deref(), Some("{\"state\":5}"));
    assert_eq!(loaded.records, records(6, 1));
    journal.append(6, &records(7, 1)).unwrap();
    for seq in [6, 7] {
        journal.snapshot(seq, "{}").unwrap();
    }
    assert_eq!(journal.reader().unwrap().verify().unwrap().events, 7);
}
