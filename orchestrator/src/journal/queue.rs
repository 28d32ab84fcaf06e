//! Which packages changed their state: what a journal that shows the queue to people
//! outside (`redis-cli`) keeps up to date beside the events. It is for looking only;
//! nobody reads it back.

use std::collections::BTreeMap;
use swarm_common::{id::PackageId, state::PackageState};
use swarm_core::Swarm;

/// Packages that changed their state with a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// What was shown before is not known: begin with nothing.
    pub anew: bool,
    /// Each package, from where and to where; `None` is out of the queue.
    pub moved: Vec<(String, Option<PackageState>, Option<PackageState>)>,
}

/// What was shown last.
#[derive(Debug, Default)]
pub struct Shown(Option<BTreeMap<PackageId, (String, PackageState)>>);

impl Shown {
    /// What to change so that the packages of the runs under way are shown as they are.
    pub fn moves(&mut self, swarm: &Swarm) -> Moves {
        let anew = self.0.is_none();
        let shown = self.0.get_or_insert_default();
        let mut moved = Vec::new();
        let is_open = |run| swarm.runs.get(run).is_some_and(|run| !run.state.is_over());
        shown.retain(|id, (title, state)| {
            let stays = swarm.packages.get(id).is_some_and(|package| is_open(&package.run));
            if !stays {
                moved.push((std::mem::take(title), Some(*state), None));
            }
            stays
        });
        for (&id, package) in swarm.packages.iter().filter(|(_, package)| is_open(&package.run)) {
            match shown.get_mut(&id) {
                Some((_, state)) if *state == package.state => {}
                Some((title, state)) => {
                    let from = std::mem::replace(state, package.state);
                    moved.push((title.clone(), Some(from), Some(package.state)));
                }
                None => {
                    let title = format!("{id} {}", package.title());
                    moved.push((title.clone(), None, Some(package.state)));
                    shown.insert(id, (title, package.state));
                }
            }
        }
        Moves { anew, moved }
    }
}
