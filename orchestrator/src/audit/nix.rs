//! Verifies what is kept for Nix: archives and published caches.

use crate::{
    audit::Auditor,
    nix::archive::{self, Sought},
    publish::{
        NixCache,
        cache::{self, Copied},
    },
    store::StoreError,
};
use std::{io::BufReader, path::Path};
use swarm_common::wire::{artifact::Artifact, nix::Nar};
use swarm_formats::nix::nar::NarLimits;

/// Verifies an archive: the digest of the file, and hash and size of the NAR in it. Returns the
/// fault, if any.
pub(super) fn of_artifact(auditor: &Auditor, artifact: &Artifact, nar: &Nar) -> Result<(), String> {
    let found = auditor.store.read(artifact.digest).map_err(|error| match error {
        StoreError::Disk(_) => (error.to_string(), true),
        _ => (error.to_string(), false),
    });
    let found = found.and_then(|file| {
        let reader = BufReader::with_capacity(256 * 1024, file);
        archive::examine(reader, &NarLimits::default(), &Sought::default())
            .map_err(|error| (error.to_string(), false))
    });
    let (error, on_disk) = match found {
        Ok(file) if file.read != artifact.digest => {
            (format!("the file is damaged: its digest is {}", file.read), false)
        }
        Ok(file) if (file.sum.hash, file.sum.size) != (nar.hash, nar.size) => {
            ("its archive is not the received one".to_owned(), false)
        }
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let (path, file) = (artifact.target.id(), auditor.store.describe(artifact.digest));
    let next = match on_disk {
        true => "check that disk".to_owned(),
        false => format!("rebuild it: `swarmctl rebuild {}`", artifact.target.family()),
    };
    Err(format!("{path} in {file}: {error}; {next}"))
}

/// What is wrong with a published cache, and its archives that are copies; `None` if the directory
/// is none.
pub(super) fn of_cache(auditor: &Auditor, dir: &Path) -> Option<(Vec<String>, Vec<Copied>)> {
    if !NixCache::is_in(dir) {
        return None;
    }
    let cache = NixCache::open(dir, auditor.nix_keys.clone());
    let found = cache.and_then(|cache| cache::check(&cache, &*auditor.store));
    Some(found.unwrap_or_else(|error| (vec![error.to_string()], Vec::new())))
}
