//! The keys of a swarm's journal. The name stands in braces, so that a Redis Cluster keeps
//! them together. docs/handbook.md lists them.

use swarm_common::state::PackageState;

/// The format this version writes.
pub(super) const FORMAT: u32 = 1;

/// The keys of one swarm.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The format, as a number.
    pub(super) format: String,
    /// Who leads: a random id and an address. Lapses by itself.
    pub(super) lock: String,
    /// How often somebody began to lead.
    pub(super) fence: String,
    /// The events, a stream with ids `SEQ-0`.
    pub(super) events: String,
    /// Up to which event all is acknowledged, which a standby may know.
    pub(super) acked: String,
    /// Snapshots, a hash from the number of their event.
    pub(super) snapshots: String,
    /// Packages of the runs under way, a set for each state.
    pub(super) queue: Vec<String>,
}

impl Keys {
    /// The keys of this swarm.
    pub(super) fn of(swarm: &str) -> Self {
        let key = |name: &str| format!("{{{swarm}}}:{name}");
        Self {
            format: key("format"),
            lock: key("lock"),
            fence: key("fence"),
            events: key("events"),
            acked: key("acked"),
            snapshots: key("snapshots"),
            queue: PackageState::ALL.iter().map(|state| key(&format!("queue:{state}"))).collect(),
        }
    }
}

/// A state's place among the sets, counted from 1; 0 for none.
pub(super) fn place(state: Option<PackageState>) -> usize {
    let at = |state| PackageState::ALL.iter().position(|s| *s == state).map_or(0, |at| at + 1);
    state.map_or(0, at)
}
