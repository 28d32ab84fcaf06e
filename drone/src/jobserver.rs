//! Shares the machine's processors among builds: each slot has a GNU make jobserver, and the drone moves
//! tokens between them.
//!
//! A token permits one job in addition to the one that each build may always run. `make` 4.4 and `ninja` 1.13
//! or newer read a token from a named pipe before they start a job, and write it back afterwards. A build
//! that is killed cannot return its tokens. With a single pipe, nobody would know how many it held. With one
//! pipe per slot, it holds those that the drone gave to the slot and has not taken back.

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

/// File name of the pipe in a slot's directory.
pub const PIPE: &str = "pipe";

/// The byte that represents a token. make writes back the byte that it read.
const TOKEN: u8 = b'+';

/// Any user that a build runs as must be able to open the pipe; otherwise make silently runs a single job.
const OPEN_TO_ALL: u32 = 0o666;

/// Interval at which tokens are rebalanced.
const TICK: Duration = Duration::from_millis(100);

/// The jobservers of all slots of a drone.
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
    busy: bool,
    /// Tokens given to the slot and not taken back. They are in the pipe or held by the build.
    given: u32,
}

/// The slot of one build. Dropping it reclaims the build's tokens, so drop it only after the build has ended.
#[derive(Debug)]
pub struct SlotGuard {
    jobserver: Jobserver,
    slot: usize,
    dir: PathBuf,
}

impl Jobserver {
    /// Creates the pipes below `dir`, one for each slot.
    ///
    /// # Errors
    /// A pipe cannot be created.
    pub fn new(dir: &Path, cores: u32, slots: u32) -> io::Result<Self> {
        let make = |n| Slot::make(dir.join(format!("{n}")));
        let slots = (0..slots).map(make).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Mutex::new(Slots { cores, slots }))))
    }

    /// Assigns a free slot to a build; `None` if all are busy.
    ///
    /// # Errors
    /// A pipe cannot be read or written.
    pub fn enter(&self) -> io::Result<Option<SlotGuard>> {
        let mut all = self.lock();
        let Some((n, slot)) = all.slots.iter_mut().enumerate().find(|(_, slot)| !slot.busy) else {
            return Ok(None);
        };
        slot.busy = true;
        let guard = SlotGuard { jobserver: self.clone(), slot: n, dir: slot.dir.clone() };
        let balanced = all.balance();
        drop(all);
        balanced.map(|()| Some(guard))
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotGuard {
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Awaits `build` and rebalances tokens meanwhile.
    pub async fn run<T>(&self, build: impl Future<Output = T>) -> T {
        let mut build = std::pin::pin!(build);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut build => return ended,
                _ = ticks.tick() => {
                    let balanced = self.jobserver.lock().balance();
                    if let Err(error) = balanced {
                        tracing::warn!(%error, "cannot use a jobserver's pipe; builds keep their current \
                            jobs");
                        return build.await;
                    }
                }
            }
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Err(error) = self.jobserver.lock().leave(self.slot) {
            tracing::warn!(%error, "cannot recreate a jobserver's pipe");
        }
    }
}

impl Slots {
    fn leave(&mut self, slot: usize) -> io::Result<()> {
        let Some(left) = self.slots.get_mut(slot) else { return Ok(()) };
        // All tokens given count as returned. The pipe is replaced, because a process that outlived its build
        // could still write tokens to the old one.
        *left = Slot::make(left.dir.clone())?;
        self.balance()
    }

    /// Moves unused tokens to the slots that need them.
    fn balance(&mut self) -> io::Result<()> {
        let busy = self.slots.iter().filter(|slot| slot.busy).count();
        // Each build may run one job without a token.
        let tokens = self.cores.saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX));
        let mut seen = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let unused = u32::try_from(ioctl_fionread(&slot.pipe)?).unwrap_or(u32::MAX);
            seen.push(SlotStatus { busy: slot.busy, given: slot.given, unused: unused.min(slot.given) });
        }
        let target = shares(tokens, &seen);
        for (slot, &target) in self.slots.iter_mut().zip(&target) {
            if target < slot.given {
                slot.given -= slot.take(slot.given - target)?;
            }
        }
        // A build may have taken some meanwhile, so fewer tokens than planned may be free.
        let given: u32 = self.slots.iter().map(|slot| slot.given).sum();
        let mut free = tokens.saturating_sub(given);
        for (slot, &target) in self.slots.iter_mut().zip(&target) {
            let more = target.saturating_sub(slot.given).min(free);
            let put = slot.put(more)?;
            slot.given += put;
            free -= put;
        }
        Ok(())
    }
}

impl Slot {
    fn make(dir: PathBuf) -> io::Result<Self> {
        // Not sticky: in a sticky directory, the kernel restricts opening other users' FIFOs
        // (`fs.protected_fifos`).
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        let path = dir.join(PIPE);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(OPEN_TO_ALL))?;
        // mkfifo has applied the umask.
        fs::set_permissions(&path, Permissions::from_mode(OPEN_TO_ALL))?;
        // Because it is open for reading and writing, the pipe never lacks a reader or a writer.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let pipe = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { dir, pipe, busy: false, given: 0 })
    }

    /// Writes up to `tokens` tokens to the pipe. Returns how many fit.
    fn put(&self, tokens: u32) -> io::Result<u32> {
        moved(tokens, rustix::io::write(&self.pipe, &vec![TOKEN; tokens as usize]))
    }

    /// Reads up to `tokens` tokens from the pipe. Returns how many there were.
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

/// The observed state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SlotStatus {
    busy: bool,
    given: u32,
    /// The given tokens that are in the pipe.
    unused: u32,
}

/// Distributes `tokens` over the slots. Tokens that a build holds cannot be taken away. A build with
/// unused tokens keeps one, so that it can start another job at once; builds without unused tokens
/// share the rest evenly.
fn shares(tokens: u32, slots: &[SlotStatus]) -> Vec<u32> {
    let mut shares: Vec<u32> = slots.iter().map(|slot| slot.given - slot.unused).collect();
    let mut left = tokens.saturating_sub(shares.iter().sum());
    for (slot, share) in slots.iter().zip(&mut shares) {
        if slot.busy && slot.unused > 0 && left > 0 {
            *share += 1;
            left -= 1;
        }
    }
    let is_hungry = |slot: &SlotStatus| slot.busy && slot.unused == 0;
    let somebody_is = slots.iter().any(is_hungry);
    while left > 0 {
        // If no build needs more tokens, all builds keep some in reserve.
        let takes = |n: &usize| if somebody_is { is_hungry(&slots[*n]) } else { slots[*n].busy };
        let Some(least) = (0..slots.len()).filter(takes).min_by_key(|&n| shares[n]) else { break };
        shares[least] += 1;
        left -= 1;
    }
    shares
}

#[cfg(test)]
mod tests;
