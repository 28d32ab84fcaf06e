//! Keeps parts of forgotten runs: the records of builds for as long as their artifacts exist, and attempts
//! for a while.

use crate::{
    retention,
    state::{BuildRecord, Swarm},
};
use swarm_common::{id::RunId, time::TimeMs};

impl Swarm {
    /// Keeps the records of what a run built, before the run and its attempts are removed.
    pub(super) fn keep_builds(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let packages = run.packages.iter().filter_map(|id| self.packages.get(id));
        let builds = packages.flat_map(|package| {
            let attempts = package.attempts.iter();
            attempts.filter_map(|id| Some((*id, BuildRecord::of(package, self.attempts.get(id)?)?)))
        });
        self.builds.add(run, builds);
    }

    /// Keeps the attempts at a run's packages, and drops those that are too old.
    pub(super) fn keep_attempts(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        for package in run.packages.iter().filter_map(|id| self.packages.get(id)) {
            for id in &package.attempts {
                if let Some(attempt) = self.attempts.get(id) {
                    self.past.add(run, package, *id, attempt);
                }
            }
        }
        self.past.trim(TimeMs(self.at.0.saturating_sub(self.policy.keep_history_ms)));
    }

    /// Drops the records of builds whose artifacts are all gone.
    pub(super) fn drop_builds(&mut self) {
        if !self.builds.is_empty() {
            let is_kept = retention::builds(self);
            self.builds.retain(is_kept);
        }
    }
}
