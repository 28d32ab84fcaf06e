//! Cache of the files that builds depend on, by digest: Portage packages and Nix archives.
//!
//! A file's digest is checked when it is downloaded, and before its first use after a restart. Packages built
//! on this drone are cached under the digest of the upload, so they are never downloaded.

use crate::download::is_tried_again;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::SystemTime,
};
use swarm_client::{Client, ClientError, Patience};
use swarm_common::{
    digest::Digest,
    wire::{base::Dependency, nix::NixInput},
};
use tokio::{io::AsyncWriteExt as _, sync::Mutex};

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The orchestrator did not deliver it.
    #[error("cannot download {title} ({}): {source}", digest.short())]
    Remote {
        /// What the file is, for messages.
        title: String,
        digest: Digest,
        source: ClientError,
    },
    /// The downloaded file has another digest.
    #[error("{title}: requested {}, received {}", asked.short(), came.short())]
    Other {
        /// What the file is, for messages.
        title: String,
        asked: Digest,
        /// The digest of the received file.
        came: Digest,
    },
    #[error("{path}: {source}")]
    Disk { path: PathBuf, source: io::Error },
    /// The file is not cached, and there is no orchestrator to download it from.
    #[error("{0} is not on this drone, and no orchestrator is connected")]
    Alone(String),
}

#[derive(Debug, Clone, Copy)]
pub struct ArtifactRequest<'a> {
    /// What the file is, for messages.
    pub title: &'a str,
    /// Digest of the stored file.
    pub digest: Digest,
    /// Digest of the file as it was uploaded.
    pub uploaded_digest: Digest,
    /// Size of the stored file in bytes.
    pub size: u64,
}

impl<'a> From<&'a Dependency> for ArtifactRequest<'a> {
    fn from(dependency: &'a Dependency) -> Self {
        let &Dependency { digest, uploaded_digest, size, .. } = dependency;
        Self { title: dependency.cpv.as_str(), digest, uploaded_digest, size }
    }
}

impl<'a> From<&'a NixInput> for ArtifactRequest<'a> {
    fn from(input: &'a NixInput) -> Self {
        let &NixInput { digest, uploaded_digest, size, .. } = input;
        Self { title: &input.path, digest, uploaded_digest, size }
    }
}

/// The cache of package files. Clones share it.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
    budget_bytes: u64,
    /// One lock per file, so that concurrent builds download it only once.
    fetching: Arc<StdMutex<BTreeMap<Digest, Arc<Mutex<()>>>>>,
    /// Files whose digest was checked since the start.
    checked: Arc<StdMutex<BTreeSet<Digest>>>,
    /// Total size of all files in bytes, once they have been counted. It may be too high; pruning counts
    /// again.
    total: Arc<StdMutex<Option<u64>>>,
}

