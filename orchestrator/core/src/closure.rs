//! Computes what is installed while a package is built: its build dependencies and their run-time
//! closure. The package's own run-time dependencies are not included.

use crate::{
    channel,
    shared::Shared,
    state::{Package, Run, Swarm},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::PackageId,
    wire::{
        artifact::Artifact,
        base::{Base, Dependency},
        nix::NixInput,
    },
};

/// The artifacts to install in addition to `base` while `package` is built, in dependency order. Artifacts that the base already contains, by digest, are omitted.
#[must_use]
pub fn dependencies(swarm: &Swarm, package: PackageId, base: &Base) -> Vec<Dependency> {
    let in_base: BTreeSet<Digest> = match base {
        Base::Nix => return Vec::new(),
        Base::Host => BTreeSet::new(),
        Base::Image { installed, .. } => installed.iter().map(|d| d.digest).collect(),
    };
    let mut found = Vec::new();
    visit_build(swarm, package, |artifact| {
        if !in_base.contains(&artifact.digest) {
            found.extend(dependency(artifact));
        }
    });
    found
}

/// The store paths that a derivation is built from, in dependency order.
#[must_use]
pub fn inputs(swarm: &Swarm, package: PackageId, base: &Base) -> Vec<NixInput> {
    let mut found = Vec::new();
    if *base == Base::Nix {
        visit_build(swarm, package, |artifact| found.extend(input(artifact)));
    }
    found
}

/// Visits the artifacts of a package's build dependencies and of their run-time closure.
fn visit_build(swarm: &Swarm, package: PackageId, mut installs: impl FnMut(&Artifact)) {
    let Some(target) = swarm.packages.get(&package) else { return };
    let mut seen = BTreeSet::from([package]);
    for &start in &target.build_deps {
        visit(swarm, start, &mut seen, &mut installs);
    }
}

/// The packages of `run` that are built with `needed` installed, in order.
#[must_use]
pub fn built_with(swarm: &Swarm, run: &Run, needed: PackageId) -> Vec<PackageId> {
    let packages = || run.packages.iter().filter_map(|id| Some((*id, swarm.packages.get(id)?)));
    let mut needed_by: BTreeMap<PackageId, Vec<PackageId>> = BTreeMap::new();
    for (id, package) in packages() {
        for dependency in &package.runtime_deps {
            needed_by.entry(*dependency).or_default().push(id);
        }
    }
    // All packages that bring `needed` into a build root.
    let (mut brings, mut todo) = (BTreeSet::from([needed]), vec![needed]);
    while let Some(id) = todo.pop() {
        let dependants = needed_by.get(&id).into_iter().flatten();
        todo.extend(dependants.filter(|&&dependant| brings.insert(dependant)));
    }
    let is_built_with = |package: &Package| package.build_deps.iter().any(|dep| brings.contains(dep));
    packages().filter(|(id, p)| *id != needed && is_built_with(p)).map(|(id, _)| id).collect()
}

/// The artifacts of these packages and of their run-time closure, in dependency order.
#[must_use]
pub fn with_needs(swarm: &Swarm, packages: impl IntoIterator<Item = PackageId>) -> Vec<Dependency> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for package in packages {
        visit(swarm, package, &mut seen, |artifact| found.extend(dependency(artifact)));
    }
    found
}

/// Where the libraries that a package links against can come from, at build time and at run time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkEnvironment {
    /// The sonames provided by the base, by multilib category; empty if unknown.
    pub base: Shared<BTreeMap<String, BTreeSet<String>>>,
    /// Received artifacts of its run-time closure.
    pub runtime: Vec<Artifact>,
    /// Whether `runtime` is complete.
    pub is_whole: bool,
    /// Artifacts installed in addition to the base while it was built.
    pub build: Vec<Artifact>,
}

#[must_use]
pub fn link_environment(swarm: &Swarm, id: PackageId) -> LinkEnvironment {
    let Some(package) = swarm.packages.get(&id) else { return LinkEnvironment::default() };
    let base = swarm.runs.get(&package.run).map(|run| run.base_provides.clone()).unwrap_or_default();
    let artifacts = |starts: &[PackageId]| {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::from([id]));
        for &start in starts {
            visit(swarm, start, &mut seen, |artifact| found.push(artifact.clone()));
        }
        found
    };
    LinkEnvironment {
        base,
        runtime: artifacts(&package.runtime_deps),
        is_whole: channel::lacks(swarm, id).is_empty(),
        build: artifacts(&package.build_deps),
    }
}

/// Whether a package is built beside programs that lack a soname they were linked with.
#[must_use]
pub fn conflicts(swarm: &Swarm, id: PackageId) -> bool {
    if swarm.collisions.is_empty() {
        return false;
    }
    let build = link_environment(swarm, id).build;
    let installed: BTreeSet<Digest> = build.iter().map(|artifact| artifact.digest).collect();
    installed.iter().any(|&digest| swarm.collisions.lacking(digest, &installed).is_some())
}

/// Visits `start` and its run-time closure, dependencies first. Packages that need each other are visited in the
/// order of the plan: the resolver knows which of them are needed for installing the others (RDEPEND) and which only
/// afterwards (PDEPEND).
fn visit(
    swarm: &Swarm,
    start: PackageId,
    seen: &mut BTreeSet<PackageId>,
    mut installs: impl FnMut(&Artifact),
) {
    let is_later = |id: PackageId, package: &Package, dependency: PackageId| {
        let bundle = swarm.packages.get(&dependency).map(|dependency| dependency.bundle);
        dependency > id && bundle == Some(package.bundle)
    };
    // Each entry: a package, and the number of steps done: its dependencies, itself, and those that come later.
    let mut path = Vec::new();
    if seen.insert(start) {
        path.push((start, 0));
    }
    while let Some((id, steps)) = path.last_mut() {
        let Some(package) = swarm.packages.get(id) else {
            path.pop();
            continue;
        };
        let (count, step) = (package.runtime_deps.len(), *steps);
        *steps += 1;
        if step == count {
            package.artifacts.iter().for_each(&mut installs);
        } else if step > 2 * count {
            path.pop();
        } else {
            let dependency = package.runtime_deps[step % (count + 1)];
            if is_later(*id, package, dependency) == (step > count) && seen.insert(dependency) {
                path.push((dependency, 0));
            }
        }
    }
}

/// Describes a Portage package to a drone. `None` for a store path.
#[must_use]
pub fn dependency(artifact: &Artifact) -> Option<Dependency> {
    let target = artifact.target.portage()?;
    Some(Dependency {
        cpv: target.cpv.clone(),
        slot: target.slot.clone(),
        build_id: target.build_id,
        digest: artifact.digest,
        uploaded_digest: artifact.uploaded_digest,
        size: artifact.size,
    })
}

/// Describes a store path to a drone. `None` for a Portage package.
fn input(artifact: &Artifact) -> Option<NixInput> {
    Some(NixInput {
        path: artifact.target.nix()?.path.clone(),
        nar: artifact.nar.as_deref()?.clone(),
        digest: artifact.digest,
        uploaded_digest: artifact.uploaded_digest,
        size: artifact.size,
    })
}
