//! What is installed while a package is built: its build dependencies, and all that
//! these need at run time. What the package itself needs at run time is not among it.

use crate::{channel, package::Package, run::Run, swarm::Swarm};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::PackageId,
    wire::{
        artifact::Artifact,
        base::{Base, Dependency},
    },
};

/// The artifacts to install beside `base` while `package` is built, each after what it needs
/// at run time (but for those that need each other). What the base has by digest is left
/// out.
#[must_use]
pub fn closure(swarm: &Swarm, package: PackageId, base: &Base) -> Vec<Dependency> {
    let Some(target) = swarm.packages.get(&package) else { return Vec::new() };
    let in_base: BTreeSet<Digest> = match base {
        Base::Host => BTreeSet::new(),
        Base::Image { installed, .. } => installed.iter().map(|d| d.digest).collect(),
    };
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([package]);
    for &start in &target.build_deps {
        visit(swarm, start, &mut seen, |artifact| {
            if !in_base.contains(&artifact.digest) {
                found.push(dependency(artifact));
            }
        });
    }
    found
}

/// The packages of `run` that have `needed` installed while they are built, in their order.
#[must_use]
pub fn built_with(swarm: &Swarm, run: &Run, needed: PackageId) -> Vec<PackageId> {
    let packages = || run.packages.iter().filter_map(|id| Some((*id, swarm.packages.get(id)?)));
    let mut needed_by: BTreeMap<PackageId, Vec<PackageId>> = BTreeMap::new();
    for (id, package) in packages() {
        for dependency in &package.runtime_deps {
            needed_by.entry(*dependency).or_default().push(id);
        }
    }
    // Whatever comes into a build root together with it.
    let (mut brings, mut todo) = (BTreeSet::from([needed]), vec![needed]);
    while let Some(id) = todo.pop() {
        let dependants = needed_by.get(&id).into_iter().flatten();
        todo.extend(dependants.filter(|&&dependant| brings.insert(dependant)));
    }
    let is_built_with = |package: &Package| package.build_deps.iter().any(|dep| brings.contains(dep));
    packages().filter(|(id, p)| *id != needed && is_built_with(p)).map(|(id, _)| id).collect()
}

/// The artifacts of these packages and of all that they need at run time, each after what it needs
/// (but for those that need each other).
#[must_use]
pub fn with_needs(swarm: &Swarm, packages: impl IntoIterator<Item = PackageId>) -> Vec<Dependency> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for package in packages {
        visit(swarm, package, &mut seen, |artifact| found.push(dependency(artifact)));
    }
    found
}

/// Where the libraries of a package can come from, when it is built and when it runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Surroundings {
    /// The sonames that the base provides, by multilib category; empty if they are not known.
    pub base: BTreeMap<String, BTreeSet<String>>,
    /// What has been received of what it needs at run time.
    pub runtime: Vec<Artifact>,
    /// That is all of it.
    pub is_whole: bool,
    /// What was installed beside the base while it was built.
    pub build: Vec<Artifact>,
}

/// The surroundings of a package.
#[must_use]
pub fn surroundings(swarm: &Swarm, id: PackageId) -> Surroundings {
    let Some(package) = swarm.packages.get(&id) else { return Surroundings::default() };
    let base = swarm.runs.get(&package.run).map(|run| run.base_provides.clone()).unwrap_or_default();
    let artifacts = |starts: &[PackageId]| {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::from([id]));
        for &start in starts {
            visit(swarm, start, &mut seen, |artifact| found.push(artifact.clone()));
        }
        found
    };
    Surroundings {
        base,
        runtime: artifacts(&package.runtime_deps),
        is_whole: channel::lacks(swarm, id).is_empty(),
        build: artifacts(&package.build_deps),
    }
}

/// Visits `start` and what it needs at run time, the needed first.
fn visit(
    swarm: &Swarm,
    start: PackageId,
    seen: &mut BTreeSet<PackageId>,
    mut installs: impl FnMut(&Artifact),
) {
    // Each entry is a package and how many of its dependencies were looked at.
    let mut path = Vec::new();
    if seen.insert(start) {
        path.push((start, 0));
    }
    while let Some((id, next)) = path.last_mut() {
        let Some(package) = swarm.packages.get(id) else {
            path.pop();
            continue;
        };
        match package.runtime_deps.get(*next) {
            Some(&dependency) => {
                *next += 1;
                if seen.insert(dependency) {
                    path.push((dependency, 0));
                }
            }
            None => {
                package.artifacts.iter().for_each(&mut installs);
                path.pop();
            }
        }
    }
}

/// The artifact as a drone is told of it.
#[must_use]
pub fn dependency(artifact: &Artifact) -> Dependency {
    let target = &artifact.target;
    Dependency {
        cpv: target.cpv.clone(),
        slot: target.slot.clone(),
        build_id: target.build_id,
        digest: artifact.digest,
        uploaded_digest: artifact.uploaded_digest,
        size: artifact.size,
    }
}
