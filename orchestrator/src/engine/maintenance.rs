//! The engine's own pass: when it last handled the passage of time, and what that changed.

use super::{Engine, Shared};
use std::{collections::BTreeMap, sync::PoisonError};
use swarm_common::{time::TimeMs, wire::view::PassView};
use swarm_core::{Event, Record};

impl Engine {
    /// The engine's own pass; `None` before its first run.
    #[must_use]
    pub fn maintenance(&self) -> Option<PassView> {
        self.shared.maintenance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    /// Notes that the pass ran and produced these records.
    pub(super) fn note_maintenance(&self, now: TimeMs, records: &[Record]) {
        let mut noted = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let before = noted.take();
        let (did, did_at) = match (records, before) {
            ([], None) => (String::new(), None),
            ([], Some(before)) => (before.did, before.did_at),
            (records, _) => (summary(records), Some(now)),
        };
        *noted = Some(PassView { name: "upkeep".into(), last_run: now, did, did_at, trouble: None });
    }
}

/// Counts events by their names in the journal: `2 attempt lost, 1 drone went offline`.
fn summary(records: &[Record]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for record in records {
        *counts.entry(name(&record.event)).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    parts.join(", ")
}

fn name(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap_or_default();
    value["event"].as_str().unwrap_or("event").replace('_', " ")
}
