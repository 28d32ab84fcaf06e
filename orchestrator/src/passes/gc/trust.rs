//! Decides whether the machine's clock can be trusted to tell the age of files.
//!
//! A machine may start with a clock that is years ahead and learn the time minutes or hours later. Until
//! then, build logs and replaced generations would look older than they are. So a clock that is much further
//! than expected is trusted only after it has run for a while. The last trusted time is stored in a file, so
//! that a restart does not end the doubt.

use crate::{engine::Engine, store::sealed};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};
use swarm_common::time::TimeMs;
use swarm_daemon::config::secret::write_private;

/// Maximum difference between the engine's time and the machine's clock, in milliseconds.
const APART_MS: u64 = 5_000;

/// If a machine was off for longer than this, in milliseconds, its clock may just as well be wrong.
const OFF_MS: u64 = 24 * 3_600_000;

/// How far a clock may be ahead of the elapsed time, in milliseconds.
const LEAP_MS: u64 = 600_000;

/// How long a clock must run undisturbed until it is trusted, in milliseconds.
const SETTLED_MS: u64 = 2 * 3_600_000;

/// All clocks, read at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The machine's clock.
    wall: TimeMs,
    engine: TimeMs,
    /// Advances with elapsed time, whatever the machine's clock is set to.
    steady: TimeMs,
}

/// Why the clock is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It was just set.
    Set,
    /// It is further than expected, by this many milliseconds.
    Ahead(u64),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = SETTLED_MS / 3_600_000;
        match *self {
            Self::Set => f.write_str("the machine's clock was set a moment ago"),
            Self::Ahead(ms) => write!(
                f,
                "the machine's clock is {} h further than when it was last known to be right, and is \
                 believed when it has run on for {hours} h",
                ms / 3_600_000
            ),
        }
    }
}

#[derive(Debug, Default)]
struct Clock {
    /// The last trusted time, and when it was read if that was in this process.
    believed: Option<(TimeMs, Option<TimeMs>)>,
    /// The first reading that was not trusted.
    doubted: Option<Reading>,
}

impl Clock {
    /// Decides whether to trust this reading.
    fn judge(&mut self, now: Reading) -> Result<(), Doubt> {
        if now.wall.0.abs_diff(now.engine.0) > APART_MS {
            return Err(Doubt::Set);
        }
        let expected = match self.believed {
            // Nothing is known, so no time can look wrong.
            None => now.wall,
            Some((wall, None)) => wall + OFF_MS,
            Some((wall, Some(steady))) => wall + now.steady.since(steady) + LEAP_MS,
        };
        if now.wall > expected {
            let runs_on = self.doubted.filter(|first| {
                let by_clock = now.wall.0.saturating_sub(first.wall.0);
                now.wall >= first.wall && by_clock.abs_diff(now.steady.since(first.steady)) < LEAP_MS
            });
            let first = *self.doubted.insert(runs_on.unwrap_or(now));
            if now.steady.since(first.steady) < SETTLED_MS {
                return Err(Doubt::Ahead(now.wall.since(expected)));
            }
        }
        self.doubted = None;
        self.believed = Some((now.wall, Some(now.steady)));
        Ok(())
    }
}

pub struct Trust {
    engine: Engine,
    file: PathBuf,
    /// `None` before the first look.
    clock: Option<Clock>,
}

impl Trust {
    /// Judges the clock of this engine's machine, and stores the last trusted time in `file`.
    #[must_use]
    pub fn new(engine: Engine, file: PathBuf) -> Self {
        Self { engine, file, clock: None }
    }

    /// The machine's time, if it can be trusted.
    ///
    /// # Errors
    /// Why it cannot be trusted.
    pub fn look(&mut self) -> Result<TimeMs, Doubt> {
        let engine = &self.engine;
        let now = Reading { engine: engine.now(), wall: engine.wall(), steady: engine.steady() };
        let begin = || {
            // Without the file, the last known time is the journal's last time before this start.
            let last = read(&self.file).or_else(|| engine.continued_from());
            Clock { believed: last.map(|at| (at, None)), doubted: None }
        };
        let clock = self.clock.get_or_insert_with(begin);
        let judged = clock.judge(now);
        if let Some((at, _)) = clock.believed
            && let Err(error) = write_private(&self.file, &sealed::seal(&at.0.to_string()))
        {
            tracing::warn!(%error, "cannot record the time");
        }
        judged.map(|()| now.wall)
    }
}

/// The time in a file; `None` if it is missing or damaged.
fn read(file: &Path) -> Option<TimeMs> {
    Some(TimeMs(sealed::open(&fs::read(file).ok()?)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;
    /// The last trusted time.
    const LAST: TimeMs = TimeMs(1_800_000_000_000);

    fn restarted() -> Clock {
        Clock { believed: Some((LAST, None)), doubted: None }
    }

    /// A reading taken `steady` after a start, from a clock that shows `wall`.
    fn reading(steady: u64, wall: TimeMs) -> Reading {
        Reading { wall, engine: wall, steady: TimeMs(77) + steady }
    }

    // fault: 58
    #[test]
    fn a_clock_that_is_years_ahead_at_the_start_is_not_believed_until_it_is_right() {
        let mut clock = restarted();
        let ahead = LAST + 20 * YEAR;
        for minute in [10, 70] {
            let judged = clock.judge(reading(minute * 60_000, ahead + minute * 60_000));
            assert!(matches!(judged, Err(Doubt::Ahead(_))), "after {minute} min: {judged:?}");
        }
        assert_eq!(clock.believed, Some((LAST, None)), "so that a restart doubts it as well");
        // The machine learns the time.
        let right = LAST + 80 * 60_000;
        let engine = ahead + 80 * 60_000;
        assert_eq!(clock.judge(Reading { engine, ..reading(80 * 60_000, right) }), Err(Doubt::Set));
        assert_eq!(clock.judge(reading(80 * 60_000, right)), Ok(()));
    }

    #[test]
    fn a_machine_that_was_off_for_weeks_is_believed_when_its_clock_has_run_on() {
        let mut clock = restarted();
        let right = LAST + 21 * 24 * HOUR;
        assert!(clock.judge(reading(0, right)).is_err());
        // The clock was set once more in between.
        assert!(clock.judge(reading(HOUR, right + 9 * HOUR)).is_err());
        assert!(clock.judge(reading(2 * HOUR, right + 10 * HOUR)).is_err());
        assert_eq!(clock.judge(reading(3 * HOUR, right + 11 * HOUR)), Ok(()));
    }

    #[test]
    fn a_machine_that_was_off_for_a_night_is_believed_at_once() {
        assert_eq!(restarted().judge(reading(0, LAST + 20 * HOUR)), Ok(()));
        assert_eq!(Clock::default().judge(reading(0, LAST)), Ok(()), "there is nothing to lose");
    }

    #[test]
    fn a_running_clock_that_leaps_ahead_is_doubted_and_one_that_goes_back_is_not() {
        let mut clock = Clock::default();
        assert_eq!(clock.judge(reading(0, LAST)), Ok(()));
        // The machine slept for three days.
        assert_eq!(clock.judge(reading(72 * HOUR, LAST + 72 * HOUR)), Ok(()));
        assert!(clock.judge(reading(73 * HOUR, LAST + 74 * HOUR)).is_err());
        assert_eq!(clock.judge(reading(74 * HOUR, LAST + 60 * HOUR)), Ok(()));
        assert_eq!(clock.judge(reading(75 * HOUR, LAST + 61 * HOUR)), Ok(()));
    }
}
