//! What is installed while a package is built: its build dependencies, and all that
//! these need at run time. What the package itself needs at run time is not among it.

use crate::swarm::Swarm;
use std::collections::BTreeSet;
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
