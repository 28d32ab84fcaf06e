//! Recovery after a restore. The journal lacks the last events before the loss, so ids unknown to
//! it may have been assigned, and files published under names unknown to it.

use super::Decision;
use crate::{
    command::Reply,
    event::Event,
    swarm::{LastIds, Swarm},
};
use swarm_common::time::TimeMs;

/// Ids skipped after a restore, in addition to those that may have been assigned since the last
/// event.
const IDS_SKIPPED: u64 = 1000;

/// The same for build ids, which are part of package file names.
const BUILD_IDS_SKIPPED: u32 = 10;

/// Assumed shortest time between two builds of one version. Other ids are assumed to be assigned at
/// most once per millisecond.
const BUILT_EVERY_MS: u64 = 60 * 1000;

/// Drones accept build ids up to 100,000.
const MOST_BUILD_IDS_SKIPPED: u64 = 20_000;

/// Skips every id that may have been assigned since the journal's last event. The later the
/// restore, the more ids are skipped, so that a second restore of the same backup skips those
/// assigned after the first.
pub(super) fn skip_ids(swarm: &Swarm, now: TimeMs) -> Decision {
    let gap_ms = now.since(swarm.at);
    let skip = |last: u64| last.saturating_add(IDS_SKIPPED).saturating_add(gap_ms);
    let LastIds { run, package, attempt, drone } = swarm.last;
    let last = LastIds { run: skip(run), package: skip(package), attempt: skip(attempt), drone: skip(drone) };
    let built = (gap_ms / BUILT_EVERY_MS).min(MOST_BUILD_IDS_SKIPPED);
    let known = swarm.profiles.values().flat_map(|profile| profile.build_ids.values()).max().copied();
    let build_id = known.unwrap_or(0).max(swarm.build_ids_skipped) + BUILD_IDS_SKIPPED;
    let build_id = build_id.saturating_add(u32::try_from(built).unwrap_or(u32::MAX));
    Ok((vec![Event::IdsSkipped { last, build_id }], Reply::Done))
}
