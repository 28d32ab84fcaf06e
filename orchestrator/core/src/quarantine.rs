//! Packages that were judged to be broken by their own fault, across runs. They are not built again until one
//! of their inputs changes, an admin asks for it, or enough time has passed to justify another try, since the
//! cause may be something that no key covers.

use crate::{
    reason::Reason,
    state::{Broken, Package, Run, Swarm},
};
use std::collections::BTreeSet;
use swarm_common::{digest::Digest, id::*, time::TimeMs};

/// The key by which a broken package is recognised. It covers all inputs, since a change that does not affect
/// a good package may repair a broken one.
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

/// The quarantine entry of a package.
#[must_use]
pub fn of(swarm: &Swarm, id: PackageId) -> Option<&Broken> {
    swarm.quarantine.get(&key(swarm.packages.get(&id)?))
}

/// The drones on which a package failed by its own fault when it was judged. Empty if that run is forgotten.
#[must_use]
pub fn witnesses(swarm: &Swarm, key: &Digest, broken: &Broken) -> BTreeSet<DroneId> {
    let packages = swarm.runs.get(&broken.run).into_iter().flat_map(|run| &run.packages);
    let judged =
        packages.filter_map(|id| swarm.packages.get(id)).filter(|package| self::key(package) == *key);
    let attempts = judged.flat_map(|package| package.attempts.iter().skip(package.forgiven));
    let failed = attempts.filter_map(|id| swarm.attempts.get(id)).filter(|attempt| attempt.blames_package());
    failed.map(|attempt| attempt.drone).collect()
}

/// The quarantine entry that keeps a run from trying the package with this key. An entry that rests on
/// failures on one drone does not apply while another drone can try.
#[must_use]
pub fn keeps<'s>(swarm: &'s Swarm, now: TimeMs, run: &Run, key: &Digest) -> Option<&'s Broken> {
    let broken = swarm.quarantine.get(key)?;
    let same = broken.image.is_none() || broken.image == run.base.image();
    if !same || retried_at(swarm, broken).is_some_and(|at| now >= at) {
        return None;
    }
    let witnesses = witnesses(swarm, key, broken);
    let mut others = swarm
        .drones
        .iter()
        .filter(|(id, drone)| !witnesses.contains(id) && drone.is_at_hand() && drone.builds_for(run));
    let is_in_doubt = witnesses.len() == 1 && others.next().is_some();
    (!is_in_doubt).then_some(broken)
}

/// The quarantine entry for a package that is now judged to be broken.
pub(crate) fn broken(swarm: &Swarm, at: TimeMs, package: &Package, reason: &Reason) -> Broken {
    let attempts = package.attempts.iter().skip(package.forgiven).filter_map(|a| swarm.attempts.get(a));
    let cost_ms = attempts.clone().filter_map(|a| Some(a.ended_at?.since(a.started_at))).sum();
    let signature = attempts.rev().find_map(|a| Some(a.ending.as_ref()?.signature()?.to_owned()));
    Broken {
        since: at,
        run: package.run,
        reason: reason.clone(),
        signature: signature.unwrap_or_default(),
        image: swarm.runs.get(&package.run).and_then(|run| run.base.image()),
        cost_ms,
    }
}
