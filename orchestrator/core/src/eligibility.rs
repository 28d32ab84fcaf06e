//! Which drones can build what. The base of the run decides first ([`Drone::builds_for`]). A derivation also
//! needs a machine of its system with the features that it requires.

use crate::state::{Drone, Package, Run, Swarm};
use std::collections::BTreeMap;
use swarm_common::{id::*, wire::base::Base};

/// What the drones of a profile lack to build a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingCapability {
    /// The system that the package is for; empty if every system builds it.
    pub system: String,
    /// The features that the best-equipped drone of that system lacks. Empty if no drone is of that system.
    pub features: Vec<String>,
}

impl Drone {
    /// Whether the drone supports the run's profile and base, and its processor can run what is built.
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

    /// What the drone's processor lacks for the programs of a run, such as `x86-64-v3`. Empty if the
    /// processor is unknown.
    #[must_use]
    pub fn cpu_lacks(&self, run: &Run) -> Vec<String> {
        self.facts.cpu.as_ref().map(|cpu| run.cpu.lacking(cpu)).unwrap_or_default()
    }

    /// The first part of the drone's toolchain that differs from the toolchain of the run's plan: the name of
    /// the part, the run's version, and the drone's. `None` unless the run is built in the drones' own
    /// systems.
    #[must_use]
    pub fn difference<'a>(&'a self, run: &'a Run) -> Option<(&'static str, &'a str, &'a str)> {
        run.built_with.as_deref()?.difference(self.facts.toolchain.as_deref()?)
    }

    /// Whether the machine has the system and features that a package needs. A drone that does not report its
    /// abilities is assumed to have them.
    #[must_use]
    pub fn is_for(&self, package: &Package) -> bool {
        let (Some(needs), Some(machine)) = (&package.needs, &self.facts.nix_machine) else { return true };
        let is_system = needs.system.is_empty() || machine.systems.contains(&needs.system);
        is_system && needs.features.iter().all(|feature| machine.features.contains(feature))
    }

    #[must_use]
    pub fn builds(&self, run: &Run, package: &Package) -> bool {
        self.builds_for(run) && self.is_for(package)
    }
}

/// What the drones of a run's profile lack for a package, if none of them can build it. Also `None` if the
/// profile has no drone at all, which is reported for the run.
///
/// Drones that are offline or have no room count, because that is temporary.
#[must_use]
pub fn missing_capability(swarm: &Swarm, run: &Run, package: &Package) -> Option<MissingCapability> {
    let needs = package.needs.as_deref()?;
    let mut best: Option<MissingCapability> = None;
    for drone in fleet(swarm, run) {
        let machine = drone.facts.nix_machine.as_deref().filter(|_| !drone.is_for(package))?;
        let is_system = needs.system.is_empty() || machine.systems.contains(&needs.system);
        let lacking =
            needs.features.iter().filter(|feature| is_system && !machine.features.contains(feature));
        let lacking =
            MissingCapability { system: needs.system.clone(), features: lacking.cloned().collect() };
        let rank = |missing: &MissingCapability| (missing.features.is_empty(), missing.features.len());
        if best.as_ref().is_none_or(|best| rank(&lacking) < rank(best)) {
            best = Some(lacking);
        }
    }
    best
}

/// Enrolled drones with Nix that serve the run's profile.
fn fleet<'a>(swarm: &'a Swarm, run: &'a Run) -> impl Iterator<Item = &'a Drone> {
    swarm.drones.values().filter(|drone| {
        drone.approved && drone.lost.is_none() && drone.facts.nix.is_some() && drone.accepts(&run.profile)
    })
}

/// The packages of a run in the given states that no drone of its profile can build, grouped by what is
/// lacking.
#[must_use]
pub(crate) fn missing_capabilities(
    swarm: &Swarm,
    run: &Run,
    ids: impl IntoIterator<Item = PackageId>,
) -> BTreeMap<MissingCapability, Vec<PackageId>> {
    let mut found: BTreeMap<MissingCapability, Vec<PackageId>> = BTreeMap::new();
    let lacks = |id| Some((id, missing_capability(swarm, run, swarm.packages.get(&id)?)?));
    for (id, missing) in ids.into_iter().filter_map(lacks) {
        found.entry(missing).or_default().push(id);
    }
    found
}
