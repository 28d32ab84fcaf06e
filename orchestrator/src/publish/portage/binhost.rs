//! A binary package host: a directory with an index that never names a missing file.
//!
//! Publishing is level-triggered: the caller passes the desired set of packages, and this module does what is
//! missing. Files come first and the index last, each by renaming, so a crash between any two steps leaves
//! the old index with all its files, and the next publication completes the work. An unchanged set writes
//! nothing.

use super::whole::{self, Found};
use crate::{
    publish::{
        Generations, PublishError,
        generations::{self, seconds_of},
    },
    store::{
        ArtifactStore, StoreError,
        disk::{self, DiskError},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};
use swarm_common::digest::Digest;
use swarm_formats::{
    archive::digests::FileHasher,
    portage::packages_index::{Entry, PackagesIndex},
};

/// A package to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub digest: Digest,
    /// Its index entry, which contains the path of the published file.
    pub entry: Entry,
}

/// The result of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Number of the current generation; 0 before the first.
    pub generation: u64,
    /// TIMESTAMP of the index in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Whether a new index was written.
    pub changed: bool,
    /// Number of packages added to the index.
    pub added: usize,
    /// Number of packages removed from the index.
    pub removed: usize,
    /// Packages that were omitted because they are not in the store.
    pub missing: Vec<Digest>,
}

/// A binary package host in a directory, for one writer at a time.
#[derive(Debug)]
pub struct Binhost {
    dir: PathBuf,
    keep: Generations,
    index: PackagesIndex,
    generation: u64,
    /// Number of the generation to be written next.
    next: u64,
    /// Whether both index files on disk match `index`.
    written: bool,
}

