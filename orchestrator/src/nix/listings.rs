//! Listings of archives, stored by the hash of the NAR, so that publishing does not unpack every archive
//! again. A missing or damaged listing is made again from the archive.

use super::archive::{self, ScanTargets};
use crate::{
    rejection::ExamineError,
    store::{
        ArtifactStore, StoreError,
        disk::{self, DiskError},
        sealed,
    },
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use swarm_common::{digest::Digest, wire::artifact::Artifact};
use swarm_formats::nix::nar::NarLimits;

#[derive(Clone)]
pub struct Listings {
    dir: PathBuf,
    store: Arc<dyn ArtifactStore>,
}

impl Listings {
    /// Uses `dir`, which is created if needed, for archives in `store`.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(dir: impl Into<PathBuf>, store: Arc<dyn ArtifactStore>) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir, store })
    }

    /// Stores the listing of the NAR with this hash.
    ///
    /// # Errors
    /// The disk fails.
    pub fn put(&self, nar: Digest, text: &str) -> Result<(), DiskError> {
        let path = self.path(nar);
        let temp = tempfile::NamedTempFile::new_in(&self.dir);
        let mut temp = temp.map_err(DiskError::at("make a file in", &self.dir))?;
        temp.write_all(sealed::seal(text).as_bytes()).map_err(DiskError::at("write", &path))?;
        temp.persist(&path).map_err(|error| DiskError::new("rename to", &path, error.error))?;
        Ok(())
    }

    /// The listing of an artifact; `None` if it is too large, or if the archive is damaged, which the audit
    /// reports.
    ///
    /// # Errors
    /// The disk fails.
    pub fn get(&self, artifact: &Artifact) -> Result<Option<String>, StoreError> {
        let Some(nar) = &artifact.nar else { return Ok(None) };
        let kept = fs::read(self.path(nar.hash)).ok();
        // A crash may have truncated the file, or the disk may have changed it.
        if let Some(text) = kept.as_deref().and_then(sealed::open) {
            return Ok(Some(text.to_owned()));
        }
        let file = self.store.read(artifact.digest)?;
        match archive::examine(file, &NarLimits::default(), &ScanTargets::default()) {
            Ok(found) if found.sum.hash == nar.hash => {
                if let Some(text) = &found.listing {
                    self.put(nar.hash, text)?;
                }
                Ok(found.listing)
            }
            Err(ExamineError::Unreadable(error)) => {
                let file = self.store.describe(artifact.digest);
                Err(DiskError::new("read", Path::new(&file), error).into())
            }
            Ok(_) | Err(ExamineError::Rejected(_)) => Ok(None),
        }
    }

    /// Removes listings older than `before` for which `kept` returns false. Returns how many.
    ///
    /// # Errors
    /// The disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        let digest = |name: &str| name.strip_suffix(".ls")?.parse().ok();
        disk::retain(&self.dir, before, |name| digest(name).is_some_and(&kept))
    }

    fn path(&self, nar: Digest) -> PathBuf {
        self.dir.join(format!("{nar}.ls"))
    }
}
