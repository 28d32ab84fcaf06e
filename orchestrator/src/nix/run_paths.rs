//! The store paths that an uploaded archive may refer to.
//!
//! In Nix, a path refers to another if its archive contains the other's hash part. Clients install a path
//! together with everything it refers to, so they cannot install it if the swarm cannot serve a reference.

use super::archive::{NarFile, ScanTargets};
use crate::rejection::Rejection;
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    state::PackageState,
    wire::nix::{ContentHash, NixTarget, base_name},
};
use swarm_core::{Swarm, state::Job};
use swarm_formats::nix::store_path::{StoreDir, StorePath, StorePathError};

/// The store paths of a run at the time when one of its packages is uploaded.
#[derive(Debug, Clone, Default)]
pub struct RunPaths {
    /// All paths. The value is whether a path may be referred to: it has been received, or the same attempt
    /// must deliver it.
    paths: BTreeMap<StorePath, bool>,
    /// The snapshot, which names the upstream caches.
    pub snapshot: Option<Digest>,
}

impl RunPaths {
    /// The paths that the package built by this attempt may refer to.
    #[must_use]
    pub fn of(swarm: &Swarm, attempt: AttemptId) -> Option<Self> {
        let record = swarm.attempts.get(&attempt)?;
        let Job::Build(own) = record.job else { return None };
        let run = swarm.runs.get(&swarm.packages.get(&own)?.run)?;
        let may_be_named =
            |id| id == own || swarm.packages.get(&id).is_some_and(|p| p.state == PackageState::Received);
        let paths = run.outputs.iter().filter_map(|(name, &id)| Some((name.parse().ok()?, may_be_named(id))));
        Some(Self { paths: paths.collect(), snapshot: Some(run.snapshot) })
    }

    /// What to look for in an archive. `mentions` is whether paths in upstream caches matter.
    #[must_use]
    pub fn targets(&self, mentions: bool) -> ScanTargets {
        ScanTargets { paths: self.paths.keys().cloned().collect(), mentions }
    }

    /// Whether the run has a path with this hash part.
    #[must_use]
    pub fn has(&self, hash: &str) -> bool {
        // Paths are sorted by their hash parts.
        let Ok(first) = format!("{hash}-+").parse::<StorePath>() else { return false };
        self.paths.range(first..).next().is_some_and(|(path, _)| path.hash_part() == hash)
    }

    /// Checks that everything an archive refers to has been received.
    ///
    /// # Errors
    /// The first path that was not received.
    pub fn check(&self, references: &BTreeSet<StorePath>) -> Result<(), Rejection> {
        let missing = references.iter().find(|path| self.paths.get(*path) == Some(&false));
        let Some(path) = missing else { return Ok(()) };
        let message = format!("the archive refers to {path}, which the run has not received");
        Err(Rejection { kind: "missing-reference", message })
    }
}