impl Binhost {
    /// Whether `dir` contains a binary package host, even if its index was removed or not written yet.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        let last = generations::last(dir).unwrap_or(0);
        dir.join("Packages").exists() || generations::path(dir, last).join("Packages").exists()
    }

    /// Opens the channel in `dir`, which is created if needed. `header` contains the profile's values (ARCH,
    /// CHOST, USE ...). Work interrupted by a crash is completed by the next publication.
    ///
    /// # Errors
    /// The disk fails. A damaged index is not an error: it is rewritten.
    pub fn open(
        dir: impl Into<PathBuf>,
        keep: Generations,
        header: BTreeMap<String, String>,
    ) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        let generation = generations::last(&dir)?;
        let Found { mut index, damaged } = whole::read(&dir)?;
        if let Some(file) = &damaged {
            tracing::warn!(file = %file.display(), "a published index was modified, rebuilding it");
        }
        let before = index.header();
        index.set_header(header);
        let timestamp = index.timestamp();
        let dated = |name: &str| seconds_of(&dir.join(name)).is_some_and(|mtime| mtime == timestamp);
        let dated = dated("Packages") && dated("Packages.gz");
        let written = timestamp > 0 && index.header() == before && dated && damaged.is_none();
        Ok(Self { dir, keep, index, generation, next: generation + 1, written })
    }

    /// Publishes as generation `number`, even if the packages are those of the current generation. If the
    /// current generation already has this number, it is written again if anything differs.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        Self { next: number, written: self.written && number == self.generation, ..self }
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The index as last published, or the new one if writing it failed.
    #[must_use]
    pub fn index(&self) -> &PackagesIndex {
        &self.index
    }

    /// Number of the current generation; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes the channel contain exactly `packages`. `now` is in seconds since the Unix epoch. The
    /// index's TIMESTAMP always increases, even if the clock was set back.
    ///
    /// # Errors
    /// A path is invalid for a package, its content would change, or the disk fails.
    pub fn publish(
        &mut self,
        now: u64,
        packages: &[Published],
        store: &dyn ArtifactStore,
    ) -> Result<Outcome, PublishError> {
        let (new, missing) = self.place_all(packages, store)?;
        let mut desired = BTreeMap::new();
        for Published { digest, entry } in packages {
            if !missing.contains(digest) && desired.insert(entry.path(), entry).is_some() {
                return Err(PublishError::Taken(entry.path().to_owned()));
            }
        }
        // An entry with a desired path but another name is damaged.
        let is = |a: &Entry, b: &Entry| (a.cpv(), a.build_id()) == (b.cpv(), b.build_id());
        let gone =
            self.index.entries().filter(|e| desired.get(e.path()).is_none_or(|desired| !is(desired, e)));
        let gone: Vec<Entry> = gone.cloned().collect();
        self.switch(now, new, gone, missing)
    }

    /// Adds packages without checking the existing ones, so the cost depends only on the new packages and on
    /// writing the index. Use this on a channel that [`Binhost::publish`] has published at least once.
    ///
    /// # Errors
    /// See [`Binhost::publish`].
    pub fn add(
        &mut self,
        now: u64,
        packages: &[Published],
        store: &dyn ArtifactStore,
    ) -> Result<Outcome, PublishError> {
        let (new, missing) = self.place_all(packages, store)?;
        let paths: BTreeSet<&str> = new.iter().map(|entry| entry.path()).collect();
        let taken = self.index.entries().find(|entry| paths.contains(entry.path()));
        if let Some(taken) = taken {
            return Err(PublishError::Taken(taken.path().to_owned()));
        }
        self.switch(now, new, Vec::new(), missing)
    }

    /// Places the files. Returns the entries missing from the index, and the digests missing from
    /// the store or damaged there.
    fn place_all<'p>(
        &self,
        packages: &'p [Published],
        store: &dyn ArtifactStore,
    ) -> Result<(Vec<&'p Entry>, Vec<Digest>), PublishError> {
        let (mut new, mut missing, mut touched) = (Vec::new(), Vec::new(), BTreeSet::new());
        for package in packages {
            let entry = &package.entry;
            if !is_package_path(entry.path()) {
                return Err(PublishError::Path(entry.path().to_owned()));
            }
            let is_indexed = self.index.contains(entry);
            if !(is_indexed && self.is_placed(entry)) {
                match self.place(package, store, &mut touched) {
                    // A lost or damaged package must not delay the others.
                    Err(PublishError::Store(
                        StoreError::Absent(digest) | StoreError::Damaged { expected: digest, .. },
                    )) => {
                        missing.push(digest);
                        continue;
                    }
                    other => other?,
                }
            }
            if !is_indexed {
                new.push(entry);
            }
        }
        touched.iter().try_for_each(|dir| disk::sync_dir(dir))?;
        Ok((new, missing))
    }

    /// Updates the index, and writes it if the index on disk differs.
    fn switch(
        &mut self,
        now: u64,
        new: Vec<&Entry>,
        gone: Vec<Entry>,
        missing: Vec<Digest>,
    ) -> Result<Outcome, PublishError> {
        let (added, removed) = (new.len(), gone.len());
        if added + removed > 0 {
            // From here on, the disk is out of date. After a failure, the next call writes again.
            self.written = false;
            gone.iter().for_each(|entry| _ = self.index.remove(entry));
            new.into_iter().for_each(|entry| self.index.insert(entry.clone()));
        }
        let changed = !self.written;
        if changed {
            self.index.set_timestamp(now.max(self.index.timestamp() + 1));
            self.write()?;
        }
        Ok(Outcome {
            generation: self.generation,
            timestamp: self.index.timestamp(),
            changed,
            added,
            removed,
            missing,
        })
    }

    /// Removes generations that were replaced more than `grace_secs` before `now`, and files that
    /// no remaining index names. Returns the number of removed files.
    ///
    /// # Errors
    /// The disk fails; the rest is removed next time.
    pub fn sweep(&mut self, now: u64, grace_secs: u64) -> Result<usize, DiskError> {
        let old_enough = |replaced_at: u64| now.saturating_sub(replaced_at) >= grace_secs;
        let mut named: BTreeSet<String> = self.index.entries().map(|entry| entry.path().to_owned()).collect();
        let numbers = generations::numbers(&self.dir)?;
        for (at, &number) in numbers.iter().enumerate().filter(|(_, number)| **number != self.generation) {
            let replaced_at = match numbers.get(at + 1) {
                Some(&next) => seconds_of(&generations::path(&self.dir, next).join("Packages")).unwrap_or(0),
                None => self.index.timestamp(),
            };
            if old_enough(replaced_at) {
                generations::remove(&self.dir, number)?;
                continue;
            }
            let path = generations::path(&self.dir, number).join("Packages");
            let text = fs::read_to_string(&path).map_err(DiskError::at("read", &path))?;
            match PackagesIndex::parse(&text) {
                Ok(index) => named.extend(index.entries().map(|entry| entry.path().to_owned())),
                // The files of a damaged generation are unknown, so all files stay until it is
                // removed.
                Err(_) => return Ok(0),
            }
        }
        if self.keep == Generations::CurrentOnly && !old_enough(self.index.timestamp()) {
            return Ok(0);
        }
        let mut files = Vec::new();
        walk(&self.dir, &self.dir, 0, &mut files)?;
        files.retain(|path| !named.contains(path));
        for path in &files {
            disk::remove_file(&self.dir.join(path))?;
        }
        Ok(files.len())
    }

    /// Writes both index files, the compressed one last because clients read that one.
    fn write(&mut self) -> Result<(), DiskError> {
        let timestamp = self.index.timestamp();
        let bytes = self.index.to_bytes();
        let gz = self.index.gz().map_err(DiskError::at("compress", &self.dir.join("Packages.gz")))?;
        let files: [(&str, &[u8]); 2] = [("Packages", &bytes), ("Packages.gz", &gz)];
        if self.keep == Generations::Keep {
            generations::write(&self.dir, self.next, &files, timestamp)?;
        }
        generations::replace(&self.dir, &files, timestamp)?;
        self.generation = self.next;
        self.next += 1;
        self.written = true;
        Ok(())
    }

    /// Whether the file exists with the size given in the index.
    fn is_placed(&self, entry: &Entry) -> bool {
        fs::metadata(self.dir.join(entry.path()))
            .is_ok_and(|meta| meta.len().to_string() == entry.get("SIZE"))
    }

    /// Links the stored file to its published path, or copies it where links are impossible.
    fn place(
        &self,
        package: &Published,
        store: &dyn ArtifactStore,
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<(), PublishError> {
        let to = self.dir.join(package.entry.path());
        if store.size(package.digest)?.to_string() != package.entry.get("SIZE") {
            // Either the stored file is truncated, which this call detects, or the entry is wrong.
            store.verify(package.digest)?;
            return Err(PublishError::Entry(package.entry.path().to_owned()));
        }
        if to.exists() {
            if store.is_linked(package.digest, &to)? {
                return Ok(());
            }
            let there = File::open(&to).and_then(FileHasher::read_all).map_err(DiskError::at("read", &to))?;
            if there.sha256 == package.digest {
                return Ok(());
            }
            // Replace a damaged file, but never one that matches the index.
            let mut named = self.index.entries().filter(|entry| entry.path() == package.entry.path());
            if named.any(|entry| entry.get("SHA1") == there.sha1) {
                return Err(PublishError::Taken(package.entry.path().to_owned()));
            }
        }
        let parent = to.parent().unwrap_or(&self.dir);
        for dir in parent.ancestors().take_while(|dir| dir.starts_with(&self.dir)) {
            touched.insert(dir.to_owned());
        }
        disk::make_dirs(parent)?;
        let mtime = package
            .entry
            .get("_mtime_")
            .parse()
            .ok()
            .and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        Ok(store.link(package.digest, &to, mtime)?)
    }
}

