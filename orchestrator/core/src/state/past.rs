//! Attempts at packages whose runs are forgotten: who tried what, how it ended and how long it took.

use super::{
    attempt::{Attempt, Ending},
    package::Package,
    run::Run,
};
use crate::shared::Shared;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    id::*,
    name::Name,
    state::{AttemptOutcome, FailureClass},
    time::TimeMs,
    wire::drone::Target,
};

/// Number of attempts kept of each package name.
const MOST_PER_NAME: usize = 20;

/// Number of attempts kept in total. An attempt takes 100 bytes and a name 150, so all together take 2 to 5
/// MB.
const MOST: usize = 20_000;

/// The maximum length of an error that is kept, in characters.
const LONGEST_ERROR: usize = 120;

/// An attempt that has ended. The name of its package is the key of the map that it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastAttempt {
    pub id: AttemptId,
    pub version: Box<str>,
    pub run: RunId,
    pub drone: DroneId,
    pub started_at: TimeMs,
    /// Duration in milliseconds.
    pub took_ms: u64,
    pub outcome: AttemptOutcome,
    /// The class of the failure, if the attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// The first line of the error, shortened; from older versions, its signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<str>>,
}

impl PastAttempt {
    fn of(id: AttemptId, run: RunId, version: &str, attempt: &Attempt) -> Option<Self> {
        let ending = attempt.ending.as_ref()?;
        let error = |text: &str| text.chars().take(LONGEST_ERROR).collect::<String>().into();
        Some(Self {
            id,
            version: version.into(),
            run,
            drone: attempt.drone,
            started_at: attempt.started_at,
            took_ms: attempt.ended_at?.since(attempt.started_at),
            outcome: ending.outcome(),
            class: ending.class(),
            error: ending.headline().as_deref().map(error),
        })
    }

    #[must_use]
    pub fn ended_at(&self) -> TimeMs {
        self.started_at + self.took_ms
    }
}

impl Ending {
    /// The ending without details. A failure of class [`FailureClass::Lost`] counts as lost, like an expired
    /// lease.
    #[must_use]
    pub fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Accepted => AttemptOutcome::Built,
            Self::Failed(failure) => match failure.class {
                FailureClass::Lost => AttemptOutcome::Lost,
                FailureClass::Cancelled => AttemptOutcome::Cancelled,
                _ => AttemptOutcome::Failed,
            },
            Self::Rejected(_) => AttemptOutcome::Rejected,
            Self::HandedBack(_) => AttemptOutcome::HandedBack,
            Self::Lost(_) => AttemptOutcome::Lost,
            Self::Superseded => AttemptOutcome::Superseded,
            Self::Cancelled => AttemptOutcome::Cancelled,
        }
    }

    /// The class of the failure, if the attempt failed.
    #[must_use]
    pub fn class(&self) -> Option<FailureClass> {
        if let Self::Failed(failure) = self { Some(failure.class) } else { None }
    }
}

/// Attempts whose runs are forgotten.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PastAttempts {
    /// The attempts at each package, by its name without the version, in order.
    attempts: BTreeMap<String, Shared<Vec<PastAttempt>>>,
    /// The profiles of the runs.
    profiles: BTreeMap<RunId, Name>,
    /// The names of the drones.
    drones: BTreeMap<DroneId, Name>,
}

impl PastAttempts {
    /// Every attempt, with the name of its package.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PastAttempt)> {
        self.attempts.iter().flat_map(|(name, attempts)| attempts.iter().map(move |past| (&**name, past)))
    }

    /// The profile of a run. `None` if no attempt of the run is kept.
    #[must_use]
    pub fn profile(&self, run: RunId) -> Option<&Name> {
        self.profiles.get(&run)
    }

    /// The name of a drone. `None` if no attempt of the drone is kept.
    #[must_use]
    pub fn drone(&self, drone: DroneId) -> Option<&Name> {
        self.drones.get(&drone)
    }

    /// Adds an attempt at a package of a run, if it has ended.
    pub(crate) fn add(&mut self, run: &Run, package: &Package, id: AttemptId, attempt: &Attempt) {
        // The members of a cycle are built together, and the outputs of a derivation share one name.
        let names: BTreeMap<&str, &str> =
            package.targets.iter().map(|target| (Target::family(target), target.version())).collect();
        for (name, version) in names {
            let Some(past) = PastAttempt::of(id, package.run, version, attempt) else { return };
            let shared = self.attempts.entry(name.to_owned()).or_default();
            let mut attempts = shared.to_vec();
            attempts.push(past);
            // Runs of several profiles are not forgotten in the order of their attempts.
            attempts.sort_unstable_by_key(|past| past.id);
            let surplus = attempts.len().saturating_sub(MOST_PER_NAME);
            *shared = attempts.split_off(surplus).into();
            self.profiles.insert(package.run, run.profile.clone());
            self.drones.insert(attempt.drone, attempt.drone_name.clone());
        }
    }

    /// Drops the attempts that ended by `oldest`, and the oldest ones beyond the limit.
    pub(crate) fn trim(&mut self, oldest: TimeMs) {
        let mut ids: Vec<AttemptId> = self.iter().map(|(_, past)| past.id).collect();
        ids.sort_unstable();
        let first = ids.len().checked_sub(MOST).and_then(|surplus| ids.get(surplus)).copied();
        let stays =
            |past: &PastAttempt| past.ended_at() > oldest && first.is_none_or(|first| past.id >= first);
        self.attempts.retain(|_, shared| {
            if !shared.iter().all(stays) {
                *shared = shared.iter().filter(|past| stays(past)).cloned().collect();
            }
            !shared.is_empty()
        });
        let runs: BTreeSet<RunId> = self.iter().map(|(_, past)| past.run).collect();
        let drones: BTreeSet<DroneId> = self.iter().map(|(_, past)| past.drone).collect();
        self.profiles.retain(|run, _| runs.contains(run));
        self.drones.retain(|drone, _| drones.contains(drone));
    }

    /// Shares the memory of attempts that `other` has as well.
    pub(crate) fn share(&mut self, other: &Self) {
        for (name, attempts) in &mut self.attempts {
            if let Some(theirs) = other.attempts.get(name) {
                attempts.merge(theirs);
            }
        }
    }

    /// Applies `set` to every time.
    pub(crate) fn set_times(&mut self, set: impl Fn(&mut TimeMs)) {
        for shared in self.attempts.values_mut() {
            let mut attempts = shared.to_vec();
            attempts.iter_mut().for_each(|past| set(&mut past.started_at));
            *shared = attempts.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_the_oldest_attempts_are_dropped_and_what_they_alone_refer_to() {
        let mut past = PastAttempts::default();
        for id in 1..=MOST as u64 + 5 {
            let attempt = PastAttempt {
                id: AttemptId(id),
                version: "1".into(),
                run: RunId(id),
                drone: DroneId(id),
                started_at: TimeMs(1),
                took_ms: 1,
                outcome: AttemptOutcome::Built,
                class: None,
                error: None,
            };
            past.attempts.insert(format!("app/x{id}"), vec![attempt].into());
            past.profiles.insert(RunId(id), "desk".parse().unwrap());
            past.drones.insert(DroneId(id), "oak".parse().unwrap());
        }
        past.trim(TimeMs(0));
        assert_eq!(past.iter().map(|(_, attempt)| attempt.id).min(), Some(AttemptId(6)));
        assert_eq!([past.attempts.len(), past.profiles.len(), past.drones.len()], [MOST; 3]);
        past.trim(TimeMs(2));
        assert_eq!(past, PastAttempts::default());
    }
}