/// The references of an archive that is to become `target`. The content of a source and of most fixed outputs
/// determines their path, so it is verified here instead of trusting the drone.
///
/// # Errors
/// The content belongs to another path.
pub fn references_as(target: &NixTarget, file: &NarFile) -> Result<BTreeSet<StorePath>, Rejection> {
    if target.drv.is_some() && !matches!(target.content_hash, Some(ContentHash::File | ContentHash::Nar)) {
        return Ok(file.references.clone());
    }
    let dir = StoreDir::default();
    let invalid = |error: StorePathError| Rejection { kind: "wrong-path", message: error.to_string() };
    let path: StorePath = base_name(&target.path).parse().map_err(invalid)?;
    let name = path.name();
    let recursive = dir.source_path(name, &file.sum.hash).map_err(invalid)?;
    let flat = file.flat.as_ref().map(|flat| dir.flat_path(name, flat)).transpose().map_err(invalid)?;
    let found = match target.content_hash {
        Some(ContentHash::File) => flat,
        Some(_) => Some(recursive),
        None => {
            let text = file.flat.as_ref().map(|flat| dir.text_path(name, flat, &file.references));
            if text.transpose().map_err(invalid)?.is_some_and(|text| text == path) {
                return Ok(file.references.clone());
            }
            Some(flat.filter(|flat| *flat == path).unwrap_or(recursive))
        }
    };
    match found {
        Some(found) if found == path => Ok(BTreeSet::new()),
        Some(found) => {
            let message = format!("the archive's content has the path {found}, but {path} was asked for");
            Err(Rejection { kind: "wrong-content", message })
        }
        None => {
            let message = format!("{path} must be a single file that is not executable");
            Err(Rejection { kind: "wrong-content", message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_formats::nix::nar::NarSum;

    fn path(digit: char) -> StorePath {
        format!("{}-x", digit.to_string().repeat(32)).parse().unwrap()
    }

    fn file(flat: Option<Digest>, references: &[char]) -> NarFile {
        NarFile {
            read: Digest::of(b""),
            hash: sha2::Digest::new(),
            size: 0,
            sum: NarSum { hash: Digest::of(b"nar"), size: 3 },
            flat,
            references: references.iter().map(|&digit| path(digit)).collect(),
            mentions: BTreeSet::new(),
            listing: None,
        }
    }

    fn source(path: &StorePath) -> NixTarget {
        NixTarget {
            name: "x".to_owned(),
            drv: None,
            output: "source".to_owned(),
            path: format!("/nix/store/{path}"),
            content_hash: None,
        }
    }

    #[test]
    fn a_reference_that_was_not_received_is_named() {
        let run_paths = RunPaths { paths: [(path('a'), true), (path('b'), false)].into(), snapshot: None };
        assert!(run_paths.has(path('a').hash_part()) && run_paths.has(path('b').hash_part()));
        assert!(!run_paths.has(path('c').hash_part()) && !run_paths.has("not a hash"));
        run_paths.check(&[path('a')].into()).unwrap();
        let refused = run_paths.check(&[path('a'), path('b')].into()).unwrap_err();
        assert!(refused.kind == "missing-reference" && refused.message.contains(path('b').as_str()));
    }

    #[test]
    fn a_source_is_known_by_its_content_in_each_way_that_nix_has() {
        let (dir, flat) = (StoreDir::default(), Digest::of(b"content"));
        let tree = dir.source_path("x", &Digest::of(b"nar")).unwrap();
        assert!(references_as(&source(&tree), &file(None, &['a'])).unwrap().is_empty());
        let fetched = dir.flat_path("x", &flat).unwrap();
        assert!(references_as(&source(&fetched), &file(Some(flat), &['a'])).unwrap().is_empty());
        let text = dir.text_path("x", &flat, &[path('a')]).unwrap();
        assert_eq!(references_as(&source(&text), &file(Some(flat), &['a'])).unwrap(), [path('a')].into());
        for (target, file) in [
            (&text, file(Some(flat), &[])),
            (&fetched, file(None, &[])),
            (&fetched, file(Some(Digest::of(b"other")), &[])),
            (&path('c'), file(Some(flat), &[])),
        ] {
            assert_eq!(references_as(&source(target), &file).unwrap_err().kind, "wrong-content");
        }
    }

    #[test]
    fn a_fixed_output_is_known_by_the_hash_that_it_is_fixed_by() {
        let (dir, flat) = (StoreDir::default(), Digest::of(b"content"));
        let (tree, fetched) =
            (dir.source_path("x", &Digest::of(b"nar")).unwrap(), dir.flat_path("x", &flat).unwrap());
        let fixed = |path: &StorePath, hash| NixTarget {
            drv: Some(format!("/nix/store/{}.drv", path)),
            content_hash: Some(hash),
            ..source(path)
        };
        let refused = |target: &NixTarget, file: &NarFile| references_as(target, file).err().map(|r| r.kind);
        let other = file(Some(Digest::of(b"other")), &[]);
        for (target, file, verdict) in [
            (fixed(&tree, ContentHash::Nar), file(None, &['a']), None),
            (fixed(&fetched, ContentHash::File), file(Some(flat), &['a']), None),
            // The right bytes, hashed in the other way.
            (fixed(&tree, ContentHash::File), file(Some(flat), &[]), Some("wrong-content")),
            (fixed(&fetched, ContentHash::Nar), file(Some(flat), &[]), Some("wrong-content")),
            // A directory or an executable instead of the file, and other bytes.
            (fixed(&fetched, ContentHash::File), file(None, &[]), Some("wrong-content")),
            (fixed(&fetched, ContentHash::File), other.clone(), Some("wrong-content")),
            (fixed(&path('c'), ContentHash::Nar), other.clone(), Some("wrong-content")),
            (fixed(&path('c'), ContentHash::Other), other, None),
        ] {
            assert_eq!(refused(&target, &file), verdict, "{target:?}");
        }
    }
}
