//! The numbers of the ladder, and what may be done with each machine. Configuration, not
//! state, as all of [`crate::policy`].

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::name::Name;

const MINUTE: u64 = 60_000;

/// The numbers of the ladder. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealPolicy {
    /// A drone that is offline for this long is probed for the first time.
    pub patience_ms: u64,
    /// Vain tries to reach a machine before it is given up.
    pub probes: u32,
    /// From one vain try to the next; doubles up to `probe_max_ms`.
    pub probe_every_ms: u64,
    /// The longest wait between vain tries.
    pub probe_max_ms: u64,
    /// Restarts of the service before it is killed.
    pub restarts: u32,
    /// After each step a drone has this long to be heard again.
    pub recover_ms: u64,
    /// A step without an outcome is judged again after this long.
    pub step_ms: u64,
    /// A machine that reboots has this long to be back.
    pub reboot_ms: u64,
    /// A drone that was heard again for this long starts at the bottom of the ladder.
    pub calm_ms: u64,
    /// Drones that fall silent within this time of one another do so together.
    pub together_ms: u64,
    /// Restarts and kills of one drone's service within a day.
    pub restarts_per_drone: u32,
    /// Restarts and kills in the whole swarm within an hour.
    pub restarts_per_hour: u32,
    /// Reboots of one drone's machine within a day.
    pub reboots_per_drone: u32,
    /// Reboots in the whole swarm within a day.
    pub reboots_per_day: u32,
    /// The drones whose machines can be reached.
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

/// What may be done with a drone's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Whether it may be rebooted.
    pub reboot: RebootRule,
    /// The configuration keeps it from reboots, whatever an admin says.
    pub protected: bool,
}

/// Whether a machine may be rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RebootRule {
    /// Never.
    #[default]
    Never,
    /// Once an admin has confirmed it.
    Ask,
    /// When nothing else helped.
    Allow,
}
