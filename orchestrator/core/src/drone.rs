//! A drone, as the core knows it.

use crate::{
    estimate::{Belief, Evidence},
    heal::Healing,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{
    digest::Digest, id::AttemptId, name::Name, state::DroneState, time::TimeMs, wire::drone::DroneFacts,
};

/// A drone. Its state is not stored but follows from independent facts, so that for
/// instance a draining drone that goes silent and returns is still draining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drone {
    /// What it is called.
    pub name: Name,
    /// Digest of its credential.
    pub credential_hash: Digest,
    /// What its machine is.
    pub facts: DroneFacts,
    /// When it enrolled.
    pub enrolled_at: TimeMs,
    /// An admin lets it work.
    pub approved: bool,
    /// Why it gets nothing more, if so.
    pub draining: Option<String>,
    /// Its pause, if it is in one.
    pub grounded: Option<Grounding>,
    /// Why it counts as silent, if it does.
    pub offline: Option<String>,
    /// Why healing gave it up, if it did.
    pub lost: Option<String>,
    /// Failures since its last success that count against it, and why they do.
    pub strikes: BTreeMap<AttemptId, String>,
    /// When it last delivered something that was accepted.
    pub succeeded_at: TimeMs,
    /// Groundings since its last success; each doubles the next one's length.
    pub groundings: u32,
    /// Learned speed in thousandths: 1000 is average.
    pub speed_permille: u64,
    /// How far healing has climbed for it.
    #[serde(default)]
    pub healing: Healing,
    /// How many times in a row it was much slower (negative) or faster than that.
    pub surprises: i8,
    /// How slow its last result made it look, if that was a surprise; otherwise 0.
    #[serde(default)]
    pub doubt_permille: u64,
    /// Learned cost of setting up a build, in milliseconds.
    pub setup_ms: u64,
    /// Learned time from the end of a build until its result is accepted.
    pub upload_ms: u64,
}

/// A pause after too many strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grounding {
    /// When it ends.
    pub until: TimeMs,
    /// What for.
    pub reason: String,
}

impl Drone {
    /// Where it stands. What keeps it longest from work wins.
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

    /// Where it stands once it is heard: what an admin or the judge said outlives silence.
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

    /// Whether it said goodbye: then it is off because somebody wants it so.
    #[must_use]
    pub fn signed_off(&self) -> bool {
        self.offline.as_deref().is_some_and(|why| why.starts_with("signed off"))
    }

    /// Whether it builds for a profile.
    #[must_use]
    pub fn builds_for(&self, profile: &Name) -> bool {
        self.facts.profiles.is_empty() || self.facts.profiles.contains(profile)
    }

    /// Notes how long work took it that is of so many milliseconds at speed 1.
    pub(crate) fn learn_speed(&mut self, evidence: Evidence, work_ms: u64, took_ms: u64) {
        let belief = Belief {
            permille: self.speed_permille,
            surprises: self.surprises,
            doubt_permille: self.doubt_permille,
        };
        let belief = belief.learn(evidence, work_ms, took_ms);
        self.speed_permille = belief.permille;
        (self.surprises, self.doubt_permille) = (belief.surprises, belief.doubt_permille);
    }

    /// The speed to reckon with: the learned one, or what the last result makes likely.
    #[must_use]
    pub fn likely_permille(&self) -> u64 {
        match self.doubt_permille {
            0 => self.speed_permille,
            doubt => doubt.min(self.speed_permille),
        }
    }

    /// How long work of `work_ms` takes it, without overhead.
    #[must_use]
    pub fn duration_ms(&self, work_ms: u64) -> u64 {
        work_ms.saturating_mul(1000) / self.likely_permille().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drone(bits: u8) -> Drone {
        let set = |n: u8| bits & (1 << n) != 0;
        Drone {
            name: "d".parse().unwrap(),
            credential_hash: Digest::of(b""),
            facts: DroneFacts {
                machine_id: String::new(),
                boot_id: String::new(),
                cores: 1,
                memory_bytes: 1,
                version: String::new(),
                profiles: vec![],
                cpu: None,
                toolchain: None,
            },
            enrolled_at: TimeMs(0),
            approved: set(0),
            draining: set(1).then(String::new),
            grounded: set(2).then(|| Grounding { until: TimeMs(1), reason: String::new() }),
            offline: set(3).then(String::new),
            lost: set(4).then(String::new),
            strikes: BTreeMap::new(),
            succeeded_at: TimeMs(0),
            groundings: 0,
            speed_permille: 1000,
            healing: Healing::default(),
            surprises: 0,
            doubt_permille: 0,
            setup_ms: 0,
            upload_ms: 0,
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
