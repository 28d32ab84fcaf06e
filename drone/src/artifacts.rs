//! Package files that builds need, by digest: fetched once, checked once.
//!
//! A file that has a digest for its name was whole when it got it, and is read again before its
//! first use after a start. What this drone built is kept under the digest that it was uploaded
//! with, and so is never fetched.

use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::SystemTime,
};
use swarm_common::{
    client::{Client, ClientError},
    digest::Digest,
    wire::base::Dependency,
};
use tokio::{io::AsyncWriteExt as _, sync::Mutex};

/// Why a package file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The orchestrator did not give it.
    #[error("{cpv} ({}) cannot be fetched: {source}", digest.short())]
    Remote {
        /// Which package.
        cpv: String,
        /// Which file.
        digest: Digest,
        /// Why.
        source: ClientError,
    },
    /// What came is another file.
    #[error("{cpv} was asked for as {}, and {} came", asked.short(), came.short())]
    Other {
        /// Which package.
        cpv: String,
        /// What was asked for.
        asked: Digest,
        /// What came.
        came: Digest,
    },
    /// The disk.
    #[error("{path}: {source}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nobody to ask.
    #[error("{0} is not on this drone, and it is not connected to an orchestrator")]
    Alone(String),
}

/// The cache.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
    budget_bytes: u64,
    /// One fetch of a file at a time.
    fetching: Arc<StdMutex<BTreeMap<Digest, Arc<Mutex<()>>>>>,
    /// Files that were read since the start and are as their names say.
    checked: Arc<StdMutex<BTreeSet<Digest>>>,
}

impl Artifacts {
    /// Opens the cache and removes what an earlier start left unfinished in it.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(dir: &Path, budget_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()).is_none() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { dir: dir.to_owned(), budget_bytes, fetching: Arc::default(), checked: Arc::default() })
    }

    /// Keeps a file that was built here.
    ///
    /// # Errors
    /// It can be neither linked nor copied.
    pub fn adopt(&self, file: &Path, digest: Digest) -> io::Result<()> {
        let at = self.path(digest);
        if at.exists() {
            return Ok(());
        }
        if fs::hard_link(file, &at).is_err() {
            let partial = at.with_extension("partial");
            fs::copy(file, &partial)?;
            fs::rename(partial, at)?;
        }
        self.prune()
    }

    /// The file of a dependency, fetched if need be.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn get(&self, client: Option<&Client>, wanted: &Dependency) -> Result<PathBuf, ArtifactError> {
        if let Some(path) = self.find(wanted).await? {
            return Ok(path);
        }
        let turn = Arc::clone(self.turns().entry(wanted.digest).or_default());
        let _turn = turn.lock().await;
        let path = match self.find(wanted).await {
            Ok(Some(path)) => Ok(path),
            Ok(None) => self.fetch(client, wanted).await,
            Err(error) => Err(error),
        };
        self.turns().remove(&wanted.digest);
        path
    }

    /// A file that is here, and is now used. It is read once after a start; one that is not what its
    /// name says is removed.
    async fn find(&self, wanted: &Dependency) -> Result<Option<PathBuf>, ArtifactError> {
        for digest in [wanted.digest, wanted.uploaded_digest] {
            let path = self.path(digest);
            if !path.exists() {
                continue;
            }
            let disk = |source| ArtifactError::Disk { path: path.clone(), source };
            if !self.checked().contains(&digest) {
                let read = path.clone();
                let read = tokio::task::spawn_blocking(move || Digest::of_all(fs::File::open(read)?)).await;
                let (found, _) = read.map_err(io::Error::other).flatten().map_err(disk)?;
                if found != digest {
                    tracing::warn!(path = %path.display(), "a package file is damaged; it is fetched anew");
                    self.remove(&path).map_err(disk)?;
                    continue;
                }
                self.checked().insert(digest);
            }
            if let Err(error) = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now())) {
                tracing::debug!(%error, path = %path.display(), "a package file's last use is not noted");
            }
            return Ok(Some(path));
        }
        Ok(None)
    }

    async fn fetch(&self, client: Option<&Client>, wanted: &Dependency) -> Result<PathBuf, ArtifactError> {
        let (cpv, digest) = (|| wanted.cpv.to_string(), wanted.digest);
        let remote = |source| ArtifactError::Remote { cpv: cpv(), digest, source };
        let at = self.path(digest);
        let partial = at.with_extension("partial");
        let disk = |source| ArtifactError::Disk { path: partial.clone(), source };
        let client = client.ok_or_else(|| ArtifactError::Alone(cpv()))?;
        let mut stream = client.artifact(digest).await.map_err(remote)?;
        let mut file = tokio::fs::File::create(&partial).await.map_err(disk)?;
        let mut hash = Sha256::new();
        let mut left = wanted.size;
        while let Some(piece) = stream.next().await.map_err(remote)? {
            hash.update(&piece);
            // Of more than was announced nothing can be right, and it could go on for ever.
            left = match left.checked_sub(piece.len() as u64) {
                Some(left) => left,
                None => break,
            };
            file.write_all(&piece).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        let came = Digest(hash.finalize().into());
        if came != digest {
            fs::remove_file(&partial).map_err(disk)?;
            return Err(ArtifactError::Other { cpv: cpv(), asked: digest, came });
        }
        fs::rename(&partial, &at).map_err(disk)?;
        self.prune().map_err(disk)?;
        Ok(at)
    }

    /// Forgets a file whose layer is there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes the files that were not used for longest until the budget holds.
    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let found = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            files.push((found.modified()?, found.len(), entry.path()));
        }
        files.sort_unstable();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        // The newest is what was just asked for.
        files.pop();
        for (_, size, path) in files {
            if total <= self.budget_bytes {
                break;
            }
            self.remove(&path)?;
            total -= size;
        }
        Ok(())
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<Mutex<()>>>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_with_another_byte_is_not_used_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.gpkg.tar");
        fs::write(&file, "a package").unwrap();
        let digest = Digest::of(b"a package");
        let (cpv, slot) = ("a/x-1".parse().unwrap(), "0".into());
        let wanted = Dependency { cpv, slot, build_id: 1, digest, uploaded_digest: digest, size: 9 };
        let open = || Artifacts::open(&dir.path().join("kept"), 1 << 30).unwrap();
        open().adopt(&file, digest).unwrap();
        fs::remove_file(&file).unwrap();
        let kept = open().get(None, &wanted).await.unwrap();
        fs::write(&kept, "a packagf").unwrap();
        assert!(matches!(open().get(None, &wanted).await, Err(ArtifactError::Alone(_))), "it was used");
        assert!(!kept.exists());
    }
}
