//! Starts disk writes while a large file is still arriving, so that the final sync, which the uploader waits
//! for, has little left to write.

use std::{
    fs::File,
    io,
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
};

/// Bytes after which a background sync is requested.
const EVERY: u64 = 16 << 20;

/// The background sync of one file.
#[derive(Debug, Default)]
pub(super) struct Writeback {
    waiting: u64,
    worker: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl Writeback {
    /// Records that `bytes` more bytes were written to `file`.
    ///
    /// # Errors
    /// No thread can be started; the written bytes are not affected.
    pub(super) fn written(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        self.waiting += bytes;
        if self.waiting < EVERY {
            return Ok(());
        }
        self.waiting = 0;
        if self.worker.is_none() {
            self.worker = Some(start(file.try_clone()?)?);
        }
        if let Some((ask, _)) = &self.worker {
            // If the previous sync is still running, no other is needed. If it failed, [`Self::finish`]
            // reports it.
            let _ = ask.try_send(());
        }
        Ok(())
    }

    /// Waits until the background sync has ended.
    ///
    /// # Errors
    /// The disk's error, which it reports only once.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some((ask, thread)) = self.worker.take() else { return Ok(()) };
        drop(ask);
        thread.join().map_err(|_| io::Error::other("the background writer panicked"))?
    }
}

/// The file stays open, and therefore locked, until the thread has ended.
impl Drop for Writeback {
    fn drop(&mut self) {
        // A caller that drops this without the result has a more important error to report.
        let _ = self.finish();
    }
}

fn start(file: File) -> io::Result<(SyncSender<()>, JoinHandle<io::Result<()>>)> {
    let (ask, asked) = mpsc::sync_channel(1);
    let named = thread::Builder::new().name("writeback".to_owned());
    let thread = named.spawn(move || asked.iter().try_for_each(|()| file.sync_data()))?;
    Ok((ask, thread))
}
