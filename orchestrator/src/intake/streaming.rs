//! Examines a package while it arrives. What is written to disk is also passed to the examination, so the
//! result is available with the last byte, and the file is not read again.
//!
//! This works only for a file that arrives in one request. After an interruption, the complete file is read
//! from disk; both ways give the same result.

use bytes::Bytes;
use std::{
    io::{self, Read},
    iter::Flatten,
    sync::mpsc::{self, SyncSender},
};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

/// Batches of pieces that can be queued for the examination.
const WAITING: usize = 2;

/// An examination in parallel with an upload. `T` is its result.
pub struct StreamingExamination<T> {
    batches: SyncSender<Vec<Bytes>>,
    examined: JoinHandle<T>,
}

impl<T: Send + 'static> StreamingExamination<T> {
    /// Starts an examination. It holds `permit` until it ends.
    #[must_use]
    pub fn start(
        permit: OwnedSemaphorePermit,
        examine: impl FnOnce(&mut dyn Read) -> T + Send + 'static,
    ) -> Self {
        let (batches, waiting) = mpsc::sync_channel(WAITING);
        let examined = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut pieces = Pieces { waiting: waiting.into_iter().flatten(), current: Bytes::new() };
            examine(&mut pieces)
        });
        Self { batches, examined }
    }

    /// Channel for the pieces, in order. The examination stops receiving once it has a verdict.
    #[must_use]
    pub fn batches(&self) -> SyncSender<Vec<Bytes>> {
        self.batches.clone()
    }

    /// The result, once all senders are dropped. `None` if the examination panicked; then nothing is known
    /// about the package.
    pub async fn finish(self) -> Option<T> {
        drop(self.batches);
        self.examined.await.ok()
    }
}

/// Reads the pieces as they arrive.
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
