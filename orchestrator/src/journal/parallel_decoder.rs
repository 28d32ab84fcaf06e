//! Parses events from JSON in a second thread, while the first one reads rows, verifies them and applies the
//! results. This nearly halves the startup time.

use super::JournalError;
use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::Scope,
};
use swarm_common::time::TimeMs;
use swarm_core::Record;

/// Rows passed to the thread at a time. Fewer rows are parsed without a thread.
const PIECE: usize = 512;

/// Maximum batches in flight, which bounds memory use.
const AHEAD: usize = 4;

pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at: TimeMs,
    pub(super) body: String,
}

type Parsed = Result<Vec<Record>, JournalError>;

/// Rows being parsed into records, in order.
pub(super) struct ParallelDecoder<'scope, 'env, U> {
    scope: &'scope Scope<'scope, 'env>,
    unknown: U,
    piece: Vec<Row>,
    aside: Option<(SyncSender<Vec<Row>>, Receiver<Parsed>)>,
    under_way: usize,
}

impl<'scope, 'env, U> ParallelDecoder<'scope, 'env, U>
where
    U: Fn(u64, &serde_json::Error) -> JournalError + Copy + Send + 'scope,
{
    /// Starts threads in `scope` if there are enough rows. `unknown` makes the error for an event that this
    /// version cannot parse.
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, unknown: U) -> Self {
        Self { scope, unknown, piece: Vec::new(), aside: None, under_way: 0 }
    }

    /// Adds the next row and passes finished records to `take`.
    pub(super) fn give(&mut self, row: Row, take: &mut impl FnMut(Record)) -> Result<(), JournalError> {
        self.piece.push(row);
        if self.piece.len() < PIECE {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        let (scope, unknown) = (self.scope, self.unknown);
        let (rows, _) = self.aside.get_or_insert_with(|| {
            let (rows, waiting) = sync_channel::<Vec<Row>>(AHEAD);
            let (done, parsed) = sync_channel(AHEAD);
            scope.spawn(move || {
                // Ends when the receiver was dropped after an error.
                while let Ok(piece) = waiting.recv()
                    && done.send(parse(piece, unknown)).is_ok()
                {}
            });
            (rows, parsed)
        });
        // The thread ends only after this sender is dropped.
        let _ = rows.send(piece);
        self.under_way += 1;
        while self.under_way >= AHEAD {
            self.next(take)?;
        }
        Ok(())
    }

    /// Passes all remaining records to `take`.
    pub(super) fn finish(mut self, take: &mut impl FnMut(Record)) -> Result<(), JournalError> {
        while self.under_way > 0 {
            self.next(take)?;
        }
        parse(self.piece, self.unknown)?.into_iter().for_each(take);
        Ok(())
    }

    fn next(&mut self, take: &mut impl FnMut(Record)) -> Result<(), JournalError> {
        self.under_way -= 1;
        if let Some((_, parsed)) = &self.aside
            && let Ok(records) = parsed.recv()
        {
            records?.into_iter().for_each(take);
        }
        Ok(())
    }
}

fn parse(rows: Vec<Row>, unknown: impl Fn(u64, &serde_json::Error) -> JournalError) -> Parsed {
    let one = |Row { seq, at, body }: Row| {
        let event = serde_json::from_str(&body).map_err(|error| unknown(seq, &error))?;
        Ok(Record { seq, at, event })
    };
    rows.into_iter().map(one).collect()
}
