//! Keeps the records of builds for as long as their artifacts.

use crate::{
    kept,
    state::{BuildRecord, Swarm},
};
use swarm_common::id::RunId;

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

    /// Drops the records of builds of which no artifact is kept.
    pub(super) fn drop_builds(&mut self) {
        if !self.builds.is_empty() {
            let is_kept = kept::builds(self);
            self.builds.retain(is_kept);
        }
    }
}
