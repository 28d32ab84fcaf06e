//! A package is looked at while it arrives: what is written to the disk is at the same time
//! handed to the check, so that a whole file has been hashed and taken apart the moment its
//! last byte is there, and never has to be read again.
//!
//! Only a file that comes in one piece can be looked at so. One that was interrupted is read
//! from the disk when it is whole; both ways end in the same [`Gpkg`].

use super::intake::{self, IntakeError};
use bytes::Bytes;
use std::{
    io::{self, Read},
    iter::Flatten,
    sync::mpsc::{self, SyncSender},
};
use swarm_common::{
    format::gpkg::{Gpkg, Limits},
    time::TimeMs,
};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

/// Batches of pieces that may wait for the check.
const WAITING: usize = 2;

/// A check that runs beside an upload.
pub struct Alongside {
    batches: SyncSender<Vec<Bytes>>,
    examined: JoinHandle<Result<Gpkg, IntakeError>>,
}

impl Alongside {
    /// Begins one, which keeps `permit` until it has ended.
    #[must_use]
    pub fn start(limits: Limits, build_time: TimeMs, permit: OwnedSemaphorePermit) -> Self {
        let (batches, waiting) = mpsc::sync_channel(WAITING);
        let examined = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let pieces = Pieces { waiting: waiting.into_iter().flatten(), current: Bytes::new() };
            intake::examine(pieces, &limits, build_time)
        });
        Self { batches, examined }
    }

    /// Where the pieces go, in order. A check that has seen enough takes no more of them.
    #[must_use]
    pub fn batches(&self) -> SyncSender<Vec<Bytes>> {
        self.batches.clone()
    }

    /// What came of it, once every sender of pieces is gone. `None` if it broke off; then
    /// nothing is known.
    pub async fn finish(self) -> Option<Result<Gpkg, IntakeError>> {
        drop(self.batches);
        self.examined.await.ok()
    }
}

/// Reads what arrives.
struct Pieces {
    waiting: Flatten<mpsc::IntoIter<Vec<Bytes>>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.waiting.next() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.current.len());
        buffer[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
