//! Recovery after a restore or a rollback. The journal lacks the last events, so ids unknown to it
//! may have been assigned, and files published under names unknown to it.

use super::Decision;
use crate::{
    event::Event,
    reply::Reply,
    state::{LastIds, Swarm},
};
use swarm_common::{id::*, time::TimeMs};

/// Number of ids skipped after a restore, in addition to those that may have been assigned since the last
/// event.
const IDS_SKIPPED: u64 = 1000;

/// The same for build ids. It is small because they are part of package file names.
const BUILD_IDS_SKIPPED: u32 = 10;

/// The assumed minimum time between two builds of one version. Other ids are assumed to be assigned at most
/// once per millisecond.
const BUILT_EVERY_MS: u64 = 60 * 1000;

/// The upper limit of build ids, so that they have at most ten digits in file names.
const MOST_BUILD_IDS: u32 = 1 << 31;

/// Bits of the random distance between the ids of two restores of one backup: for runs and drones, of which
/// there are few, and for packages and attempts, of which there are many.
const FEW_BITS: u32 = 20;
const MANY_BITS: u32 = 26;

/// The maximum number of lost attempts that a drone's claim of a rollback may imply, so that no drone can use
/// up the ids.
const MOST_LOST: u64 = 1 << 40;

/// Skips every id that may have been assigned since the journal's last event, and a random number
/// more, so that two restores of one backup assign different ids.
pub(super) fn skip_ids(swarm: &Swarm, now: TimeMs, entropy: u64) -> Decision {
    Ok((vec![skipped(swarm, now, entropy, swarm.last.attempt)], Reply::Done))
}

/// Skips ids once per start: a drone has an attempt that the journal does not know, so the journal was rolled
/// back in a way that nothing else shows.
pub(super) fn rolled_back(
    swarm: &Swarm,
    now: TimeMs,
    entropy: u64,
    drone: DroneId,
    seen: AttemptId,
) -> Vec<Event> {
    let last = AttemptId(swarm.last.attempt);
    if seen <= last || seen.0 - last.0 > MOST_LOST || swarm.live.rolled_back.is_some() {
        return Vec::new();
    }
    vec![skipped(swarm, now, entropy, seen.0), Event::RollbackFound { drone, seen, last }]
}

/// Places all ids beyond those in use. `attempt` is the highest attempt known to have been assigned.
fn skipped(swarm: &Swarm, now: TimeMs, entropy: u64, attempt: u64) -> Event {
    let gap_ms = now.since(swarm.at);
    let random = |bits: u32| entropy & ((1 << bits) - 1);
    let skip = |last: u64, bits| {
        last.saturating_add(IDS_SKIPPED).saturating_add(gap_ms).saturating_add(random(bits))
    };
    let last = LastIds {
        run: skip(swarm.last.run, FEW_BITS),
        package: skip(swarm.last.package, MANY_BITS),
        attempt: skip(attempt, MANY_BITS),
        drone: skip(swarm.last.drone, FEW_BITS),
    };
    let known = swarm.profiles.values().flat_map(|profile| profile.build_ids.values()).max().copied();
    let known = known.unwrap_or(0).max(swarm.build_ids_skipped);
    // Each restore takes only a part of the remaining ids, so that they never run out.
    let left = MOST_BUILD_IDS.saturating_sub(known);
    let built = u32::try_from(gap_ms / BUILT_EVERY_MS).unwrap_or(u32::MAX).min(left / 5);
    let spread = u32::try_from(entropy % u64::from(left / 12 + 1)).unwrap_or(0);
    let build_id = known + (BUILD_IDS_SKIPPED + built + spread).min(left / 2);
    Event::IdsSkipped { last, build_id }
}
