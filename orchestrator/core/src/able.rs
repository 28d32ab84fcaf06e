//! Which drones can build what. The base of a run decides first ([`Drone::builds_for`]); for a derivation
//! also the system that it is for, and the features that a machine must have for it.

use crate::state::{Drone, Package, Run, Swarm};
use std::collections::BTreeMap;
use swarm_common::{id::*, wire::base::Base};

/// What the drones of a profile lack for a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// The system that it is for; empty if every system builds it.
    pub system: String,
    /// The features that the best of the drones for that system lacks. Empty if none is for that system.
    pub features: Vec<String>,
}

impl Drone {
    /// Whether it builds for a run: it supports the run's profile and base, and its processor runs what is built.
    #[must_use]
    pub fn builds_for(&self, run: &Run) -> bool {
        let at_home = match &run.base {
            Base::Host => self.facts.host && self.facts.lacks.is_empty() && self.difference(run).is_none(),
            Base::Image { image, .. } => self.facts.images.as_ref() == Some(&image.machine),
            Base::Nix => self.facts.nix.is_some(),
        };
        let is_able = self.facts.unusable.is_empty() && self.cpu_lacks(run).is_empty();
        at_home && is_able && self.accepts(&run.profile)
    }

    /// What its processor lacks to run what a run builds, such as `x86-64-v3`. Nothing if it is unknown.
    #[must_use]
    pub fn cpu_lacks(&self, run: &Run) -> Vec<String> {
        self.facts.cpu.as_ref().map(|cpu| run.cpu.lacking(cpu)).unwrap_or_default()
    }

    /// The first part of its toolchain that differs from the toolchain of the run's plan, for runs
    /// built in the drones' own systems: the name of the part, the run's version, and the drone's.
    #[must_use]
    pub fn difference<'a>(&'a self, run: &'a Run) -> Option<(&'static str, &'a str, &'a str)> {
        run.built_with.as_deref()?.difference(self.facts.toolchain.as_deref()?)
    }

    /// Whether its machine is right for a package. A drone that does not report its abilities is assumed to match.
    #[must_use]
    pub fn is_for(&self, package: &Package) -> bool {
        let (Some(needs), Some(machine)) = (&package.needs, &self.facts.nix_machine) else { return true };
        let is_system = needs.system.is_empty() || machine.systems.contains(&needs.system);
        is_system && needs.features.iter().all(|feature| machine.features.contains(feature))
    }

    /// Whether it builds a package of a run.
    #[must_use]
    pub fn builds(&self, run: &Run, package: &Package) -> bool {
        self.builds_for(run) && self.is_for(package)
    }
}

/// What the drones of a run's profile lack for a package, if none of them can build it. `None` as well if
/// the profile has no drone: then that is what the run lacks.
///
/// Drones that are off now or have no room count, since they come back.
#[must_use]
pub fn lack(swarm: &Swarm, run: &Run, package: &Package) -> Option<Lack> {
    let needs = package.needs.as_deref()?;
    let mut best: Option<Lack> = None;
    for drone in fleet(swarm, run) {
        let machine = drone.facts.nix_machine.as_deref().filter(|_| !drone.is_for(package))?;
        let is_system = needs.system.is_empty() || machine.systems.contains(&needs.system);
        let lacking =
            needs.features.iter().filter(|feature| is_system && !machine.features.contains(feature));
        let lacking = Lack { system: needs.system.clone(), features: lacking.cloned().collect() };
        let rank = |lack: &Lack| (lack.features.is_empty(), lack.features.len());
        if best.as_ref().is_none_or(|best| rank(&lacking) < rank(best)) {
            best = Some(lacking);
        }
    }
    best
}

/// Enrolled drones with Nix that are for the run's profile.
fn fleet<'a>(swarm: &'a Swarm, run: &'a Run) -> impl Iterator<Item = &'a Drone> {
    swarm.drones.values().filter(|drone| {
        drone.approved && drone.lost.is_none() && drone.facts.nix.is_some() && drone.accepts(&run.profile)
    })
}

/// The packages of a run in these states that no drone of its profile can build, by what is lacking.
#[must_use]
pub(crate) fn lacking(
    swarm: &Swarm,
    run: &Run,
    ids: impl IntoIterator<Item = PackageId>,
) -> BTreeMap<Lack, Vec<PackageId>> {
    let mut found: BTreeMap<Lack, Vec<PackageId>> = BTreeMap::new();
    let lacks = |id| Some((id, lack(swarm, run, swarm.packages.get(&id)?)?));
    for (id, lack) in ids.into_iter().filter_map(lacks) {
        found.entry(lack).or_default().push(id);
    }
    found
}
