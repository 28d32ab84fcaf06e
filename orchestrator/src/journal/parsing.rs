//! Events out of their JSON, aside: while one thread reads rows, checks them and applies what
//! came out, another parses what comes next. A start takes little more than half the time so.

use super::JournalError;
use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::Scope,
};
use swarm_common::time::TimeMs;
use swarm_core::Record;

/// Rows that are handed over at once. Fewer in all are parsed where they were read.
const PIECE: usize = 512;

/// Pieces that may be under way: what is in memory twice.
const AHEAD: usize = 4;

/// An event as it is kept.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at: TimeMs,
    pub(super) body: String,
}

type Parsed = Result<Vec<Record>, JournalError>;

/// Rows on their way to records, which come out in order.
pub(super) struct Parsing<'scope, 'env, U> {
    scope: &'scope Scope<'scope, 'env>,
    unreadable: U,
    piece: Vec<Row>,
    aside: Option<(SyncSender<Vec<Row>>, Receiver<Parsed>)>,
    under_way: usize,
}

impl<'scope, 'env, U> Parsing<'scope, 'env, U>
where
    U: Fn(u64, &serde_json::Error) -> JournalError + Copy + Send + 'scope,
{
    /// Threads are started in `scope` if there is enough for one; `unreadable` is the error of
    /// an event that is none.
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, unreadable: U) -> Self {
        Self { scope, unreadable, piece: Vec::new(), aside: None, under_way: 0 }
    }

    /// Takes the next row, and gives on what is ready.
    pub(super) fn give(&mut self, row: Row, take: &mut impl FnMut(Record)) -> Result<(), JournalError> {
        self.piece.push(row);
        if self.piece.len() < PIECE {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        let (scope, unreadable) = (self.scope, self.unreadable);
        let (rows, _) = self.aside.get_or_insert_with(|| {
            let (rows, waiting) = sync_channel::<Vec<Row>>(AHEAD);
            let (done, parsed) = sync_channel(AHEAD);
            scope.spawn(move || {
                // Whoever does not want the rest is told what was wrong elsewhere.
                while let Ok(piece) = waiting.recv()
                    && done.send(parse(piece, unreadable)).is_ok()
                {}
            });
            (rows, parsed)
        });
        // It ends only when we drop our end.
        let _ = rows.send(piece);
        self.under_way += 1;
        while self.under_way >= AHEAD {
            self.next(take)?;
        }
        Ok(())
    }

    /// Gives on all that is left.
    pub(super) fn finish(mut self, take: &mut impl FnMut(Record)) -> Result<(), JournalError> {
        while self.under_way > 0 {
            self.next(take)?;
        }
        parse(self.piece, self.unreadable)?.into_iter().for_each(take);
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

fn parse(rows: Vec<Row>, unreadable: impl Fn(u64, &serde_json::Error) -> JournalError) -> Parsed {
    let one = |Row { seq, at, body }: Row| {
        let event = serde_json::from_str(&body).map_err(|error| unreadable(seq, &error))?;
        Ok(Record { seq, at, event })
    };
    rows.into_iter().map(one).collect()
}
