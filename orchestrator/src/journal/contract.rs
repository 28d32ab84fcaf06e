//! The contract of all journals: a test suite that every implementation runs.

use super::{Journal, JournalError, Lead, QueueDelta, Replay, genesis};
use swarm_common::{digest::Digest, id::DroneId, time::TimeMs};
use swarm_core::{Event, Record};

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Replayed {
    /// Checkpoints to reject as unreadable.
    pub(crate) unreadable: Vec<String>,
    pub(crate) checkpoint: Option<String>,
    pub(crate) records: Vec<Record>,
}

impl Replay for Replayed {
    fn checkpoint(&mut self, state: &str) -> bool {
        let readable = !self.unreadable.iter().any(|s| s == state);
        if readable {
            self.checkpoint = Some(state.to_owned());
        }
        readable
    }
    fn record(&mut self, record: Record) {
        self.records.push(record);
    }
}

pub(crate) fn load(journal: &mut dyn Journal) -> Result<Replayed, JournalError> {
    let mut replayed = Replayed::default();
    journal.load(&mut replayed)?;
    Ok(replayed)
}

/// Appends records that do not change any package's state.
pub(crate) fn append(journal: &mut dyn Journal, after: u64, records: &[Record]) -> Result<(), JournalError> {
    journal.append(after, records, &QueueDelta::default())
}

/// Starts like an orchestrator: loads the journal and takes the lead.
fn begin(journal: &mut dyn Journal) -> Replayed {
    let replayed = load(journal).unwrap();
    assert_eq!(journal.lead().unwrap(), Lead::Ours);
    replayed
}

/// `count` records, starting with number `first`.
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

/// Runs the suite. `open` opens the same journal again, like a restart. The journal is empty at first, and
/// its previous user may not have closed it.
pub(crate) fn check(open: impl Fn() -> Box<dyn Journal>) {
    records_come_back_in_order(&open);
    a_load_begins_at_the_newest_checkpoint_that_can_be_read(&open);
    of_two_writers_one_is_refused(&open);
}

fn records_come_back_in_order(open: &impl Fn() -> Box<dyn Journal>) {
    let mut journal = open();
    assert_eq!(begin(journal.as_mut()), Replayed::default());
    assert_eq!(journal.reader().unwrap().verify().unwrap().head, genesis());
    append(journal.as_mut(), 0, &records(1, 3)).unwrap();
    append(journal.as_mut(), 3, &records(4, 2)).unwrap();

    let mut reader = journal.reader().unwrap();
    assert_eq!(reader.records(0, 100).unwrap(), records(1, 5));
    assert_eq!(reader.records(2, 2).unwrap(), records(3, 2));
    assert_eq!(reader.records(5, 2).unwrap(), []);
    let before = reader.verify().unwrap();
    assert_eq!(before.events, 5);
    drop((reader, journal));

    let mut journal = open();
    assert_eq!(begin(journal.as_mut()).records, records(1, 5));
    append(journal.as_mut(), 5, &records(6, 1)).unwrap();
    let after = journal.reader().unwrap().verify().unwrap();
    assert_eq!(after.events, 6);
    assert_ne!(after.head, before.head);
}

fn a_load_begins_at_the_newest_checkpoint_that_can_be_read(open: &impl Fn() -> Box<dyn Journal>) {
    let mut journal = open();
    load(journal.as_mut()).unwrap();
    assert!(journal.checkpoint(7, "{}").is_err(), "a checkpoint of an event that is not there");
    for seq in [2, 4, 6] {
        journal.checkpoint(seq, &format!("{{\"state\":{seq}}}")).unwrap();
    }
    drop(journal);
    let newest = load(open().as_mut()).unwrap();
    assert_eq!((newest.checkpoint.as_deref(), newest.records), (Some("{\"state\":6}"), vec![]));

    let mut older = Replayed { unreadable: vec!["{\"state\":6}".into()], ..Replayed::default() };
    open().load(&mut older).unwrap();
    assert_eq!((older.checkpoint.as_deref(), older.records), (Some("{\"state\":4}"), records(5, 2)));

    let unreadable = [2, 4, 6].map(|seq| format!("{{\"state\":{seq}}}")).to_vec();
    let mut none = Replayed { unreadable, ..Replayed::default() };
    open().load(&mut none).unwrap();
    assert_eq!((none.checkpoint, none.records), (None, records(1, 6)));
}

fn of_two_writers_one_is_refused(open: &impl Fn() -> Box<dyn Journal>) {
    let mut one = open();
    begin(one.as_mut());
    let mut other = open();
    begin(other.as_mut());
    append(other.as_mut(), 6, &records(7, 1)).unwrap();
    let refused = append(other.as_mut(), 6, &records(7, 1)).unwrap_err();
    assert!(matches!(refused, JournalError::Moved { expected: 6, found: 7 }), "{refused}");
    let refused = append(one.as_mut(), 6, &records(8, 1)).unwrap_err();
    let is_refusal = matches!(
        refused,
        JournalError::Moved { expected: 6, found: 7 }
            | JournalError::Deposed { .. }
            | JournalError::Away { .. }
    );
    assert!(is_refusal, "{refused}");
    append(other.as_mut(), 7, &records(8, 1)).unwrap();
    assert_eq!(other.reader().unwrap().verify().unwrap().events, 8);
}
