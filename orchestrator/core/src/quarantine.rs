//! What was judged broken for a fault of its own, across runs. Nobody builds it again until
//! something that it is built from changes, a person wants it, or so much time has passed
//! that it is worth another try: the fault may have been in what no key tells of.

use crate::{attempt::Ending, package::Package, swarm::Swarm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::*, time::TimeMs};

/// The most that are remembered; beyond that the oldest is forgotten, which costs a try.
const MOST: usize = 4096;

/// Everything that is remembered, by the digest of what it would be built from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quarantine(BTreeMap<Digest, Broken>);

/// Something broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// When it was last judged so.
    pub since: TimeMs,
    /// In which run.
    pub run: RunId,
    /// Why.
    pub reason: String,
    /// With which signature it failed last; empty if its result was refused.
    pub signature: String,
    /// How long drones were at it until then, in milliseconds.
    pub cost_ms: u64,
}

impl Broken {
    /// When a run tries it again; `None` if none does.
    #[must_use]
    pub fn retried_at(&self, swarm: &Swarm) -> Option<TimeMs> {
        let after_ms = swarm.policy.quarantine_retry_ms;
        (after_ms > 0).then(|| self.since + after_ms)
    }

    /// The line of a package that is not tried because of it.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "not tried again, as nothing that it is built from has changed since {}: {}",
            self.run, self.reason
        )
    }
}

/// What decides whether a package is the same broken one: everything that it is made from and
/// built with, as a change that leaves a good package as it is may mend a broken one.
#[must_use]
pub fn key(package: &Package) -> Digest {
    package.strict_key
}

impl Quarantine {
    pub(crate) fn times(&mut self) -> impl Iterator<Item = &mut TimeMs> {
        self.0.values_mut().map(|broken| &mut broken.since)
    }

    /// What is known of a package.
    #[must_use]
    pub fn of(&self, swarm: &Swarm, id: PackageId) -> Option<&Broken> {
        self.0.get(&key(swarm.packages.get(&id)?))
    }

    /// What keeps a run from trying what has this key.
    #[must_use]
    pub fn keeps(&self, swarm: &Swarm, now: TimeMs, key: &Digest) -> Option<&Broken> {
        self.0.get(key).filter(|broken| broken.retried_at(swarm).is_none_or(|at| now < at))
    }

    /// Remembers it.
    pub(crate) fn note(&mut self, key: Digest, broken: Broken) {
        self.0.insert(key, broken);
        if self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, b)| b.since).map(|(key, _)| *key);
            oldest.and_then(|key| self.0.remove(&key));
        }
    }

    /// Forgets it: it was built, or a person wants it tried.
    pub(crate) fn lift(&mut self, key: &Digest) {
        self.0.remove(key);
    }

    /// Forgets what `wanted` is not true of.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&Digest) -> bool) {
        self.0.retain(|key, _| wanted(key));
    }
}

/// What is to be remembered of a package that is judged broken now.
pub(crate) fn broken(swarm: &Swarm, at: TimeMs, package: &Package, reason: &str) -> Broken {
    let attempts = package.attempts.iter().skip(package.forgiven).filter_map(|a| swarm.attempts.get(a));
    let cost_ms = attempts.clone().filter_map(|a| Some(a.ended_at?.since(a.started_at))).sum();
    let signature = attempts.rev().find_map(|a| match &a.ending {
        Some(Ending::Failed(failure)) => Some(failure.signature.clone()),
        _ => None,
    });
    Broken {
        since: at,
        run: package.run,
        reason: reason.to_owned(),
        signature: signature.unwrap_or_default(),
        cost_ms,
    }
}
