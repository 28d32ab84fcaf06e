//! Groups quarantined packages that failed alike. A cause that breaks many of them, such as a setting in the
//! snapshot, is fixed once and so reported once.

use crate::{
    eligibility, quarantine,
    state::{Ending, Run, Swarm},
    text,
};
use std::{cmp::Reverse, collections::BTreeMap};
use swarm_common::{id::*, state::*};

/// The minimum number of packages with the same error for which a common cause is likely.
const MANY: usize = 3;

/// Quarantined packages with the same first error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// The error as the build printed it.
    pub error: String,
    pub packages: Vec<PackageId>,
}

impl Alike {
    /// Whether a common cause is likely.
    #[must_use]
    pub fn is_many(&self) -> bool {
        self.packages.len() >= MANY
    }
}

/// What packages that failed alike have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Signature(String),
    /// Every attempt was lost.
    Lost,
    /// Nothing in common with another package, as far as known.
    Own(PackageId),
}

/// The quarantined packages of a run grouped by their last error, the most frequent first.
#[must_use]
pub fn alike(swarm: &Swarm, run: &Run) -> Vec<Alike> {
    let mut alike: BTreeMap<Key, Alike> = BTreeMap::new();
    for &id in &run.packages {
        let Some(package) = swarm.packages.get(&id).filter(|p| p.state == PackageState::Quarantined) else {
            continue;
        };
        // Nothing failed: the package is reported with what the drones lack.
        if package.attempts.is_empty() && eligibility::missing_capability(swarm, run, package).is_some() {
            continue;
        }
        let own = || text::optional_reason(package.reason.as_ref());
        let attempts = package.attempts.iter().rev().filter_map(|attempt| swarm.attempts.get(attempt));
        let last = attempts.clone().next();
        let mut failures = attempts.filter_map(|attempt| {
            let ending = attempt.ending.as_ref()?;
            let error = match ending {
                Ending::Failed(failure) => failure.headline(),
                _ => own(),
            };
            Some((Key::Signature(ending.signature()?.to_owned()), error))
        });
        let before = || {
            let broken = quarantine::of(swarm, id).filter(|broken| !broken.signature.is_empty())?;
            Some((Key::Signature(broken.signature.clone()), text::reason(&broken.reason)))
        };
        let known = failures.next().or_else(before);
        let is_lost = last.is_some_and(|last| matches!(last.ending, Some(Ending::Lost(_))));
        let other = || (if is_lost { Key::Lost } else { Key::Own(id) }, own());
        let (key, error) = known.unwrap_or_else(other);
        let same = alike.entry(key).or_insert(Alike { error, packages: Vec::new() });
        same.packages.push(id);
    }
    let mut alike: Vec<Alike> = alike.into_values().collect();
    alike.sort_by_key(|same| (Reverse(same.packages.len()), same.packages.first().copied()));
    alike
}
