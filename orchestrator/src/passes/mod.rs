//! When each pass last ran and what it did, so that a pass that silently stopped is noticed.
//!
//! After each run, a pass calls `note("publisher", "3 packages placed")`, with `""` if there was
//! nothing to do, or `fail("publisher", why)` if it could not work. The record is only for display
//! and is lost when the process ends.

pub mod calendar;
pub mod checks;
pub mod healer;
pub mod leftovers;
pub mod notify;
pub mod publisher;
pub mod scrub;

use crate::engine::Engine;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use swarm_common::{
    time::TimeMs,
    wire::{concern::ConcernKind, view::PassView},
};
use tokio::task::JoinHandle;

/// The last result of each pass.
pub struct Passes {
    engine: Engine,
    rows: Mutex<BTreeMap<&'static str, PassView>>,
    /// Passes that ended by a panic.
    ended: Mutex<BTreeSet<&'static str>>,
}

impl Passes {
    /// An empty record. The engine provides the time.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, rows: Mutex::default(), ended: Mutex::default() }
    }

    /// Runs a pass as a task. If it panics, the list shows that.
    pub fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        pass: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let passes = self.clone();
        tokio::spawn(async move {
            if let Err(error) = tokio::spawn(pass).await {
                tracing::error!(name, %error, "a background pass panicked");
                passes.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
                passes.fail(name, "it panicked");
            }
        })
    }

    /// Records that a pass ran and what it did, in a few words; empty if there was nothing to do.
    /// Clears an earlier failure.
    pub fn note(&self, name: &'static str, did: impl Into<String>) {
        let (now, did) = (self.engine.now(), did.into());
        self.change(name, now, |row| {
            row.trouble = None;
            if !did.is_empty() {
                (row.did, row.did_at) = (did, Some(now));
            }
        });
    }

    /// Records that a pass ran but could not do its work, with the reason in one line.
    pub fn fail(&self, name: &'static str, why: impl Into<String>) {
        let why = why.into();
        self.change(name, self.engine.now(), |row| row.trouble = Some(why));
    }

    /// Every pass that has run, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<PassView> {
        let mut rows: Vec<PassView> = self.rows().values().cloned().collect();
        rows.extend(self.engine.upkeep());
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// The failing passes, one concern each. A pass in `told` reports its failures elsewhere and is
    /// left out unless it has panicked.
    #[must_use]
    pub fn troubles(&self, told: &[&str]) -> Vec<ConcernKind> {
        let (rows, ended) = (self.rows(), self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        let failing = rows.values().filter(|row| {
            let name = row.name.as_str();
            !told.contains(&name) || ended.contains(name)
        });
        let line = |row: &PassView| {
            let ended = ended.contains(row.name.as_str());
            Some(ConcernKind::PassFails { pass: row.name.clone(), ended, why: row.trouble.clone()? })
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
