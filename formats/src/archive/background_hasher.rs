//! The digests of a whole file, computed in a separate thread while the file is read.
//!
//! Verifying a package computes five digests, which is most of its cost. For a large file, the three
//! whole-file digests move to a separate thread, which gets copies of the data (copying costs a thirtieth of
//! hashing). A small file is not worth a thread.

use super::digests::{FileDigests, FileHasher};
use sha2::{Digest as _, Sha256};
use std::{
    io, mem,
    sync::mpsc::{self, Receiver, Sender, SyncSender},
    thread::{self, JoinHandle},
};
use swarm_common::digest::Digest;

/// The minimum size in bytes of a file that gets a thread.
const LARGE: u64 = 1 << 20;
/// The size in bytes of the buffers passed between the threads, and their number.
const BUFFER: usize = 512 << 10;
const BUFFERS: usize = 4;

/// A message to the thread.
enum Job {
    Bytes(Vec<u8>),
    Mark,
    Hold,
    Replace(Vec<u8>),
}

pub(crate) struct Hashed {
    /// SHA-256 of everything that was read.
    pub(crate) read: Digest,
    /// The digests of the file with its replacements applied.
    pub(crate) digests: FileDigests,
    /// The state of the digests at the last mark.
    pub(crate) marked: Option<FileHasher>,
}

#[derive(Clone, Default)]
struct State {
    file: FileHasher,
    marked: Option<FileHasher>,
    /// The hash of the data as read, once that differs from `file`.
    read: Option<Sha256>,
    held: bool,
}

impl State {
    fn update(&mut self, bytes: &[u8]) {
        if let Some(read) = &mut self.read {
            read.update(bytes);
        }
        if !self.held {
            self.file.update(bytes);
        }
    }

    fn mark(&mut self) {
        self.marked = Some(self.file.clone());
    }

    fn hold(&mut self) {
        self.read.get_or_insert_with(|| self.file.sha256());
        self.file = self.marked.clone().unwrap_or_default();
        self.held = true;
    }

    fn replace(&mut self, bytes: &[u8]) {
        self.held = false;
        self.file.update(bytes);
    }

    fn finish(self) -> Hashed {
        let digests = self.file.finish();
        let read = self.read.map_or(digests.sha256, |read| Digest(read.finalize().into()));
        Hashed { read, digests, marked: self.marked }
    }
}

struct Follower {
    filling: Vec<u8>,
    full: SyncSender<Job>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<State>,
}

impl Follower {
    fn start(state: State) -> io::Result<Self> {
        let (full, jobs) = mpsc::sync_channel(BUFFERS);
        let (emptied, empty) = mpsc::channel();
        for _ in 1..BUFFERS {
            // This cannot fail: this function owns the receiver.
            let _ = emptied.send(Vec::with_capacity(BUFFER));
        }
        let named = thread::Builder::new().name("digests".to_owned());
        let thread = named.spawn(move || follow(state, &jobs, &emptied))?;
        Ok(Self { filling: Vec::with_capacity(BUFFER), full, empty, thread })
    }

    /// Sends a job. A failure is ignored: the thread ends early only by panicking, which [`Follower::end`]
    /// reports.
    fn tell(&mut self, job: Job) {
        let _ = self.full.send(job);
    }

    fn pass_on(&mut self) {
        let next = self.empty.recv().unwrap_or_default();
        let filled = mem::replace(&mut self.filling, next);
        self.tell(Job::Bytes(filled));
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.filling.len()));
            self.filling.extend_from_slice(now);
            bytes = later;
            if self.filling.len() == BUFFER {
                self.pass_on();
            }
        }
    }

    /// Sends a job that applies at the current position.
    fn tell_here(&mut self, job: Job) {
        self.pass_on();
        self.tell(job);
    }

    fn end(mut self) -> io::Result<State> {
        self.pass_on();
        drop(self.full);
        self.thread.join().map_err(|_| io::Error::other("computing the digests broke off"))
    }
}

