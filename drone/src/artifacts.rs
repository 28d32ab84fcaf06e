//! Package files that builds need, by digest: fetched once, checked once.
//!
//! A file that has a digest for its name is whole. What this drone built is kept under the
//! digest that it was uploaded with, and so is never fetched.

use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
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
        Ok(Self { dir: dir.to_owned(), budget_bytes, fetching: Arc::default() })
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
        if let Some(path) = self.find(wanted) {
            return Ok(path);
        }
        let turn = Arc::clone(self.turns().entry(wanted.digest).or_default());
        let _turn = turn.lock().await;
        let path = match self.find(wanted) {
            Some(path) => Ok(path),
            None => self.fetch(client, wanted).await,
        };
        self.turns().remove(&wanted.digest);
        path
    }

    /// A file that is here, and is now used.
    fn find(&self, wanted: &Dependency) -> Option<PathBuf> {
        let paths = [wanted.digest, wanted.uploaded_digest].map(|digest| self.path(digest));
        let path = paths.into_iter().find(|path| path.exists())?;
        if let Err(error) = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now())) {
            tracing::debug!(%error, path = %path.display(), "a package file's last use is not noted");
        }
        Some(path)
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

    fn turns(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<Mutex<()>>>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
