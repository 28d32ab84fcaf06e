//! Unpacked snapshots, by digest, so that a run is fetched once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use swarm_common::{client::Client, digest::Digest, format::snapshot};
use tokio::sync::Mutex;

/// Snapshots that are kept beside the one in use.
const KEPT: usize = 3;

/// The cache.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
    /// One fetch at a time.
    fetching: Mutex<()>,
}

impl Snapshots {
    /// Opens the cache.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), fetching: Mutex::new(()) })
    }

    /// The directory of a snapshot, fetched if need be.
    ///
    /// # Errors
    /// Why it cannot be had, in one line.
    pub async fn get(&self, client: &Client, digest: Digest) -> Result<PathBuf, String> {
        let _one = self.fetching.lock().await;
        let dir = self.dir.join(digest.to_string());
        if !dir.exists() {
            self.fetch(client, digest, dir.clone()).await?;
        }
        self.touch_and_sweep(&dir);
        Ok(dir)
    }

    async fn fetch(&self, client: &Client, digest: Digest, dir: PathBuf) -> Result<(), String> {
        let archive = self.dir.join(format!("{digest}.tar.zst"));
        let failed = |e: &dyn std::fmt::Display| format!("snapshot {} cannot be had: {e}", digest.short());
        let mut stream = client.snapshot(digest).await.map_err(|e| failed(&e))?;
        let mut file = tokio::fs::File::create(&archive).await.map_err(|e| failed(&e))?;
        while let Some(piece) = stream.next().await.map_err(|e| failed(&e))? {
            tokio::io::AsyncWriteExt::write_all(&mut file, &piece).await.map_err(|e| failed(&e))?;
        }
        let file = file.into_std().await;
        drop(file);
        let unpack = tokio::task::spawn_blocking(move || {
            let unpacked = fs::File::open(&archive)
                .map_err(|e| e.to_string())
                .and_then(|file| snapshot::unpack(file, digest, &dir).map_err(|e| e.to_string()));
            // It served its purpose, or is of no use.
            let _ = fs::remove_file(&archive);
            unpacked
        });
        unpack.await.map_err(|e| failed(&e))?.map(drop).map_err(|e| failed(&e))
    }

    /// Marks a snapshot as used and removes the ones that were not used for longest. What
    /// cannot be removed is tried again next time.
    fn touch_and_sweep(&self, used: &Path) {
        let now = fs::FileTimes::new().set_modified(SystemTime::now());
        if let Ok(dir) = fs::File::open(used) {
            let _ = dir.set_times(now);
        }
        let others = fs::read_dir(&self.dir).into_iter().flatten().flatten().filter(|e| e.path() != used);
        let mut others: Vec<(SystemTime, PathBuf)> = others
            .filter(|e| e.file_name().to_str().is_some_and(|n| n.parse::<Digest>().is_ok()))
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        others.sort();
        let surplus = others.len().saturating_sub(KEPT);
        for (_, path) in others.into_iter().take(surplus) {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, path = %path.display(), "an old snapshot cannot be removed");
            }
        }
    }
}
