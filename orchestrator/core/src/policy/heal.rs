//! The settings of healing, and what healing may do with each machine. Configuration, not state, like all of
//! [`crate::policy`].

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::name::Name;

const MINUTE: u64 = 60_000;

/// The settings of healing. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealPolicy {
    /// How long a drone is offline before it is first probed.
    pub patience_ms: u64,
    /// Number of failed attempts to reach a machine before it is given up.
    pub probes: u32,
    /// Delay after a failed attempt to reach a machine; it doubles up to `probe_max_ms`.
    pub probe_every_ms: u64,
    /// The maximum delay between such attempts.
    pub probe_max_ms: u64,
    /// Number of restarts of the service before it is killed.
    pub restarts: u32,
    /// How long after a step a drone has to be heard again.
    pub recover_ms: u64,
    /// How long a step may remain without an outcome before it times out.
    pub step_ms: u64,
    /// How long after a reboot a machine has to come back.
    pub reboot_ms: u64,
    /// How long a drone must be heard before healing starts again with the first step.
    pub calm_ms: u64,
    /// Drones that go silent within this time of one another count as silent together.
    pub together_ms: u64,
    /// Maximum number of restarts and kills per day of one drone's service.
    pub restarts_per_drone: u32,
    /// Maximum number of restarts and kills per hour in the whole swarm.
    pub restarts_per_hour: u32,
    /// Maximum number of reboots per day of one drone's machine.
    pub reboots_per_drone: u32,
    /// Maximum number of reboots per day in the whole swarm.
    pub reboots_per_day: u32,
    /// What healing may do with each machine that can be reached, by drone name.
    pub reach: BTreeMap<Name, Reach>,
}

impl Default for HealPolicy {
    fn default() -> Self {
        Self {
            patience_ms: MINUTE,
            probes: 5,
            probe_every_ms: MINUTE,
            probe_max_ms: 15 * MINUTE,
            restarts: 2,
            recover_ms: 3 * MINUTE,
            step_ms: 2 * MINUTE,
            reboot_ms: 10 * MINUTE,
            calm_ms: 30 * MINUTE,
            together_ms: 5 * MINUTE,
            restarts_per_drone: 6,
            restarts_per_hour: 10,
            reboots_per_drone: 1,
            reboots_per_day: 3,
            reach: BTreeMap::new(),
        }
    }
}

/// What healing may do with a drone's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    pub reboot: RebootRule,
    /// Whether the configuration protects it from reboots, which admins cannot override at run time.
    pub protected: bool,
}

/// Whether a machine may be rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RebootRule {
    #[default]
    Never,
    /// Once an admin has confirmed it.
    Ask,
    /// Once all gentler steps have failed.
    Allow,
}
