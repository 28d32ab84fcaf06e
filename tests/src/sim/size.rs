//! How large a world is, which profiles it has, and what their runs plan.

use super::{
    nix,
    plan::{self, Script},
    rng::Rng,
};
use std::collections::BTreeMap;
use swarm_common::name::Name;

/// The size of a world.
#[derive(Debug, Clone)]
pub struct Size {
    /// Number of packages of each run.
    pub packages: u32,
    pub drones: u64,
    /// Number of consecutive runs of a profile.
    pub runs: u32,
    /// Whether the fleet also has a Nix profile of the same size.
    pub both: bool,
    /// Number of further Portage profiles, whose runs are started by hand.
    pub others: u32,
    /// Number of events between two checks of the invariants.
    pub check_every: u64,
}

impl Size {
    /// The profiles whose runs a calendar starts.
    pub(super) fn nightly(&self) -> Vec<Name> {
        std::iter::once(desk()).chain(self.both.then(nix::tools)).collect()
    }

    pub(super) fn by_hand(&self) -> impl Iterator<Item = Name> {
        (0..self.others).map(lab)
    }

    pub(super) fn profiles(&self) -> Vec<Name> {
        self.nightly().into_iter().chain(self.by_hand()).collect()
    }

    /// The plans of each profile's runs. A further profile has the packages of `desk` or about half of them,
    /// so that the runs of both have many build keys in common.
    pub(super) fn scripts(&self, rng: &mut Rng) -> BTreeMap<Name, Vec<Script>> {
        let mut scripts: BTreeMap<Name, Vec<Script>> = BTreeMap::new();
        for version in 0..self.runs {
            let before = rng.clone();
            scripts.entry(desk()).or_default().push(plan::make(rng, self.packages, version));
            let mut draw = before.clone();
            for other in self.by_hand() {
                let packages = if draw.chance(500) { self.packages } else { self.packages.div_ceil(2) };
                // The same random numbers give the same packages.
                let script = plan::make(&mut before.clone(), packages, version);
                scripts.entry(other).or_default().push(script);
            }
        }
        if self.both {
            let derivations = (0..self.runs).map(|version| nix::make(rng, self.packages, version));
            scripts.insert(nix::tools(), derivations.collect());
        }
        scripts
    }
}

pub(super) fn desk() -> Name {
    "desk".parse().unwrap_or_else(|e| unreachable!("{e}"))
}

/// The name of a further profile.
pub(super) fn lab(n: u32) -> Name {
    format!("lab{n}").parse().unwrap_or_else(|e| unreachable!("{e}"))
}