impl Artifacts {
    /// Opens the cache and removes unfinished downloads of an earlier start.
    ///
    /// # Errors
    /// The directory cannot be created or read.
    pub fn open(dir: &Path, budget_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()).is_none() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            budget_bytes,
            fetching: Arc::default(),
            checked: Arc::default(),
            total: Arc::default(),
        })
    }

    /// Adds a package that was built here.
    ///
    /// # Errors
    /// The file can be neither linked nor copied.
    pub fn adopt(&self, file: &Path, digest: Digest) -> io::Result<()> {
        let at = self.path(digest);
        if at.exists() {
            return Ok(());
        }
        if fs::hard_link(file, &at).is_err() {
            let partial = at.with_extension("partial");
            fs::copy(file, &partial)?;
            fs::rename(partial, &at)?;
        }
        self.prune(fs::metadata(at).map_or(0, |there| there.len()))
    }

    /// Returns a file, downloading it if necessary.
    ///
    /// # Errors
    /// The file cannot be read or downloaded.
    pub async fn get(
        &self,
        client: Option<&Client>,
        request: &ArtifactRequest<'_>,
    ) -> Result<PathBuf, ArtifactError> {
        if let Some(path) = self.find(request).await? {
            return Ok(path);
        }
        let turn = Arc::clone(self.turns().entry(request.digest).or_default());
        let _turn = turn.lock().await;
        let path = match self.find(request).await {
            Ok(Some(path)) => Ok(path),
            Ok(None) => self.fetch(client, request).await,
            Err(error) => Err(error),
        };
        self.turns().remove(&request.digest);
        path
    }

    /// Finds a cached file and marks it as used. Checks its digest on first use after a start, and removes a
    /// damaged file.
    async fn find(&self, request: &ArtifactRequest<'_>) -> Result<Option<PathBuf>, ArtifactError> {
        for digest in [request.digest, request.uploaded_digest] {
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
                    tracing::warn!(path = %path.display(), "a package file is damaged, downloading it again");
                    self.remove(&path).map_err(disk)?;
                    continue;
                }
                self.checked().insert(digest);
            }
            if let Err(error) = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now())) {
                tracing::debug!(%error, path = %path.display(), "cannot record the last use of a package \
                    file");
            }
            return Ok(Some(path));
        }
        Ok(None)
    }

    async fn fetch(
        &self,
        client: Option<&Client>,
        request: &ArtifactRequest<'_>,
    ) -> Result<PathBuf, ArtifactError> {
        let client = client.ok_or_else(|| ArtifactError::Alone(request.title.to_owned()))?;
        let mut tries = Patience::DOWNLOAD.tries();
        loop {
            let fetched = self.fetch_once(client, request).await;
            if let Err(ArtifactError::Remote { source, .. }) = &fetched
                && is_tried_again(source, &mut tries).await
            {
                continue;
            }
            return fetched;
        }
    }

    async fn fetch_once(
        &self,
        client: &Client,
        request: &ArtifactRequest<'_>,
    ) -> Result<PathBuf, ArtifactError> {
        let (title, digest) = (|| request.title.to_owned(), request.digest);
        let remote = |source| ArtifactError::Remote { title: title(), digest, source };
        let at = self.path(digest);
        let partial = at.with_extension("partial");
        let disk = |source| ArtifactError::Disk { path: partial.clone(), source };
        let mut stream = client.artifact(digest).await.map_err(remote)?;
        let mut file = tokio::fs::File::create(&partial).await.map_err(disk)?;
        let mut hash = Sha256::new();
        let mut left = request.size;
        while let Some(piece) = stream.next().await.map_err(remote)? {
            hash.update(&piece);
            // More than the announced size cannot be right, and the stream might never end.
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
            return Err(ArtifactError::Other { title: title(), asked: digest, came });
        }
        fs::rename(&partial, &at).map_err(disk)?;
        self.prune(request.size).map_err(disk)?;
        Ok(at)
    }

    /// Removes a file that is no longer needed because its layer exists.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let size = fs::metadata(path).map_or(0, |there| there.len());
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(()) => {
                *total = total.map(|total| total.saturating_sub(size));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the least recently used files until the cache fits its budget. `added` is the size of the file
    /// just added.
    fn prune(&self, added: u64) -> io::Result<()> {
        let mut counted = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let after = counted.map(|counted| counted.saturating_add(added));
        if after.is_some_and(|after| after <= self.budget_bytes) {
            *counted = after;
            return Ok(());
        }
        *counted = None;
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
        // Keep the newest file, which was just downloaded.
        files.pop();
        for (_, size, path) in files {
            if total <= self.budget_bytes {
                break;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            total -= size;
        }
        *counted = Some(total);
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
        let request = ArtifactRequest { title: "a/x-1", digest, uploaded_digest: digest, size: 9 };
        let open = || Artifacts::open(&dir.path().join("kept"), 1 << 30).unwrap();
        open().adopt(&file, digest).unwrap();
        fs::remove_file(&file).unwrap();
        let kept = open().get(None, &request).await.unwrap();
        fs::write(&kept, "a packagf").unwrap();
        assert!(matches!(open().get(None, &request).await, Err(ArtifactError::Alone(_))), "it was used");
        assert!(!kept.exists());
    }

    #[test]
    fn the_oldest_files_go_when_the_sum_of_all_exceeds_the_budget_and_what_was_removed_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Artifacts::open(&dir.path().join("kept"), 10).unwrap();
        let mut age = 0..;
        let mut adopt = |text: &str| {
            let (file, digest) = (dir.path().join(text), Digest::of(text.as_bytes()));
            fs::write(&file, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age.next().unwrap());
            fs::File::open(&file).unwrap().set_modified(time).unwrap();
            cache.adopt(&file, digest).unwrap();
            cache.path(digest)
        };
        let (a, b) = (adopt("aaaa"), adopt("bbbb"));
        assert!(a.exists() && b.exists());
        let c = adopt("cccc");
        assert!(!a.exists() && b.exists() && c.exists());
        cache.remove(&c).unwrap();
        let d = adopt("dddd");
        assert!(b.exists() && d.exists(), "8 bytes are within the budget");
        let e = adopt("eeee");
        assert!(!b.exists() && d.exists() && e.exists());
    }
}
