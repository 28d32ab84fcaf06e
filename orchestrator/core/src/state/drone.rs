//! The state of a drone.

use super::healing::HealingState;
use crate::{
    estimate::{Evidence, SETUP_MS, SpeedEstimate, UPLOAD_MS, from_cores, stretch_permille},
    legacy,
    reason::Reason,
    record,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    name::Name,
    state::DroneState,
    time::TimeMs,
    wire::{concern::Offline, drone::DroneFacts},
};

/// A drone. Its [`DroneState`] is not stored but derived from independent facts, so that for
/// instance a draining drone that goes silent and returns is still draining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drone {
    pub name: Name,
    pub credential_hash: Digest,
    #[serde(with = "crate::record")]
    pub facts: DroneFacts,
    pub enrolled_at: TimeMs,
    pub approved: bool,
    /// Whether the drone came back after a restore of a journal that did not know it.
    #[serde(default)]
    pub returned: bool,
    /// Why the drone gets no more work. `None` unless it is draining.
    pub draining: Option<Reason>,
    pub grounded: Option<Grounding>,
    /// Why the drone is offline. `None` if it is not.
    #[serde(default, serialize_with = "record::serialize", deserialize_with = "legacy::saved_offline")]
    pub offline: Option<Offline>,
    /// Why healing gave the drone up. `None` if it did not.
    pub lost: Option<Reason>,
    /// Failures since the last success that count against the drone, with reasons.
    pub strikes: BTreeMap<AttemptId, Reason>,
    /// When a result of the drone was last accepted.
    pub succeeded_at: TimeMs,
    /// Number of groundings since the last success. Each doubles the duration of the next.
    pub groundings: u32,
    /// Measured speed in thousandths; 1000 is average.
    pub speed_permille: u64,
    #[serde(default)]
    pub healing: HealingState,
    /// How many results in a row were much slower (negative) or faster (positive) than `speed_permille`.
    pub surprises: i8,
    /// The speed suggested by the last result in thousandths, if that was much slower than expected;
    /// otherwise 0.
    #[serde(default)]
    pub doubt_permille: u64,
    /// Measured time to set up a build, in milliseconds.
    pub setup_ms: u64,
    /// Measured time from the end of a build until its result is accepted, in milliseconds.
    pub upload_ms: u64,
    /// When the number of builds running on the drone last changed.
    #[serde(default)]
    pub shared_since: TimeMs,
    /// Boot ids before the current one, the most recent last.
    #[serde(default)]
    pub former_boots: Vec<String>,
}

/// The maximum number of builds given to a drone at a time, whatever it reports.
const MOST_SLOTS: u32 = 64;

/// Number of earlier boot ids kept per drone.
const BOOTS_KEPT: usize = 8;

/// A period without work after too many strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grounding {
    pub until: TimeMs,
    pub reason: Reason,
}

impl Drone {
    /// A newly enrolled machine.
    pub(crate) fn new(
        at: TimeMs,
        name: Name,
        credential_hash: Digest,
        facts: DroneFacts,
        approved: bool,
    ) -> Self {
        Self {
            name,
            credential_hash,
            enrolled_at: at,
            approved,
            returned: false,
            draining: None,
            grounded: None,
            offline: None,
            lost: None,
            strikes: BTreeMap::new(),
            succeeded_at: TimeMs(0),
            groundings: 0,
            speed_permille: from_cores(facts.cores),
            surprises: 0,
            doubt_permille: 0,
            setup_ms: SETUP_MS,
            upload_ms: UPLOAD_MS,
            shared_since: at,
            former_boots: Vec::new(),
            healing: HealingState::default(),
            facts,
        }
    }

    /// Replaces the facts about the machine and configuration, and scales the speed with the number of cores.
    pub(crate) fn set_facts(&mut self, facts: &DroneFacts) {
        let speed = self.speed_permille.saturating_mul(u64::from(facts.cores.max(1)));
        self.speed_permille = (speed / u64::from(self.facts.cores.max(1))).max(1);
        self.facts = facts.clone();
    }

    /// Records that the machine was restarted, or returned to an earlier boot.
    pub(crate) fn rebooted(&mut self, boot_id: &str) {
        self.former_boots.retain(|former| former != boot_id);
        let before = std::mem::replace(&mut self.facts.boot_id, boot_id.to_owned());
        if !before.is_empty() {
            self.former_boots.push(before);
        }
        let most = self.former_boots.len().saturating_sub(BOOTS_KEPT);
        self.former_boots.drain(..most);
    }

    /// The state derived from all facts. The fact that keeps the drone from work for longest takes
    /// precedence.
    #[must_use]
    pub fn state(&self) -> DroneState {
        if !self.approved {
            DroneState::Pending
        } else if self.lost.is_some() {
            DroneState::Lost
        } else if self.offline.is_some() {
            DroneState::Offline
        } else {
            self.state_when_heard()
        }
    }

