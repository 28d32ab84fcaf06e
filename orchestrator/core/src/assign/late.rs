//! Predicts when attempts end, and detects stragglers.
//!
//! A package that was built before takes about as long again; if it takes much longer, its drone has become
//! slow. For a package never built, the prediction is a guess, and a build that has taken long is likely to
//! take longer: the rest is expected to take half of the time spent so far.

use super::MOST_DUPLICATES;
use crate::{
    estimate::{lost_ms, stretch_permille},
    state::{Attempt, Drone, Job, Package, Swarm},
};
use std::collections::BTreeSet;
use swarm_common::{id::*, time::TimeMs};

/// A live attempt with its package and drone.
pub(super) struct Ongoing<'a> {
    pub(super) id: AttemptId,
    pub(super) attempt: &'a Attempt,
    pub(super) drone: &'a Drone,
    /// `None` unless the attempt builds a package.
    package: Option<&'a Package>,
    now: TimeMs,
    /// Predicted duration in milliseconds, if the attempt had its drone to itself.
    predicted_ms: u64,
    /// Number of builds running on the attempt's drone.
    builds: usize,
}

impl<'a> Ongoing<'a> {
    /// All live attempts, grouped by drone, in the order of drones.
    pub(super) fn all(swarm: &'a Swarm, now: TimeMs) -> Vec<Self> {
        let of = |(drone, ids): (&DroneId, &'a BTreeSet<AttemptId>)| {
            let builds = swarm.builds_on(*drone);
            let drone = swarm.drones.get(drone)?;
            Some(ids.iter().filter_map(move |id| {
                let attempt = swarm.attempts.get(id)?;
                let package = match attempt.job {
                    Job::Build(package) => swarm.packages.get(&package).map(|package| &**package),
                    Job::Plan(_) | Job::Base(_) => None,
                };
                let predicted_ms = drone.setup_ms + drone.duration_ms(package.map_or(0, |p| p.predicted_ms));
                Some(Self { id: *id, attempt, drone, package, now, predicted_ms, builds })
            }))
        };
        let mut all = Vec::with_capacity(swarm.at_work.len() + 1);
        all.extend(swarm.at_work.iter().filter_map(of).flatten());
        all
    }

    /// The package that the attempt builds. `None` for a plan or a base.
    pub(super) fn package(&self) -> Option<(PackageId, &'a Package)> {
        match self.attempt.job {
            Job::Build(id) => Some((id, self.package?)),
            Job::Plan(_) | Job::Base(_) => None,
        }
    }

    pub(super) fn is_building(&self) -> bool {
        self.attempt.is_building()
    }

    /// The time that the attempt's progress would have taken without neighbours, in milliseconds.
    fn elapsed_ms(&self) -> u64 {
        let since = self.drone.shared_since.max(self.attempt.started_at);
        let open_ms = if self.is_building() { self.now.since(since) } else { 0 };
        let lost_ms = self.attempt.lost_ms + lost_ms(open_ms, self.builds);
        self.now.since(self.attempt.started_at).saturating_sub(lost_ms)
    }

    /// How long `ms` of the attempt's work takes with its current neighbours.
    fn stretched(&self, ms: u64) -> u64 {
        ms.saturating_mul(stretch_permille(self.builds)) / 1000
    }

    /// Whether the package was built before, so that the prediction is not a guess.
    fn is_known(&self) -> bool {
        self.package.is_some_and(|p| !p.guessed)
    }

    /// How long the attempt may take before it is late: its prediction plus the usual error of predictions
    /// from history, or of guesses.
    fn patience_ms(&self) -> u64 {
        self.predicted_ms.saturating_mul(if self.is_known() { 175 } else { 125 }) / 100
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.elapsed_ms() > self.predicted_ms
    }

    /// When the attempt is expected to release its slot. An overdue attempt is expected to continue for half
    /// of the time it has taken. If its package was built before and it is late, its drone has become slow,
    /// and it is expected to continue for one and a half times that time.
    pub(super) fn expected_end(&self) -> TimeMs {
        let elapsed = self.elapsed_ms();
        if self.predicted_ms > elapsed {
            return self.now + self.stretched(self.predicted_ms - elapsed);
        }
        let slow = self.is_known() && elapsed > self.patience_ms();
        self.now + self.stretched(if slow { elapsed + elapsed / 2 } else { elapsed / 2 })
    }

    /// When the attempt's result is expected to be available, in milliseconds of the swarm's clock.
    pub(super) fn there_at(&self) -> u64 {
        let end = if self.is_building() { self.expected_end() } else { self.now };
        end.0 + self.drone.upload_ms
    }

    /// The speed of the attempt's drone in thousandths, reduced if the attempt is so overdue that the drone
    /// appears slower.
    pub(super) fn speed_permille(&self) -> u64 {
        let (speed, elapsed) = (self.drone.likely_permille(), self.elapsed_ms());
        let predicted = self.predicted_ms.max(1);
        if self.is_building() && self.is_known() && elapsed > 2 * predicted {
            return (speed.saturating_mul(predicted) / elapsed).max(1);
        }
        speed
    }
}

/// The shortest delay that justifies a duplicate, in milliseconds.
const LEAST_DELAY_MS: u64 = 30_000;

/// An attempt that should have ended.
pub(super) struct Straggler {
    pub(super) attempt: AttemptId,
    pub(super) package: PackageId,
    /// When the result is now expected, in milliseconds of the swarm's clock.
    pub(super) finish: u64,
    /// The work it would be for another drone, in milliseconds at speed 1.
    pub(super) work_ms: u64,
    /// How long the attempt has been running, in milliseconds, adjusted for neighbours.
    pub(super) elapsed_ms: u64,
    /// Whether it has exceeded the usual error of predictions; otherwise it may still be in order.
    pub(super) certain: bool,
    /// Whether it is later than most attempts and is the only one at its package.
    pub(super) doubtful: bool,
    pub(super) others: usize,
}

/// Of the `live` attempts at a package, the one expected to end first, if it is late enough to justify
/// another attempt.
pub(super) fn straggler(live: &[&Ongoing]) -> Option<Straggler> {
    // The original attempt may be gone, so count the duplicates.
    let doubled = live.iter().filter(|a| a.attempt.duplicate_of.is_some()).count();
    if doubled >= MOST_DUPLICATES || live.iter().any(|a| !a.is_building()) {
        return None;
    }
    let first = live.iter().min_by_key(|a| (a.expected_end(), a.id))?;
    let (id, package) = first.package()?;
    let (elapsed_ms, predicted_ms) = (first.elapsed_ms(), first.predicted_ms);
    let certain = elapsed_ms > first.patience_ms();
    let later_than = |percent: u64| {
        let limit = predicted_ms.saturating_mul(percent) / 100 + LEAST_DELAY_MS;
        !package.guessed && live.len() == 1 && elapsed_ms > limit
    };
    let overdue = later_than(110);
    if !certain && !overdue {
        return None;
    }
    let drone = first.drone;
    let done_ms = elapsed_ms.saturating_sub(drone.setup_ms).saturating_mul(drone.speed_permille) / 1000;
    let work_ms = if package.guessed { done_ms + done_ms / 2 } else { package.predicted_ms };
    Some(Straggler {
        attempt: first.id,
        package: id,
        finish: first.there_at(),
        work_ms: work_ms.max(package.predicted_ms),
        elapsed_ms,
        certain,
        doubtful: later_than(130),
        others: live.len() - 1,
    })
}
