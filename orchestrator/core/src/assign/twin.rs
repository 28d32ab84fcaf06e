//! Packages of several runs with the same build key: one build is enough for all of them.

use super::late::Ongoing;
use crate::state::{Package, Swarm};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::RunId, time::TimeMs};

/// When the results of builds that other runs can reuse are expected to be available, by build key and run,
/// in milliseconds of the swarm's clock.
#[derive(Default)]
pub(super) struct Twins(Option<BTreeMap<(Digest, RunId), u64>>);

impl Twins {
    /// The builds in progress. Empty if only one run is active.
    pub(super) fn new(swarm: &Swarm, ongoing: &[Ongoing]) -> Self {
        let mut active = swarm.runs.values().filter(|run| !run.state.is_over());
        let mut twins = Self(active.nth(1).map(|_| BTreeMap::new()));
        for attempt in ongoing {
            if let Some((_, package)) = attempt.package() {
                twins.note(package, attempt.there_at());
            }
        }
        twins
    }

    /// Notes that the package will be available at this time.
    pub(super) fn note(&mut self, package: &Package, there_at: u64) {
        if let Some(ends) = &mut self.0 {
            let end = ends.entry((package.build_key, package.run)).or_insert(there_at);
            *end = there_at.min(*end);
        }
    }

    /// When another run will have the same package. `None` if no drone builds it for another run, and if
    /// building it again, which would be finished at `finish`, takes less than half as long: the other build
    /// may be on a slow drone, or never end.
    pub(super) fn there_at(&self, package: &Package, now: TimeMs, finish: u64) -> Option<u64> {
        let runs = (package.build_key, RunId(0))..=(package.build_key, RunId(u64::MAX));
        let twins = self.0.as_ref()?.range(runs).filter(|((_, run), _)| *run != package.run);
        let there_at = twins.map(|(_, end)| *end).min()?;
        (there_at.saturating_sub(now.0) <= 2 * finish.saturating_sub(now.0)).then_some(there_at)
    }
}
