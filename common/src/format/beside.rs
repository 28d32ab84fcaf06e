//! The digests of a whole file, computed beside whoever reads it.
//!
//! A package is hashed five ways while it is looked at, which is most of the cost. A large
//! file's three whole-file digests go to a thread of their own, fed with copies of what was
//! read (a copy costs a thirtieth of the hashing); a small file is not worth a thread.

use super::digests::{FileDigests, FileHasher};
use std::{
    io, mem,
    sync::mpsc::{self, Receiver, Sender, SyncSender},
    thread::{self, JoinHandle},
};

/// From this size in bytes on a file has a thread.
const LARGE: u64 = 1 << 20;
/// Bytes that change threads at a time, and how many such buffers there are.
const BUFFER: usize = 512 << 10;
const BUFFERS: usize = 4;

/// What the thread is told.
enum Job {
    Bytes(Vec<u8>),
    Mark,
}

/// What it ends with: the state at the end, and at the last mark.
type Hashed = (FileHasher, Option<FileHasher>);

struct Follower {
    filling: Vec<u8>,
    full: SyncSender<Job>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Hashed>,
}

impl Follower {
    fn start(from: FileHasher, marked: Option<FileHasher>) -> io::Result<Self> {
        let (full, jobs) = mpsc::sync_channel(BUFFERS);
        let (emptied, empty) = mpsc::channel();
        for _ in 1..BUFFERS {
            // The other end is here: it cannot be gone.
            let _ = emptied.send(Vec::with_capacity(BUFFER));
        }
        let named = thread::Builder::new().name("digests".to_owned());
        let thread = named.spawn(move || follow(from, marked, &jobs, &emptied))?;
        Ok(Self { filling: Vec::with_capacity(BUFFER), full, empty, thread })
    }

    /// The thread ends early only by a panic, which [`Follower::end`] tells.
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

    fn mark(&mut self) {
        self.pass_on();
        self.tell(Job::Mark);
    }

    fn end(mut self) -> io::Result<Hashed> {
        self.pass_on();
        drop(self.full);
        self.thread.join().map_err(|_| io::Error::other("computing the digests broke off"))
    }
}

fn follow(
    mut hasher: FileHasher,
    mut marked: Option<FileHasher>,
    jobs: &Receiver<Job>,
    emptied: &Sender<Vec<u8>>,
) -> Hashed {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Bytes(mut bytes) => {
                hasher.update(&bytes);
                bytes.clear();
                // Nobody fills buffers any more at the end.
                let _ = emptied.send(bytes);
            }
            Job::Mark => marked = Some(hasher.clone()),
        }
    }
    (hasher, marked)
}

/// Collects the bytes of a whole file.
#[derive(Default)]
pub(super) struct Beside {
    /// The state while there is no thread; what it began with afterwards.
    here: FileHasher,
    marked: Option<FileHasher>,
    follower: Option<Follower>,
    refused: bool,
}

impl Beside {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(follower) = &mut self.follower {
            return follower.update(bytes);
        }
        self.here.update(bytes);
        if self.here.size() >= LARGE && !self.refused {
            // A machine without a thread to spare computes them here, which is only slower.
            self.follower = Follower::start(self.here.clone(), self.marked.take()).ok();
            self.refused = self.follower.is_none();
        }
    }

    /// Remembers the state as it is now, instead of the one at an earlier mark.
    pub(super) fn mark(&mut self) {
        match &mut self.follower {
            Some(follower) => follower.mark(),
            None => self.marked = Some(self.here.clone()),
        }
    }

    /// The digests of everything, and the state at the last mark.
    ///
    /// # Errors
    /// If the thread broke off.
    pub(super) fn finish(self) -> io::Result<(FileDigests, Option<FileHasher>)> {
        let (hasher, marked) = match self.follower {
            Some(follower) => follower.end()?,
            None => (self.here, self.marked),
        };
        Ok((hasher.finish(), marked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_sees_every_byte_once_and_marks_where_it_was_told() {
        let bytes: Vec<u8> = (0..3 * LARGE + 12_345).map(|n| (n * 7 % 251) as u8).collect();
        for mark_at in [0, 5000, LARGE as usize, 2 * LARGE as usize + 777, bytes.len()] {
            let mut beside = Beside::default();
            bytes[..mark_at].chunks(40_001).for_each(|piece| beside.update(piece));
            beside.mark();
            bytes[mark_at..].chunks(300_007).for_each(|piece| beside.update(piece));
            let (all, marked) = beside.finish().unwrap();
            assert_eq!(all, FileHasher::read_all(&bytes[..]).unwrap());
            let marked = marked.unwrap().finish();
            assert_eq!(marked, FileHasher::read_all(&bytes[..mark_at]).unwrap(), "{mark_at}");
        }
    }
}
