//! Verifies Portage packages with their entries and file lists, and published indexes.

use super::verifier::{Damage, Verifier};
use crate::{
    publish::{Copied, portage::whole},
    store::{
        ArtifactStore, StoreError,
        entries::{EntriesError, IndexEntryCache},
    },
};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use swarm_common::wire::artifact::Artifact;
use swarm_formats::portage::packages_index::Entry;

pub struct Portage {
    store: Arc<dyn ArtifactStore>,
    entries: IndexEntryCache,
}

impl Portage {
    /// Verifies the packages in `store`, and the `entries` made from them.
    #[must_use]
    pub fn new(store: Arc<dyn ArtifactStore>, entries: IndexEntryCache) -> Self {
        Self { store, entries }
    }

    /// Whether this is the entry of a package.
    fn is_of(&self, entry: &Entry, artifact: &Artifact) -> bool {
        self.entries.entry(artifact).is_ok_and(|kept| kept == *entry)
    }

    fn fault(&self, dir: &Path, by_path: &ByPath) -> Option<String> {
        let found = match whole::read(dir) {
            Ok(found) => found,
            Err(error) => return Some(error.to_string()),
        };
        if let Some(file) = found.damaged {
            return Some(format!("{} was modified after it was written", file.display()));
        }
        let index = dir.join("Packages");
        if dir.ends_with("stable") && !index.exists() {
            return Some(format!("{} is missing", index.display()));
        }
        let is_wrong = |entry: &&Entry| match by_path.get(entry.path()) {
            Some(artifacts) => !artifacts.iter().any(|artifact| self.is_of(entry, artifact)),
            None => false,
        };
        let wrong = found.index.entries().find(is_wrong)?;
        Some(format!("{} has a wrong entry for {}", index.display(), wrong.path()))
    }
}

/// Packages by published path. Different profiles may publish different files under one path.
type ByPath<'a> = BTreeMap<String, Vec<&'a Artifact>>;

fn by_path(artifacts: &[Artifact]) -> ByPath<'_> {
    let mut found = ByPath::new();
    for artifact in artifacts {
        found.entry(artifact.path()).or_default().push(artifact);
    }
    found
}

impl Verifier for Portage {
    fn artifact(&self, artifact: &Artifact) -> Result<Option<String>, Damage> {
        let name = artifact.path();
        match self.entries.check(artifact) {
            Ok(differs) => Ok(differs.map(|file| {
                format!("the cached index entry {file} of {name} did not match the package; rebuilt")
            })),
            Err(error) => {
                // The package cannot be read. If its bytes have changed, report that: it explains more than a
                // parser error.
                let error = match self.store.verify(artifact.digest) {
                    Err(damage) => EntriesError::Store(damage),
                    Ok(_) => error,
                };
                let of_disk = matches!(error, EntriesError::Store(StoreError::Disk(_)));
                Err(Damage { name, why: error.to_string(), of_disk })
            }
        }
    }

    fn copies(&self, dirs: &[&Path], artifacts: &[Artifact]) -> Vec<Copied> {
        let by_path = by_path(artifacts);
        let mut found = Vec::new();
        for dir in dirs {
            let Ok(host) = whole::read(dir) else { continue };
            for entry in host.index.entries() {
                let Some(all) = by_path.get(entry.path()) else { continue };
                let Some(artifact) = all.iter().find(|artifact| self.is_of(entry, artifact)) else {
                    continue;
                };
                let path = dir.join(entry.path());
                if matches!(self.store.is_linked(artifact.digest, &path), Ok(false)) {
                    found.push((artifact.digest, artifact.size, path));
                }
            }
        }
        found
    }

    fn faults(&self, dirs: &[&Path], artifacts: &[Artifact]) -> Vec<String> {
        let by_path = by_path(artifacts);
        dirs.iter().filter_map(|dir| self.fault(dir, &by_path)).collect()
    }
}
