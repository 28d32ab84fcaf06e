//! Packages that were judged to be broken by their own fault, across runs. They are not built again
//! until one of their inputs changes, an admin asks for it, or enough time has passed to justify
//! another try: the cause may be something that no key covers.

use crate::{package::Package, swarm::Swarm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::*, time::TimeMs, wire::base::Base};

/// The most entries kept; beyond that the oldest is forgotten, which costs one attempt.
const MOST: usize = 4096;

/// All quarantined packages, by the digest of their inputs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quarantine(BTreeMap<Digest, Broken>);

/// A package judged to be broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// When it was last judged so.
    pub since: TimeMs,
    /// The run that judged it.
    pub run: RunId,
    /// The reason.
    pub reason: String,
    /// The signature of its last failure, or the kind of its rejection; empty if it has neither.
    pub signature: String,
    /// The image of the base that it failed in. Another image may contain what was missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Total time that drones have spent on it, in milliseconds.
    pub cost_ms: u64,
}

impl Broken {
    /// When a run may retry it; `None` for never.
    #[must_use]
    pub fn retried_at(&self, swarm: &Swarm) -> Option<TimeMs> {
        let after_ms = swarm.policy.quarantine_retry_ms;
        (after_ms > 0).then(|| self.since + after_ms)
    }

    /// The reason shown for a package held because of this entry.
    #[must_use]
    pub fn words(&self) -> String {
        format!("not retried, as none of its inputs has changed since {}: {}", self.run, self.reason)
    }
}

/// The key by which a package counts as the same broken one. It covers all inputs, since a change
/// that does not affect a good package may repair a broken one.
#[must_use]
pub fn key(package: &Package) -> Digest {
    package.strict_key
}

impl Quarantine {
    pub(crate) fn times(&mut self) -> impl Iterator<Item = &mut TimeMs> {
        self.0.values_mut().map(|broken| &mut broken.since)
    }

    /// The entry of a package.
    #[must_use]
    pub fn of(&self, swarm: &Swarm, id: PackageId) -> Option<&Broken> {
        self.0.get(&key(swarm.packages.get(&id)?))
    }

    /// The entry that keeps a run in a base from trying the package with this key.
    #[must_use]
    pub fn keeps(&self, swarm: &Swarm, now: TimeMs, base: &Base, key: &Digest) -> Option<&Broken> {
        let broken = self.0.get(key)?;
        let same = broken.image.is_none() || broken.image == base.image();
        (same && broken.retried_at(swarm).is_none_or(|at| now < at)).then_some(broken)
    }

    /// Adds an entry, dropping the oldest if there are too many.
    pub(crate) fn note(&mut self, key: Digest, broken: Broken) {
        self.0.insert(key, broken);
        if self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, b)| b.since).map(|(key, _)| *key);
            oldest.and_then(|key| self.0.remove(&key));
        }
    }

    /// Removes an entry: the package was built, or an admin wants it retried.
    pub(crate) fn lift(&mut self, key: &Digest) {
        self.0.remove(key);
    }

    /// Keeps only the entries whose key satisfies `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&Digest) -> bool) {
        self.0.retain(|key, _| wanted(key));
    }
}

/// The entry for a package that is now judged to be broken.
pub(crate) fn broken(swarm: &Swarm, at: TimeMs, package: &Package, reason: &str) -> Broken {
    let attempts = package.attempts.iter().skip(package.forgiven).filter_map(|a| swarm.attempts.get(a));
    let cost_ms = attempts.clone().filter_map(|a| Some(a.ended_at?.since(a.started_at))).sum();
    let signature = attempts.rev().find_map(|a| Some(a.ending.as_ref()?.signature()?.to_owned()));
    Broken {
        since: at,
        run: package.run,
        reason: reason.to_owned(),
        signature: signature.unwrap_or_default(),
        image: swarm.runs.get(&package.run).and_then(|run| run.base.image()),
        cost_ms,
    }
}
