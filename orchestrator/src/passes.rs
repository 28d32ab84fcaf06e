//! When each pass last ran and what it did: so that somebody who looks sees that nothing
//! has quietly stopped.
//!
//! A pass says `note("publisher", "3 packages placed")` each time it has run, with `""` if
//! there was nothing to do, and `fail("publisher", why)` if it could not. Nothing is decided
//! by this, and none of it outlives the process.

use crate::engine::Engine;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use swarm_common::{time::TimeMs, wire::view::PassView};
use swarm_core::view::Trouble;

/// What the passes said of themselves.
pub struct Passes {
    engine: Engine,
    rows: Mutex<BTreeMap<&'static str, PassView>>,
}

impl Passes {
    /// No pass has run yet. The engine gives the time.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, rows: Mutex::default() }
    }

    /// A pass has run, and did this, in a few words; empty if there was nothing to do.
    /// What was wrong with it before is over.
    pub fn note(&self, name: &'static str, did: impl Into<String>) {
        let (now, did) = (self.engine.now(), did.into());
        self.change(name, now, |row| {
            row.trouble = None;
            if !did.is_empty() {
                (row.did, row.did_at) = (did, Some(now));
            }
        });
    }

    /// A pass has run and could not do its work, for this reason, in one line.
    pub fn fail(&self, name: &'static str, why: impl Into<String>) {
        let why = why.into();
        self.change(name, self.engine.now(), |row| row.trouble = Some(why));
    }

    /// Every pass that has run, by name.
    #[must_use]
    pub fn list(&self) -> Vec<PassView> {
        let mut rows: Vec<PassView> = self.rows().values().cloned().collect();
        rows.extend(self.engine.upkeep());
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// What is wrong with the passes named in neither of `told`, one line each.
    #[must_use]
    pub fn troubles(&self, told: &[&str]) -> Vec<Trouble> {
        let rows = self.rows();
        let failing = rows.values().filter(|row| !told.contains(&row.name.as_str()));
        let line = |row: &PassView| {
            Some(Trouble {
                what: format!("the {} fails: {}", row.name, row.trouble.as_ref()?),
                next: "it is tried again by itself; the orchestrator's log has more".into(),
            })
        };
        failing.filter_map(line).collect()
    }

    fn change(&self, name: &'static str, now: TimeMs, change: impl FnOnce(&mut PassView)) {
        let mut rows = self.rows();
        let row = rows.entry(name).or_insert_with(|| PassView {
            name: name.to_owned(),
            last_run: now,
            did: String::new(),
            did_at: None,
            trouble: None,
        });
        row.last_run = now;
        change(row);
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<&'static str, PassView>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
