//! Finds programs that do not start with a version of a library, because it lacks a soname that they were
//! linked with and that other versions in the same sub-slot have.
//!
//! Gentoo rebuilds packages bound to a library (`:=`) when its sub-slot changes. If a library changes its
//! soname without a new sub-slot, or a program is not bound to it, the program keeps its build key.

use super::sonames::{Named, runtime_needs};
use crate::store::entries::{EntriesError, IndexEntryCache};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use swarm_common::wire::{artifact::Artifact, drone::PortageTarget};
use swarm_core::state::{Collision, Conflict};
use swarm_formats::portage::sonames::{Sonames, parse};

/// Sonames to report per pair, and pairs per package. A desktop's most used libraries have some hundred users.
const SONAMES: usize = 3;
const PAIRS: usize = 1000;

/// Identifies versions that replace each other without rebuilding what is bound to them.
fn place(target: &PortageTarget) -> (&str, &str, &str, &str) {
    (target.cpv.cp(), &target.slot, &target.subslot, &target.chost)
}

/// Whether one of `arrived` may lack a soname that `other` has, or need one that another version of `other`
/// provides.
///
/// # Errors
/// An arrived package cannot be read.
pub fn concerns<'a>(
    entries: &'a IndexEntryCache,
    arrived: &'a [Artifact],
) -> Result<impl Fn(&Artifact) -> bool + use<'a>, EntriesError> {
    let needs = arrived.iter().map(|artifact| runtime_needs(entries, artifact));
    let needs = Named::of(&needs.collect::<Result<String, _>>()?);
    Ok(move |other: &Artifact| {
        let Some(theirs) = other.target.portage() else { return false };
        let mut own = arrived.iter().filter_map(|artifact| artifact.target.portage());
        let replaces = own.any(|own| place(own) == place(theirs));
        (replaces && !entries.provides_nothing(other.digest)) || needs.has(theirs.cpv.cp())
    })
}

/// Compares arrived packages with the stored ones that [`concerns`] finds; `all` returns all stored packages,
/// and is called only if a library has lost a soname.
///
/// # Errors
/// An arrived package cannot be read. Other packages that cannot be read are skipped; the publisher reports
/// them.
pub fn find(
    entries: &IndexEntryCache,
    arrived: &[Artifact],
    others: &[Artifact],
    all: impl FnOnce() -> Vec<Artifact>,
) -> Result<Vec<Collision>, EntriesError> {
    let mut found = needed_by(entries, arrived, others)?;
    let mut lost = Vec::new();
    for new in arrived {
        let own = entries.provides(new)?;
        let Some(target) = new.target.portage() else { continue };
        let olds =
            others.iter().filter(|old| old.target.portage().is_some_and(|old| place(old) == place(target)));
        let mut had = Sonames::new();
        olds.for_each(|old| had.extend(provided(entries, old).iter().cloned()));
        let gone: Sonames = had.difference(&own).cloned().collect();
        if !gone.is_empty() {
            lost.push((new, target, gone));
        }
    }
    if lost.is_empty() {
        return Ok(found);
    }
    let all = all();
    for (new, target, mut gone) in lost {
        let is_other = |other: &&Artifact| {
            other.target.portage().is_some_and(|o| o.cpv.cp() != target.cpv.cp() && o.chost == target.chost)
        };
        // The soname may have moved to another package.
        for other in arrived.iter().chain(&all).filter(is_other) {
            provided(entries, other).iter().for_each(|soname| _ = gone.remove(soname));
        }
        for user in all.iter().filter(is_other).filter(|_| !gone.is_empty()) {
            let lacks: Sonames = required(entries, user).intersection(&gone).cloned().collect();
            if lacks.is_empty() {
                continue;
            }
            // One that cannot be read requires nothing, so this one can.
            if Named::of(&runtime_needs(entries, user)?).has(target.cpv.cp()) {
                let conflict = Conflict::Lost { lost: shown(lacks) };
                found.push(Collision { artifacts: [new.digest, user.digest], conflict });
            }
        }
    }
    found.truncate(PAIRS * arrived.len());
    Ok(found)
}

/// The library versions in `others` that lack a soname which arrived packages were linked with.
fn needed_by(
    entries: &IndexEntryCache,
    arrived: &[Artifact],
    others: &[Artifact],
) -> Result<Vec<Collision>, EntriesError> {
    let mut versions: BTreeMap<_, Vec<&Artifact>> = BTreeMap::new();
    for other in others {
        versions.entry(other.target.portage().map(place)).or_default().push(other);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let mut found = Vec::new();
    for user in arrived.iter().filter(|_| !versions.is_empty()) {
        let requires = parse(entries.entry(user)?.get("REQUIRES"));
        let needs = Named::of(&runtime_needs(entries, user)?);
        let own = user.target.portage().map(|target| target.cpv.cp());
        let named = |&(cp, ..): &(&str, &str, &str, &str)| Some(cp) != own && needs.has(cp);
        let libraries: Vec<Vec<(&Artifact, Arc<Sonames>)>> = versions
            .iter()
            .filter(|(place, _)| place.as_ref().is_some_and(named))
            .map(|(_, of)| of.iter().map(|&library| (library, provided(entries, library))).collect())
            .collect();
        for (n, versions) in libraries.iter().enumerate() {
            let elsewhere =
                libraries.iter().enumerate().filter(|(other, _)| *other != n).flat_map(|(_, v)| v);
            let elsewhere: BTreeSet<_> = elsewhere.flat_map(|(_, provides)| &**provides).collect();
            let has = |soname: &_| versions.iter().any(|(_, provides)| provides.contains(soname));
            let required: Sonames = requires
                .iter()
                .filter(|soname| has(soname) && !elsewhere.contains(soname))
                .cloned()
                .collect();
            for (library, provides) in versions {
                let lacks: Sonames = required.difference(provides).cloned().collect();
                if !lacks.is_empty() {
                    let conflict = Conflict::Needs { needs: shown(lacks) };
                    found.push(Collision { artifacts: [user.digest, library.digest], conflict });
                }
            }
        }
    }
    Ok(found)
}

fn provided(entries: &IndexEntryCache, artifact: &Artifact) -> Arc<Sonames> {
    entries.provides(artifact).unwrap_or_else(|error| unreadable(artifact, &error))
}

fn required(entries: &IndexEntryCache, artifact: &Artifact) -> Arc<Sonames> {
    let entry = entries.entry(artifact);
    entry.map_or_else(|error| unreadable(artifact, &error), |entry| parse(entry.get("REQUIRES")).into())
}

fn unreadable(artifact: &Artifact, error: &EntriesError) -> Arc<Sonames> {
    tracing::warn!(digest = %artifact.digest, %error, "cannot determine the sonames of a stored package");
    Arc::default()
}

fn shown(sonames: Sonames) -> Vec<String> {
    sonames.into_iter().take(SONAMES).map(|(_, soname)| soname).collect()
}
