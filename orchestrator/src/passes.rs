//! When each pass last ran and what it did: so that somebody who looks sees that nothing
//! has quietly stopped.
//!
//! A pass says `note("publisher", "3 packages placed")` each time it has run, with `""` if
//! there was nothing to do, and `fail("publisher", why)` if it could not. Nothing is decided
//! by this, and none of it outlives the process.

use crate::engine::Engine;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use swarm_common::{time::TimeMs, wire::view::PassView};
use swarm_core::view::Trouble;
use tokio::task::JoinHandle;

/// What the passes said of themselves.
pub struct Passes {
    engine: Engine,
    rows: Mutex<BTreeMap<&'static str, PassView>>,
    /// Those that a defect ended.
    ended: Mutex<BTreeSet<&'static str>>,
}

impl Passes {
    /// No pass has run yet. The engine gives the time.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, rows: Mutex::default(), ended: Mutex::default() }
    }

    /// Runs a pass until it ends by itself. A defect that ends it is seen in the list.
    pub fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        pass: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let passes = self.clone();
        tokio::spawn(async move {
            if let Err(error) = tokio::spawn(pass).await {
                tracing::error!(name, %error, "a pass broke off");
                passes.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
                passes.fail(name, "a defect ended it");
            }
        })
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

    /// What is wrong with the passes, one line each, but for those in `told`, whose failures
    /// are told elsewhere.
    #[must_use]
    pub fn troubles(&self, told: &[&str]) -> Vec<Trouble> {
        let (rows, ended) = (self.rows(), self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        let failing = rows.values().filter(|row| {
            let name = row.name.as_str();
            !told.contains(&name) || ended.contains(name)
        });
        let line = |row: &PassView| {
            let next = match ended.contains(row.name.as_str()) {
                true => "restart `swarm-orchestrator`; its log has more",
                false => "it is tried again by itself; the orchestrator's log has more",
            };
            Some(Trouble::new(format!("the {} fails: {}", row.name, row.trouble.as_ref()?), next.into()))
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
