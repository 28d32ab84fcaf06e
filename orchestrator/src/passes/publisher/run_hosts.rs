//! The binary package hosts from which the drones of a run install. Only Portage needs them.

use super::{error::DiskPassError, todo::RunTodo};
use crate::{
    publish::{Binhost, Binhosts, Generations, portage},
    store::{ArtifactStore, entries::IndexEntryCache},
};
use std::{collections::BTreeMap, sync::Arc};
use swarm_common::id::RunId;

pub(super) struct RunHosts {
    binhosts: Binhosts,
    store: Arc<dyn ArtifactStore>,
    entries: IndexEntryCache,
    open: BTreeMap<RunId, Binhost>,
}

impl RunHosts {
    pub(super) fn new(binhosts: Binhosts, store: Arc<dyn ArtifactStore>, entries: IndexEntryCache) -> Self {
        Self { binhosts, store, entries, open: BTreeMap::new() }
    }

    /// Publishes what is missing for a run.
    pub(super) fn publish(&mut self, now: u64, todo: &RunTodo) -> Result<(), DiskPassError> {
        let RunTodo { run, profile, artifacts, .. } = todo;
        let failed = |source| DiskPassError::Publish { profile: profile.clone(), source };
        let new = portage::published(&self.entries, artifacts).map_err(failed)?;
        let published = match self.open.get_mut(run) {
            Some(binhost) => binhost.add(now, &new, &*self.store),
            // The files may be from an earlier process, so compare them with the complete set.
            None => {
                let dir = self.binhosts.run(profile, *run);
                let mut binhost = Binhost::open(dir, Generations::CurrentOnly, BTreeMap::new())?;
                let published = binhost.publish(now, &new, &*self.store);
                if published.is_ok() {
                    self.open.insert(*run, binhost);
                }
                published
            }
        };
        DiskPassError::if_any_missing(profile, &published.map_err(failed)?.missing)
    }

    /// Forgets a run that has ended.
    pub(super) fn close(&mut self, run: RunId) {
        self.open.remove(&run);
    }
}
