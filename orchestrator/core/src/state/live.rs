//! State known only from heartbeats and claims.

use crate::refusal::CloneSign;
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    id::{AttemptId, DroneId, RunId},
    time::TimeMs,
    wire::drone::{Stuck, Vitals},
};

/// State that is not in the journal: this process knows it only from heartbeats and claims.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Live {
    pub started_at: TimeMs,
    /// When each drone was last heard from.
    pub seen: BTreeMap<DroneId, TimeMs>,
    /// When the last heartbeat of each drone was accepted. A claim, which has no boot id, does not count.
    pub beaten: BTreeMap<DroneId, TimeMs>,
    /// Load and free resources of each drone's machine.
    pub vitals: BTreeMap<DroneId, Vitals>,
    /// Finished work that drones cannot deliver to the orchestrator.
    pub stuck: BTreeMap<DroneId, BTreeMap<AttemptId, Stuck>>,
    /// Drones that were set to draining on their own machine.
    pub draining: BTreeSet<DroneId>,
    /// How a rollback of the journal was detected since the start. `None` if none was.
    pub rolled_back: Option<Rollback>,
    /// Drones whose credential another machine used: when that was last refused, and how it was detected.
    pub cloned: BTreeMap<DroneId, (TimeMs, CloneSign)>,
    /// When changed facts or another boot id of a drone were last accepted.
    pub changed: BTreeMap<DroneId, TimeMs>,
    /// When each drone last returned.
    pub returned: BTreeMap<DroneId, TimeMs>,
    /// Since when each drone has been able to work, if later than the start.
    pub ready_since: BTreeMap<DroneId, TimeMs>,
    /// When the lease of each live attempt expires.
    pub leases: BTreeMap<AttemptId, TimeMs>,
    /// Drones that are waiting for work, and until when.
    pub waiting: BTreeMap<DroneId, TimeMs>,
    /// Drones that have just begun or ended an attempt, and when they are expected to have claimed again.
    pub due_back: BTreeMap<DroneId, TimeMs>,
    /// By how many milliseconds recorded times were moved because the clock was set.
    pub set_by_ms: i64,
    /// How long the orchestrator stood still, in milliseconds.
    pub stood_still_ms: u64,
    /// How often each run was reopened.
    pub reopened: BTreeMap<RunId, u32>,
}

/// A rollback of the journal that a drone revealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollback {
    pub drone: DroneId,
    /// The highest attempt that the drone was assigned.
    pub seen: AttemptId,
    /// The last attempt in the journal.
    pub last: AttemptId,
}
