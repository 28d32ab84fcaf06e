//! Verifies archives and published caches of Nix.

use super::verifier::{Damage, Verifier};
use crate::{
    nix::archive::{self, ScanTargets},
    publish::{Copied, NixCache, nix::cache},
    sign::NixKeys,
    store::{ArtifactStore, StoreError},
};
use std::{io::BufReader, path::Path, sync::Arc};
use swarm_common::wire::artifact::Artifact;
use swarm_formats::nix::nar::NarLimits;

pub struct Nix {
    store: Arc<dyn ArtifactStore>,
    keys: Option<Arc<NixKeys>>,
}

impl Nix {
    /// Verifies the archives in `store` and caches signed by `keys`; `None` if signing is off.
    #[must_use]
    pub fn new(store: Arc<dyn ArtifactStore>, keys: Option<Arc<NixKeys>>) -> Self {
        Self { store, keys }
    }

    /// The faults of a published cache, and its archives that are copies.
    fn look(&self, dir: &Path) -> (Vec<String>, Vec<Copied>) {
        if !NixCache::is_in(dir) {
            let is_missing = dir.ends_with("stable").then(|| format!("{} is not a Nix cache", dir.display()));
            return (is_missing.into_iter().collect(), Vec::new());
        }
        let cache = NixCache::open(dir, self.keys.clone());
        let found = cache.and_then(|cache| cache::check(&cache, &*self.store));
        found.unwrap_or_else(|error| (vec![error.to_string()], Vec::new()))
    }
}

impl Verifier for Nix {
    /// Verifies the digest of the file, and the hash and size of the NAR inside it.
    fn artifact(&self, artifact: &Artifact) -> Result<Option<String>, Damage> {
        let Some(nar) = &artifact.nar else { return Ok(None) };
        let damage = |why, of_disk| Damage { name: artifact.target.id().to_owned(), why, of_disk };
        let file = self.store.read(artifact.digest);
        let file = file.map_err(|error| damage(error.to_string(), matches!(error, StoreError::Disk(_))))?;
        let reader = BufReader::with_capacity(256 * 1024, file);
        let found = archive::examine(reader, &NarLimits::default(), &ScanTargets::default());
        let found = found.map_err(|error| damage(error.to_string(), false))?;
        if found.read != artifact.digest {
            return Err(damage(format!("the file is damaged: its digest is {}", found.read), false));
        }
        if (found.sum.hash, found.sum.size) != (nar.hash, nar.size) {
            return Err(damage("its archive is not the received one".to_owned(), false));
        }
        Ok(None)
    }

    fn copies(&self, dirs: &[&Path], _: &[Artifact]) -> Vec<Copied> {
        dirs.iter().flat_map(|dir| self.look(dir).1).collect()
    }

    fn faults(&self, dirs: &[&Path], _: &[Artifact]) -> Vec<String> {
        dirs.iter().filter_map(|dir| self.look(dir).0.into_iter().next()).collect()
    }
}