/// Collects, by relative path, package files below `dir` and leftovers of interrupted publications.
fn walk(root: &Path, dir: &Path, depth: usize, found: &mut Vec<String>) -> Result<(), DiskError> {
    for entry in fs::read_dir(dir).map_err(DiskError::at("list", dir))? {
        let entry = entry.map_err(DiskError::at("list", dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(DiskError::at("look at", &path))?;
        if kind.is_dir() && depth < 2 && entry.file_name() != "generations" {
            walk(root, &path, depth + 1, found)?;
        } else if kind.is_file() && depth > 0 {
            let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
            found.extend(relative.filter(|path| is_ours(path)).map(str::to_owned));
        }
    }
    Ok(())
}

/// Whether the path has the form `category/name/file` or `category/file` in plain characters, and ends with a
/// package's suffix.
#[must_use]
pub fn is_package_path(path: &str) -> bool {
    let plain_char = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b);
    let plain_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain_char);
    let depth = path.split('/').count();
    let suffix = [".gpkg.tar", ".xpak", ".tbz2"].iter().any(|suffix| path.ends_with(suffix));
    (depth == 2 || depth == 3)
        && suffix
        && path.len() <= 512
        && path.split('/').all(plain_part)
        && !path.starts_with("generations/")
}

fn is_ours(path: &str) -> bool {
    is_package_path(path) || path.ends_with(".new")
}

#[cfg(test)]
mod tests;
