//! The settings of the ladder, and what healing may do with each machine. Configuration, not state,
//! like all of [`crate::policy`].

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::name::Name;

const MINUTE: u64 = 60_000;

/// The settings of the ladder. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealPolicy {
    /// How long a drone is offline before it is first probed.
    pub patience_ms: u64,
    /// Failed attempts to reach a machine before it is given up.
    pub probes: u32,
    /// Delay after a failed attempt to reach a machine; doubles up to `probe_max_ms`.
    pub probe_every_ms: u64,
    /// The longest delay between such attempts.
    pub probe_max_ms: u64,
    /// Restarts of the service before it is killed.
    pub restarts: u32,
    /// How long a drone has to be heard again after a step.
    pub recover_ms: u64,
    /// How long a step may remain without an outcome before it is judged again.
    pub step_ms: u64,
    /// How long a machine has to come back after a reboot.
    pub reboot_ms: u64,
    /// How long a drone must be heard before it starts again at the bottom of the ladder.
    pub calm_ms: u64,
    /// Drones that go silent within this time of one another count as silent together.
    pub together_ms: u64,
    /// Restarts and kills per day of one drone's service.
    pub restarts_per_drone: u32,
    /// Restarts and kills per hour in the whole swarm.
    pub restarts_per_hour: u32,
    /// Reboots per day of one drone's machine.
    pub reboots_per_drone: u32,
    /// Reboots per day in the whole swarm.
    pub reboots_per_day: u32,
    /// Drones whose machines can be reached, by name.
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
    /// Whether it may be rebooted.
    pub reboot: RebootRule,
    /// Protected from reboots by the configuration, which admins cannot override at run time.
    pub protected: bool,
}

/// Whether a machine may be rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RebootRule {
    /// Never.
    #[default]
    Never,
    /// After an admin has confirmed it.
    Ask,
    /// If all gentler steps failed.
    Allow,
}