fn follow(mut state: State, jobs: &Receiver<Job>, emptied: &Sender<Vec<u8>>) -> State {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Bytes(mut bytes) => {
                state.update(&bytes);
                bytes.clear();
                // This fails at the end, when the buffers are no longer needed.
                let _ = emptied.send(bytes);
            }
            Job::Mark => state.mark(),
            Job::Hold => state.hold(),
            Job::Replace(bytes) => state.replace(&bytes),
        }
    }
    state
}

/// Hashes a whole file.
#[derive(Default)]
pub(crate) struct BackgroundHasher {
    /// The state without a thread. Once there is a thread, its initial state.
    here: State,
    follower: Option<Follower>,
    refused: bool,
}

impl BackgroundHasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(follower) = &mut self.follower {
            return follower.update(bytes);
        }
        self.here.update(bytes);
        if self.here.file.size() >= LARGE && !self.refused {
            // If no thread can be started, hashing continues here and is only slower.
            self.follower = Follower::start(self.here.clone()).ok();
            self.refused = self.follower.is_none();
        }
    }

    /// Saves the current state, replacing an earlier mark.
    pub(crate) fn mark(&mut self) {
        match &mut self.follower {
            Some(follower) => follower.tell_here(Job::Mark),
            None => self.here.mark(),
        }
    }

    /// Returns to the last mark and skips the data from here on, until [`Self::replace`].
    pub(crate) fn hold(&mut self) {
        match &mut self.follower {
            Some(follower) => follower.tell_here(Job::Hold),
            None => self.here.hold(),
        }
    }

    /// Hashes `bytes` in place of the skipped data.
    pub(crate) fn replace(&mut self, bytes: Vec<u8>) {
        match &mut self.follower {
            Some(follower) => follower.tell_here(Job::Replace(bytes)),
            None => self.here.replace(&bytes),
        }
    }

    /// The digests of the whole file.
    ///
    /// # Errors
    /// The thread panicked.
    pub(crate) fn finish(self) -> io::Result<Hashed> {
        let state = match self.follower {
            Some(follower) => follower.end()?,
            None => self.here,
        };
        Ok(state.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_sees_every_byte_once_and_marks_where_it_was_told() {
        let bytes: Vec<u8> = (0..3 * LARGE + 12_345).map(|n| (n * 7 % 251) as u8).collect();
        for mark_at in [0, 5000, LARGE as usize, 2 * LARGE as usize + 777, bytes.len()] {
            let mut hasher = BackgroundHasher::default();
            bytes[..mark_at].chunks(40_001).for_each(|piece| hasher.update(piece));
            hasher.mark();
            bytes[mark_at..].chunks(300_007).for_each(|piece| hasher.update(piece));
            let Hashed { read, digests: all, marked } = hasher.finish().unwrap();
            assert_eq!(read, all.sha256);
            assert_eq!(all, FileHasher::read_all(&bytes[..]).unwrap());
            let marked = marked.unwrap().finish();
            assert_eq!(marked, FileHasher::read_all(&bytes[..mark_at]).unwrap(), "{mark_at}");
        }
    }

    #[test]
    fn what_is_replaced_counts_for_what_was_read_and_not_for_the_file() {
        let bytes: Vec<u8> = (0..2 * LARGE + 999).map(|n| (n * 5 % 241) as u8).collect();
        for (from, to) in [(0, 700), (512, 5000), (LARGE as usize + 3, LARGE as usize + 90_000)] {
            let mut hasher = BackgroundHasher::default();
            hasher.update(&bytes[..from]);
            hasher.mark();
            // The header is hashed before its member is known.
            hasher.update(&bytes[from..from + 512]);
            hasher.hold();
            hasher.update(&bytes[from + 512..to]);
            hasher.replace(b"something else".to_vec());
            bytes[to..].chunks(70_001).for_each(|piece| hasher.update(piece));
            let hashed = hasher.finish().unwrap();
            let file = [&bytes[..from], b"something else", &bytes[to..]].concat();
            assert_eq!(hashed.read, Digest::of(&bytes), "{from}");
            assert_eq!(hashed.digests, FileHasher::read_all(&file[..]).unwrap(), "{from}");
        }
    }
}
