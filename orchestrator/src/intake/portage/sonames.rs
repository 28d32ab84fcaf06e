//! Checks that the shared libraries a package was linked with are available when it runs.
//!
//! Portage records the sonames that a package REQUIRES and PROVIDES. In a build root, a library
//! comes from the package itself, from the base, or from a package that the plan installed for the
//! build. In the last case, if the package does not depend on the provider at run time, it breaks
//! on a workstation that does not have the provider.
//!
//! Only certain errors are refused. Nothing is refused while the base's sonames are unknown: on a
//! host that is not Gentoo, no package provides the C library, so any library may come from the
//! host. A soname without a provider is accepted for packages of prebuilt programs, which often
//! contain plugins for absent libraries, and while some run-time dependencies have not been
//! received.

use crate::store::entries::{EntriesError, IndexEntryCache};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::wire::artifact::Artifact;
use swarm_core::closure::LinkEnvironment;
use swarm_formats::portage::sonames::parse;

/// Maximum sonames to list in a message.
const MAX_LISTED: usize = 5;

/// The run-time dependencies of a stored package.
///
/// # Errors
/// It cannot be read.
pub fn runtime_needs(entries: &IndexEntryCache, artifact: &Artifact) -> Result<String, EntriesError> {
    let entry = entries.entry(artifact)?;
    Ok(format!("{} {} ", entry.get("RDEPEND"), entry.get("PDEPEND")))
}

/// The packages (`category/name`) that appear in a dependency string.
pub struct Named(BTreeSet<String>);

impl Named {
    /// Parses dependencies. A name that ends like a version is included with and without that ending.
    pub fn of(dependencies: &str) -> Self {
        let mut names = BTreeSet::new();
        for word in dependencies.split_whitespace() {
            let word = word.trim_start_matches(['<', '>', '=', '~']);
            let atom = word.split([':', '[']).next().unwrap_or_default();
            let is_version = |&(at, _): &(usize, &str)| {
                atom.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            };
            names.extend(
                atom.match_indices('-')
                    .filter(is_version)
                    .filter_map(|(at, _)| atom.get(..at))
                    .map(str::to_owned),
            );
            names.insert(atom.to_owned());
        }
        Self(names)
    }

    pub fn has(&self, cp: &str) -> bool {
        self.0.contains(cp)
    }
}

/// Why packages built by one attempt must be refused, in one line; `None` if they are fine.
///
/// # Errors
/// A stored package cannot be read.
pub fn unprovided(
    entries: &IndexEntryCache,
    arrived: &[Artifact],
    prebuilt: bool,
    around: &LinkEnvironment,
) -> Result<Option<String>, EntriesError> {
    let mut provided = around.base.values().flatten();
    if !provided.any(|soname| soname.starts_with("libc.")) {
        return Ok(None);
    }
    let mut lacking: BTreeMap<(String, String), &Artifact> = BTreeMap::new();
    for artifact in arrived {
        let requires = parse(entries.entry(artifact)?.get("REQUIRES"));
        lacking.extend(requires.into_iter().map(|soname| (soname, artifact)));
    }
    lacking.retain(|(category, soname), _| {
        !around.base.get(category).is_some_and(|provided| provided.contains(soname))
    });
    for provider in arrived.iter().chain(&around.runtime) {
        if lacking.is_empty() {
            return Ok(None);
        }
        for soname in &*entries.provides(provider)? {
            lacking.remove(soname);
        }
    }
    let mut of: BTreeMap<(String, String), &Artifact> = BTreeMap::new();
    for provider in around.build.iter().filter(|_| !lacking.is_empty()) {
        of.extend(entries.provides(provider)?.iter().cloned().map(|soname| (soname, provider)));
    }
    let certain = around.is_whole && !prebuilt;
    lacking.retain(|soname, _| certain || of.contains_key(soname));
    if !lacking.is_empty() {
        // To avoid cycles, a plan may omit an edge for a dependency that the base satisfies.
        let needs = arrived.iter().chain(&around.runtime).map(|artifact| runtime_needs(entries, artifact));
        let needs = Named::of(&needs.collect::<Result<String, _>>()?);
        lacking
            .retain(|soname, _| of.get(soname).is_none_or(|provider| !needs.has(provider.target.family())));
    }
    let Some(user) = lacking.values().next() else { return Ok(None) };
    let names = lacking.keys().take(MAX_LISTED).map(|soname| match of.get(soname) {
        Some(provider) => format!("{} of {}", soname.1, provider.target.title()),
        None => soname.1.clone(),
    });
    let names = names.collect::<Vec<_>>().join(", ");
    let more = lacking.len().saturating_sub(MAX_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(Some(format!(
        "{} is linked with {names}{more}, which neither the base nor its run-time dependencies (RDEPEND) \
         provide",
        user.target.title()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_in_any_version_and_slot_and_no_other_is() {
        for (dependencies, expected) in [
            ("dev-libs/foo", true),
            (">=dev-libs/foo-1.2:0/2=[bar]", true),
            ("|| ( dev-libs/foo:= dev-libs/other )", true),
            ("dev-libs/foo-bar dev-libs/foobar !dev-libs/foo", false),
            ("", false),
        ] {
            assert_eq!(Named::of(dependencies).has("dev-libs/foo"), expected, "{dependencies}");
        }
    }
}
