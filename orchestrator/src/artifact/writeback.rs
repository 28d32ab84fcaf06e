//! The disk writes a large file while it still comes, so that the sync at its end, which an
//! uploader waits for, has little left to do.

use std::{
    fs::File,
    io,
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
};

/// Bytes after which the disk is asked to write what it has.
const EVERY: u64 = 16 << 20;

/// Looks after one file that is being written.
#[derive(Debug, Default)]
pub(super) struct Writeback {
    waiting: u64,
    worker: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl Writeback {
    /// So many more bytes were written to `file`.
    ///
    /// # Errors
    /// If no thread can be had; the bytes are where they were.
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
            // A disk that still writes what it was asked for last needs no other request, and
            // one that failed says so at the end.
            let _ = ask.try_send(());
        }
        Ok(())
    }

    /// Waits until nothing is written in the background any more.
    ///
    /// # Errors
    /// What the disk said, which it says only once.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some((ask, thread)) = self.worker.take() else { return Ok(()) };
        drop(ask);
        thread.join().map_err(|_| io::Error::other("writing in the background broke off"))?
    }
}

/// The file stays open, and with it locked, until the thread has ended.
impl Drop for Writeback {
    fn drop(&mut self) {
        // Whoever asks for no result has one that counts more.
        let _ = self.finish();
    }
}

fn start(file: File) -> io::Result<(SyncSender<()>, JoinHandle<io::Result<()>>)> {
    let (ask, asked) = mpsc::sync_channel(1);
    let named = thread::Builder::new().name("writeback".to_owned());
    let thread = named.spawn(move || asked.iter().try_for_each(|()| file.sync_data()))?;
    Ok((ask, thread))
}