    /// The state apart from being offline: what an admin, the judge or healing decided remains when the drone
    /// is heard again.
    #[must_use]
    pub fn state_when_heard(&self) -> DroneState {
        if !self.approved {
            DroneState::Pending
        } else if self.draining.is_some() {
            DroneState::Draining
        } else if self.grounded.is_some() {
            DroneState::Grounded
        } else {
            DroneState::Online
        }
    }

    /// Whether the drone may be given work now or after a grounding.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        self.approved && self.lost.is_none() && self.offline.is_none() && self.draining.is_none()
    }

    /// Whether the drone signed off, so that it is away on purpose.
    #[must_use]
    pub fn signed_off(&self) -> bool {
        matches!(self.offline, Some(Offline::SignedOff(_)))
    }

    /// Whether the drone is configured to build for a profile.
    #[must_use]
    pub fn accepts(&self, profile: &Name) -> bool {
        self.facts.profiles.is_empty() || self.facts.profiles.contains(profile)
    }

    /// Number of builds that the drone may run at a time.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.facts.slots.clamp(1, MOST_SLOTS) as usize
    }

    /// Updates the speed after a build of `work_ms`, in milliseconds at speed 1, that took `took_ms`.
    pub(crate) fn learn_speed(&mut self, evidence: Evidence, work_ms: u64, took_ms: u64) {
        let speed_estimate = SpeedEstimate {
            permille: self.speed_permille,
            surprises: self.surprises,
            doubt_permille: self.doubt_permille,
        };
        let speed_estimate = speed_estimate.learn(evidence, work_ms, took_ms);
        self.speed_permille = speed_estimate.permille;
        (self.surprises, self.doubt_permille) = (speed_estimate.surprises, speed_estimate.doubt_permille);
    }

    /// The speed to calculate with: the measured speed, or the one suggested by a surprising last result.
    #[must_use]
    pub fn likely_permille(&self) -> u64 {
        match self.doubt_permille {
            0 => self.speed_permille,
            doubt => doubt.min(self.speed_permille),
        }
    }

    /// The throughput with all slots busy, in thousandths of an average drone with one build.
    #[must_use]
    pub fn pace_permille(&self) -> u64 {
        let slots = self.slots();
        (self.speed_permille * slots as u64 * 1000 / stretch_permille(slots)).max(1)
    }

    /// How long work of `work_ms` takes the drone, without overheads, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self, work_ms: u64) -> u64 {
        work_ms.saturating_mul(1000) / self.likely_permille().max(1)
    }
}

/// Drones that an admin removed, by the digest of their credential. They distinguish a removed drone from one
/// that the state has never known, as after a restore.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Removed(BTreeMap<Digest, (TimeMs, Name)>);

/// Number of removed drones kept; older ones count as unknown.
const MOST_REMOVED: usize = 1000;

impl Removed {
    pub(crate) fn note(&mut self, at: TimeMs, drone: Drone) {
        self.0.insert(drone.credential_hash, (at, drone.name));
        if self.0.len() > MOST_REMOVED
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (at, _))| *at).map(|(&hash, _)| hash)
        {
            self.0.remove(&oldest);
        }
    }

    /// The name of the drone that had this credential, and when it was removed.
    #[must_use]
    pub fn get(&self, credential_hash: &Digest) -> Option<&(TimeMs, Name)> {
        self.0.get(credential_hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drone(bits: u8) -> Drone {
        let set = |n: u8| bits & (1 << n) != 0;
        let facts = DroneFacts::default();
        Drone {
            draining: set(1).then_some(Reason::DrainedByAdmin),
            grounded: set(2).then_some(Grounding { until: TimeMs(1), reason: Reason::RecordsGone }),
            offline: set(3).then_some(Offline::Silent { ms: 1 }),
            lost: set(4).then_some(Reason::RecordsGone),
            speed_permille: 1000,
            setup_ms: 0,
            ..Drone::new(TimeMs(0), "d".parse().unwrap(), Digest::of(b""), facts, set(0))
        }
    }

    #[test]
    fn only_a_drone_that_nothing_holds_back_is_online() {
        let online: Vec<u8> = (0..32).filter(|&bits| drone(bits).state() == DroneState::Online).collect();
        assert_eq!(online, [1]);
    }

    #[test]
    fn approval_comes_first_and_silence_hides_the_drain() {
        assert_eq!(drone(0b11110).state(), DroneState::Pending);
        assert_eq!(drone(0b11111).state(), DroneState::Lost);
        assert_eq!(drone(0b01111).state(), DroneState::Offline);
        assert_eq!(drone(0b00111).state(), DroneState::Draining);
        assert_eq!(drone(0b00101).state(), DroneState::Grounded);
    }
}
