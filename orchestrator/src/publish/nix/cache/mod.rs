//! A Nix binary cache: a directory of static files. No file refers to a missing file.
//!
//! | file | content |
//! |---|---|
//! | `nix-cache-info` | what kind of cache it is |
//! | `HASH.narinfo` | the metadata of a store path, signed |
//! | `nar/DIGEST.nar.zst` | its archive, a link into the store |
//! | `HASH.ls`, `log/DRV` | its listing, and the log of its build |
//! | `ready/HOST` | the newest system of a host whose closure is here |
//! | `lock/DIGEST` | the `flake.lock` that a system was evaluated with |
//!
//! Publishing is level-triggered, as in [`Binhost`](crate::publish::Binhost): archives come first, then narinfos, each
//! after those of its references, then locks and `ready`. The content of a published path never changes, even
//! if a second build of it has other bytes. A [`sweep()`](NixCache::sweep) removes a narinfo before its
//! archive.

mod order;
mod place;
mod sweep;

pub use place::{check, nar_path};

use crate::{
    publish::{
        ChannelOutcome, PublishError,
        generations::{self, seconds_of},
    },
    sign::NixKeys,
    store::{
        ArtifactStore, StoreError,
        disk::{self, DiskError},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{digest::Digest, wire::ready::Ready};
use swarm_formats::nix::{narinfo::NarInfo, store_path::StoreDir};

/// Clients ask caches with a lower number first; cache.nixos.org has 40.
const INFO: &str = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n";
const INFO_NAME: &str = "nix-cache-info";
/// The list of a generation's paths: lines of `HASH-NAME DIGEST`, sorted.
const PATHS: &str = "paths";

/// A store path to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedPath {
    pub info: NarInfo,
    pub digest: Digest,
}

/// Provides optional files that are published beside a path.
pub trait SideFiles {
    /// The listing of the path as JSON, if there is one.
    ///
    /// # Errors
    /// The store fails.
    fn listing(&self, path: &CachedPath) -> Result<Option<String>, StoreError>;

    /// The log of the path's build, if it is kept.
    ///
    /// # Errors
    /// The disk fails.
    fn log(&self, path: &CachedPath) -> Result<Option<Vec<u8>>, DiskError>;

    /// The lock file that a host's system was evaluated with, if it is kept.
    fn lock(&self, ready: &Ready) -> Option<Vec<u8>>;
}

/// The desired content of a cache.
#[derive(Debug, Default)]
pub struct CacheContent {
    /// The store paths. Each reference is among them or is available from another cache.
    pub paths: Vec<CachedPath>,
    /// The system of each host. Generation and closure are filled in later.
    pub hosts: Vec<Ready>,
}

#[derive(Debug)]
pub struct NixCache {
    dir: PathBuf,
    keys: Option<Arc<NixKeys>>,
    store_dir: StoreDir,
    generation: u64,
    /// Number of the generation to be published, if the caller chose one.
    number: Option<u64>,
}

impl NixCache {
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        dir.join(INFO_NAME).exists()
    }

    /// Opens the cache in `dir`, which is created if needed. Without `keys`, paths are not signed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn open(dir: impl Into<PathBuf>, keys: Option<Arc<NixKeys>>) -> Result<Self, DiskError> {
        let dir = dir.into();
        for part in ["nar", "log", "ready", "lock"] {
            disk::make_dirs(&dir.join(part))?;
        }
        let generation = generations::last(&dir)?;
        Ok(Self { dir, keys, store_dir: StoreDir::default(), generation, number: None })
    }

    /// Publishes as generation `number`, even if the content is that of the current generation. If the
    /// current generation already has this number, it is written again if anything differs.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        Self { number: Some(number), ..self }
    }

    fn next(&self) -> u64 {
        self.number.unwrap_or(self.generation + 1)
    }

    /// Number of the current generation; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes the cache contain exactly `content`. A later sweep removes everything else. `now` is in seconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// The disk fails.
    pub fn publish(
        &mut self,
        now: u64,
        content: &CacheContent,
        store: &dyn ArtifactStore,
        side_files: &dyn SideFiles,
    ) -> Result<ChannelOutcome, PublishError> {
        self.write_if_new(INFO_NAME, INFO.as_bytes(), now)?;
        let (published, missing) = self.place_all(now, &content.paths, store, side_files)?;
        let mut hosts = BTreeMap::new();
        for host in &content.hosts {
            if let Some(ready) = self.ready(host, content, &published)? {
                if let Some(lock) = host.lock {
                    let text = || Ok(side_files.lock(host).filter(|text| Digest::of(text) == lock));
                    let written = self.place_small(&lock_path(lock), text, now)?;
                    self.reveal(written)?;
                }
                hosts.insert(host.host.clone(), ready);
            }
        }
        let mut list = String::new();
        for (path, digest) in published.values() {
            list.push_str(&format!("{} {digest}\n", path.path));
        }
        self.switch(now, &list, &hosts)?;
        Ok(ChannelOutcome { generation: self.generation, packages: published.len() as u64, missing })
    }

    /// Writes a new generation if anything differs from the current one.
    fn switch(
        &mut self,
        now: u64,
        list: &str,
        hosts: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), PublishError> {
        let current = generations::path(&self.dir, self.generation);
        let same_list = fs::read(current.join(PATHS)).is_ok_and(|bytes| bytes == list.as_bytes());
        let ready = self.dir.join("ready");
        let there: BTreeSet<String> = names(&ready)?.into_iter().collect();
        let same = |(host, text): (&String, &Vec<u8>)| fs::read(ready.join(host)).is_ok_and(|b| b == *text);
        let same_hosts = there.iter().eq(hosts.keys()) && hosts.iter().all(same);
        if same_list && same_hosts && self.number.is_none_or(|number| number == self.generation) {
            return Ok(());
        }
        let number = self.next();
        // The time of the list is when this generation replaced the one before it.
        let before = seconds_of(&current.join(PATHS)).unwrap_or(0);
        let timestamp = now.max(before + 1);
        let named: Vec<(String, &[u8])> =
            hosts.iter().map(|(host, text)| (format!("ready-{host}"), text.as_slice())).collect();
        let mut files: Vec<(&str, &[u8])> = vec![(PATHS, list.as_bytes())];
        files.extend(named.iter().map(|(name, text)| (name.as_str(), *text)));
        generations::write(&self.dir, number, &files, timestamp)?;
        let pointers: Vec<(&str, &[u8])> =
            hosts.iter().map(|(host, text)| (host.as_str(), text.as_slice())).collect();
        generations::replace(&ready, &pointers, timestamp)?;
        for gone in there.iter().filter(|host| !hosts.contains_key(*host)) {
            disk::remove_file(&ready.join(gone))?;
        }
        disk::sync_dir(&ready)?;
        self.generation = number;
        Ok(())
    }

    /// The signed pointer of a host. Keeps the old pointer if a path of the new closure is missing here.
    fn ready(
        &self,
        host: &Ready,
        content: &CacheContent,
        published: &BTreeMap<String, (NarInfo, Digest)>,
    ) -> Result<Option<Vec<u8>>, PublishError> {
        let old = fs::read(self.dir.join("ready").join(&host.host)).ok();
        let parsed = old.as_ref().and_then(|bytes| serde_json::from_slice::<Ready>(bytes).ok());
        if let Some(same) = parsed.filter(|old| (&old.path, old.run) == (&host.path, host.run)) {
            return self.signed(Ready { channel: host.channel, ..same });
        }
        let Ok(top) = self.store_dir.parse(&host.path) else { return Ok(old) };
        // Paths that are not part of the content are in an upstream cache.
        let is_content = content.paths.iter().any(|path| path.info.path == top);
        if is_content && !published.contains_key(top.hash_part()) {
            return Ok(old);
        }
        let closure = order::closure(top.hash_part(), published);
        let ready = Ready {
            generation: self.next(),
            closure_paths: closure.len() as u64,
            closure_size: closure.iter().map(|info| info.nar.size).sum(),
            missing: Vec::new(),
            ..host.clone()
        };
        self.signed(self.with_source(ready)?)
    }

    /// Gives a pointer without a source the commit and lock file that an earlier generation named for the same
    /// system: the run that knew them may be forgotten when a rollback publishes the system again.
    fn with_source(&self, ready: Ready) -> Result<Ready, DiskError> {
        if ready.commit.is_some() || ready.lock.is_some() {
            return Ok(ready);
        }
        let numbers = generations::numbers(&self.dir)?;
        let pointers = numbers.into_iter().rev().filter_map(|number| {
            let file = generations::path(&self.dir, number).join(format!("ready-{}", ready.host));
            serde_json::from_slice::<Ready>(&fs::read(file).ok()?).ok()
        });
        let mut same = pointers.filter(|old| (&old.path, old.run) == (&ready.path, ready.run));
        let Some(Ready { commit, lock, .. }) = same.next() else { return Ok(ready) };
        Ok(Ready { commit, lock, ..ready })
    }

    /// The file of a pointer, signed with the current keys.
    fn signed(&self, mut ready: Ready) -> Result<Option<Vec<u8>>, PublishError> {
        match &self.keys {
            Some(keys) => keys.sign_ready(&mut ready),
            None => ready.signatures.clear(),
        }
        Ok(Some(serde_json::to_vec(&ready)?))
    }

    /// Writes a small file if it differs from the existing one.
    fn write_if_new(&self, name: &str, bytes: &[u8], now: u64) -> Result<(), DiskError> {
        if fs::read(self.dir.join(name)).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        generations::replace(&self.dir, &[(name, bytes)], now)
    }
}

/// Path of a lock file, relative to the cache's directory.
fn lock_path(digest: Digest) -> String {
    format!("lock/{digest}")
}

/// Names of the files in a directory, without those left by interrupted publications.
fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let entries = fs::read_dir(dir).map_err(DiskError::at("list", dir))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DiskError::at("list", dir))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| !name.ends_with(".new")));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
