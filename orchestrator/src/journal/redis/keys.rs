//! The Redis keys of a swarm's journal. The swarm's name is in braces, so that Redis Cluster keeps all keys
//! in one slot. docs/handbook.md lists them.

use swarm_common::state::PackageState;

/// The format that this version writes.
pub(super) const FORMAT: u32 = 1;

#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) format: String,
    /// The leader's random id and address. Expires.
    pub(super) lock: String,
    /// Fencing token: how many times an orchestrator has become the leader.
    pub(super) fence: String,
    /// The events: a stream with ids `SEQ-0`.
    pub(super) events: String,
    /// The last acknowledged event, up to which standbys may read.
    pub(super) acked: String,
    /// Checkpoints: a hash keyed by event number. The key's name is that of the first version.
    pub(super) checkpoints: String,
    /// Packages of open runs: one set per state.
    pub(super) queue: Vec<String>,
}

impl Keys {
    pub(super) fn of(swarm: &str) -> Self {
        let key = |name: &str| format!("{{{swarm}}}:{name}");
        Self {
            format: key("format"),
            lock: key("lock"),
            fence: key("fence"),
            events: key("events"),
            acked: key("acked"),
            checkpoints: key("snapshots"),
            queue: PackageState::ALL.iter().map(|state| key(&format!("queue:{state}"))).collect(),
        }
    }
}

/// The index of a state's set, counted from 1; 0 means no state.
pub(super) fn queue_index(state: Option<PackageState>) -> usize {
    let at = |state| PackageState::ALL.iter().position(|s| *s == state).map_or(0, |at| at + 1);
    state.map_or(0, at)
}
