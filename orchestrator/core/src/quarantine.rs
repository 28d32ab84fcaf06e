//! Packages that were judged to be broken by their own fault, across runs. They are not built again
//! until one of their inputs changes, an admin asks for it, or enough time has passed to justify
//! another try: the cause may be something that no key covers.

use crate::state::{Broken, Package, Swarm};
use swarm_common::{digest::Digest, id::*, time::TimeMs, wire::base::Base};

/// The key by which a package counts as the same broken one. It covers all inputs, since a change
/// that does not affect a good package may repair a broken one.
#[must_use]
pub fn key(package: &Package) -> Digest {
    package.strict_key
}

/// When a run may retry a broken package; `None` for never.
#[must_use]
pub fn retried_at(swarm: &Swarm, broken: &Broken) -> Option<TimeMs> {
    let after_ms = swarm.policy.quarantine_retry_ms;
    (after_ms > 0).then(|| broken.since + after_ms)
}

/// The entry of a package.
#[must_use]
pub fn of(swarm: &Swarm, id: PackageId) -> Option<&Broken> {
    swarm.quarantine.get(&key(swarm.packages.get(&id)?))
}

/// The entry that keeps a run in a base from trying the package with this key.
#[must_use]
pub fn keeps<'s>(swarm: &'s Swarm, now: TimeMs, base: &Base, key: &Digest) -> Option<&'s Broken> {
    let broken = swarm.quarantine.get(key)?;
    let same = broken.image.is_none() || broken.image == base.image();
    (same && retried_at(swarm, broken).is_none_or(|at| now < at)).then_some(broken)
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
