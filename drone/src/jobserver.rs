//! The machine's processors, shared among the builds of a drone: one GNU make jobserver for
//! each slot, and a drone that moves tokens between them.
//!
//! A token allows one job more than the one that each build may always run. `make` (4.4 and
//! newer) and `ninja` (1.13 and newer) read a token from the named pipe before they start a
//! job, and write it back after it. A build that dies with tokens cannot give them back, and
//! on one pipe for all nobody could say how many those were. With a pipe for each slot the
//! drone knows: they are what it gave to that slot and has not taken back.

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::{Errno, ioctl_fionread},
};
use std::{
    fs::{self, Permissions},
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What the pipe of a slot is called in its directory.
pub const PIPE: &str = "pipe";

/// What a token looks like in the pipe; make passes it on as it is.
const TOKEN: u8 = b'+';

/// Whoever a build runs as opens the pipe, else make runs one job without a word.
const OPEN_TO_ALL: u32 = 0o666;

/// How often tokens are moved to where they are used.
const TICK: Duration = Duration::from_millis(100);

/// The jobservers of a drone.
#[derive(Debug, Clone)]
pub struct Jobserver(Arc<Mutex<Slots>>);

#[derive(Debug)]
struct Slots {
    cores: u32,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    dir: PathBuf,
    pipe: OwnedFd,
    /// A build has it.
    busy: bool,
    /// Tokens that were given and not taken back: in the pipe, or with the build.
    given: u32,
}

/// A build's share. Dropping it takes back whatever the build held, which must have ended.
#[derive(Debug)]
pub struct Seat {
    jobserver: Jobserver,
    slot: usize,
    dir: PathBuf,
}

impl Jobserver {
    /// Makes the pipes below `dir`, one for each slot.
    ///
    /// # Errors
    /// A pipe cannot be made.
    pub fn new(dir: &Path, cores: u32, slots: u32) -> io::Result<Self> {
        let make = |n| Slot::make(dir.join(format!("{n}")));
        let slots = (0..slots).map(make).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Mutex::new(Slots { cores, slots }))))
    }

    /// A build takes a slot that nobody has; `None` if there is none.
    ///
    /// # Errors
    /// A pipe cannot be used.
    pub fn enter(&self) -> io::Result<Option<Seat>> {
        let mut all = self.lock();
        let Some((n, slot)) = all.slots.iter_mut().enumerate().find(|(_, slot)| !slot.busy) else {
            return Ok(None);
        };
        slot.busy = true;
        let seat = Seat { jobserver: self.clone(), slot: n, dir: slot.dir.clone() };
        let balanced = all.balance();
        drop(all);
        balanced.map(|()| Some(seat))
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The directory that has the pipe, and nothing else.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits for a build, and sees to it meanwhile that tokens are where they are used.
    pub async fn beside<T>(&self, build: impl Future<Output = T>) -> T {
        let mut build = std::pin::pin!(build);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut build => return ended,
                _ = ticks.tick() => {
                    let balanced = self.jobserver.lock().balance();
                    if let Err(error) = balanced {
                        tracing::warn!(%error, "a jobserver's pipe cannot be used; builds keep the jobs they have");
                        return build.await;
                    }
                }
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Err(error) = self.jobserver.lock().leave(self.slot) {
            tracing::warn!(%error, "a jobserver's pipe cannot be made anew");
        }
    }
}

impl Slots {
    fn leave(&mut self, slot: usize) -> io::Result<()> {
        let Some(left) = self.slots.get_mut(slot) else { return Ok(()) };
        // Whatever was given is here again, and the pipe is another: a process that outlived
        // its build could otherwise hand in what is counted as here.
        *left = Slot::make(left.dir.clone())?;
        self.balance()
    }

    /// Moves tokens from where they lie unused to where they are used.
    fn balance(&mut self) -> io::Result<()> {
        let busy = self.slots.iter().filter(|slot| slot.busy).count();
        // Each build runs one job without a token.
        let tokens = self.cores.saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX));
        let mut seen = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let unused = u32::try_from(ioctl_fionread(&slot.pipe)?).unwrap_or(u32::MAX);
            seen.push(Seen { busy: slot.busy, given: slot.given, unused: unused.min(slot.given) });
        }
        let wanted = shares(tokens, &seen);
        for (slot, &wanted) in self.slots.iter_mut().zip(&wanted) {
            if wanted < slot.given {
                slot.given -= slot.take(slot.given - wanted)?;
            }
        }
        // A build may have been faster, so that less was taken than lay there.
        let given: u32 = self.slots.iter().map(|slot| slot.given).sum();
        let mut free = tokens.saturating_sub(given);
        for (slot, &wanted) in self.slots.iter_mut().zip(&wanted) {
            let more = wanted.saturating_sub(slot.given).min(free);
            let put = slot.put(more)?;
            slot.given += put;
            free -= put;
        }
        Ok(())
    }
}

impl Slot {
    fn make(dir: PathBuf) -> io::Result<Self> {
        // Not sticky: there the kernel keeps users from each other's pipes.
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        let path = dir.join(PIPE);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(OPEN_TO_ALL))?;
        // The umask has taken some of it.
        fs::set_permissions(&path, Permissions::from_mode(OPEN_TO_ALL))?;
        // Open for both, it is never without a reader or a writer.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let pipe = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { dir, pipe, busy: false, given: 0 })
    }

    /// Puts so many tokens into the pipe, or as many as fit; gives how many those were.
    fn put(&self, tokens: u32) -> io::Result<u32> {
        moved(tokens, rustix::io::write(&self.pipe, &vec![TOKEN; tokens as usize]))
    }

    /// Takes so many tokens out of the pipe, or as many as there are; gives how many those were.
    fn take(&self, tokens: u32) -> io::Result<u32> {
        moved(tokens, rustix::io::read(&self.pipe, &mut vec![0; tokens as usize]))
    }
}

fn moved(most: u32, moved: Result<usize, Errno>) -> io::Result<u32> {
    match moved {
        Ok(tokens) => Ok(u32::try_from(tokens).unwrap_or(most)),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// A slot as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    busy: bool,
    given: u32,
    /// Of those given, what lies in the pipe.
    unused: u32,
}

/// How many of `tokens` each slot should have. What a build holds cannot be taken. A build that
/// leaves some unused keeps one of them, so that it can begin another job at once; those that
/// have used up theirs share the rest evenly.
fn shares(tokens: u32, slots: &[Seen]) -> Vec<u32> {
    let mut shares: Vec<u32> = slots.iter().map(|slot| slot.given - slot.unused).collect();
    let mut left = tokens.saturating_sub(shares.iter().sum());
    for (slot, share) in slots.iter().zip(&mut shares) {
        if slot.busy && slot.unused > 0 && left > 0 {
            *share += 1;
            left -= 1;
        }
    }
    let is_hungry = |slot: &Seen| slot.busy && slot.unused == 0;
    let somebody_is = slots.iter().any(is_hungry);
    while left > 0 {
        // If nobody asks for more, all builds keep some at hand.
        let takes = |n: &usize| if somebody_is { is_hungry(&slots[*n]) } else { slots[*n].busy };
        let Some(least) = (0..slots.len()).filter(takes).min_by_key(|&n| shares[n]) else { break };
        shares[least] += 1;
        left -= 1;
    }
    shares
}

#[cfg(test)]
mod tests;
