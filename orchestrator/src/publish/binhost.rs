//! One binary package host: a directory with an index that never names a missing file.
//!
//! Publishing is level-triggered: the caller says what should be there, and what is
//! missing is done. Files come first and the index last, each by renaming, so a crash
//! between any two steps leaves the old index with all its files; the next publication
//! finishes the work. An unchanged set writes nothing.

use super::{
    Generations, generations, layout,
    whole::{self, Found},
};
use crate::artifact::{
    disk::{self, DiskError},
    store::{Store, StoreError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};
use swarm_common::{
    digest::Digest,
    format::{
        digests::FileHasher,
        packages_index::{Entry, PackagesIndex},
    },
};

/// A package that should be in the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The stored file.
    pub digest: Digest,
    /// What the index says about it; its path is where the file will lie.
    pub entry: Entry,
}

/// What a publication did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Number of the generation that is current now; 0 before the first.
    pub generation: u64,
    /// TIMESTAMP of the index, in seconds since the epoch.
    pub timestamp: u64,
    /// A new index was written.
    pub changed: bool,
    /// Packages in it that were not there before.
    pub added: usize,
    /// Packages that are no longer in it.
    pub removed: usize,
    /// Packages that were left out because the store does not have them.
    pub missing: Vec<Digest>,
}

/// Why nothing new was published. The old index stands, with all its files.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A package would lie where no package may.
    #[error("`{0}` is no path for a package")]
    Path(String),
    /// An entry speaks of other bytes than the artifact it comes with.
    #[error("the index entry of `{0}` does not belong to its artifact")]
    Entry(String),
    /// A published path would change its bytes, which would break clients that just read
    /// the index.
    #[error("`{0}` is published with other bytes already: build ids must not repeat")]
    Taken(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A binary package host in a directory, for one writer at a time.
#[derive(Debug)]
pub struct Binhost {
    dir: PathBuf,
    keep: Generations,
    index: PackagesIndex,
    generation: u64,
    /// Both index files are on the disk as `index` says.
    written: bool,
}

impl Binhost {
    /// Opens the channel in `dir`, which is made if needed. `header` is what the profile
    /// says (ARCH, CHOST, USE ...). What a crash left half done is seen and done by the
    /// next publication.
    ///
    /// # Errors
    /// If the disk fails. A damaged index is no error: it is written anew.
    pub fn open(
        dir: impl Into<PathBuf>,
        keep: Generations,
        header: BTreeMap<String, String>,
    ) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        let generation = generations::numbers(&dir)?.last().copied().unwrap_or(0);
        let Found { mut index, damaged } = whole::read(&dir)?;
        if let Some(file) = &damaged {
            tracing::warn!(file = %file.display(), "a published index is not as it was written; it is made anew");
        }
        let before = index.header();
        index.set_header(header);
        let timestamp = index.timestamp();
        let dated = |name: &str| seconds_of(&dir.join(name)).is_some_and(|mtime| mtime == timestamp);
        let dated = dated("Packages") && dated("Packages.gz");
        let written = timestamp > 0 && index.header() == before && dated && damaged.is_none();
        Ok(Self { dir, keep, index, generation, written })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The index as it was last published, or will be as soon as the disk lets it.
    #[must_use]
    pub fn index(&self) -> &PackagesIndex {
        &self.index
    }

    /// Number of the current generation; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Replaces the profile's part of the header; the next publication writes it.
    pub fn set_header(&mut self, header: BTreeMap<String, String>) {
        let before = self.index.header();
        self.index.set_header(header);
        self.written &= self.index.header() == before;
    }

    /// Makes the channel hold exactly `packages`. `now` in seconds since the epoch; the
    /// index's TIMESTAMP is later than every one before, even if the clock was set back.
    ///
    /// # Errors
    /// If a path is not one for packages or would change its bytes, or the disk fails.
    pub fn publish(
        &mut self,
        now: u64,
        packages: &[Published],
        store: &Store,
    ) -> Result<Outcome, PublishError> {
        let (new, missing) = self.place_all(packages, store)?;
        let mut wanted = BTreeMap::new();
        for Published { digest, entry } in packages {
            if !missing.contains(digest) && wanted.insert(entry.path(), entry).is_some() {
                return Err(PublishError::Taken(entry.path().to_owned()));
            }
        }
        // A wanted path under another name is a damaged name.
        let is = |a: &Entry, b: &Entry| (a.cpv(), a.build_id()) == (b.cpv(), b.build_id());
        let gone = self.index.entries().filter(|e| wanted.get(e.path()).is_none_or(|wanted| !is(wanted, e)));
        let gone: Vec<Entry> = gone.cloned().collect();
        self.switch(now, new, gone, missing)
    }

    /// Adds packages to what is there, which is not looked at: the cost is that of the new
    /// ones and of writing the index. A set that [`Binhost::publish`] has published once can
    /// grow so.
    ///
    /// # Errors
    /// As [`Binhost::publish`].
    pub fn add(&mut self, now: u64, packages: &[Published], store: &Store) -> Result<Outcome, PublishError> {
        let (new, missing) = self.place_all(packages, store)?;
        let paths: BTreeSet<&str> = new.iter().map(|entry| entry.path()).collect();
        let taken = self.index.entries().find(|entry| paths.contains(entry.path()));
        if let Some(taken) = taken {
            return Err(PublishError::Taken(taken.path().to_owned()));
        }
        self.switch(now, new, Vec::new(), missing)
    }

    /// Sees to it that the files are there. Entries that the index lacks, and what the store
    /// lacks.
    fn place_all<'p>(
        &self,
        packages: &'p [Published],
        store: &Store,
    ) -> Result<(Vec<&'p Entry>, Vec<Digest>), PublishError> {
        let (mut new, mut missing, mut touched) = (Vec::new(), Vec::new(), BTreeSet::new());
        for package in packages {
            let entry = &package.entry;
            if !layout::is_package_path(entry.path()) {
                return Err(PublishError::Path(entry.path().to_owned()));
            }
            let known = self.index.contains(entry);
            if !(known && self.is_placed(entry)) {
                match self.place(package, store, &mut touched) {
                    Err(PublishError::Store(StoreError::Absent(digest))) => {
                        missing.push(digest);
                        continue;
                    }
                    other => other?,
                }
            }
            if !known {
                new.push(entry);
            }
        }
        touched.iter().try_for_each(|dir| disk::sync_dir(dir))?;
        Ok((new, missing))
    }

    /// Changes the index, and writes it if the disk has another.
    fn switch(
        &mut self,
        now: u64,
        new: Vec<&Entry>,
        gone: Vec<Entry>,
        missing: Vec<Digest>,
    ) -> Result<Outcome, PublishError> {
        let (added, removed) = (new.len(), gone.len());
        if added + removed > 0 {
            // From here on the disk is behind; a failure is made good by the next call.
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

    /// Removes generations that were replaced more than `grace_secs` before `now`, and the
    /// files that no remaining index names. How many files went.
    ///
    /// # Errors
    /// If the disk fails; what was not removed goes next time.
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
                // What a damaged generation needs is not known, so files stay until it goes.
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

    /// Writes both index files, the compressed one last, as clients read that.
    fn write(&mut self) -> Result<(), DiskError> {
        let timestamp = self.index.timestamp();
        let bytes = self.index.to_bytes();
        let gz = self.index.gz().map_err(DiskError::at("compress", &self.dir.join("Packages.gz")))?;
        if self.keep == Generations::Keep {
            generations::write(&self.dir, self.generation + 1, &bytes, &gz, timestamp)?;
        }
        generations::replace(&self.dir, &[("Packages", &bytes), ("Packages.gz", &gz)], timestamp)?;
        self.generation += 1;
        self.written = true;
        Ok(())
    }

    /// Whether the file is there with the size that the index tells.
    fn is_placed(&self, entry: &Entry) -> bool {
        fs::metadata(self.dir.join(entry.path()))
            .is_ok_and(|meta| meta.len().to_string() == entry.get("SIZE"))
    }

    /// Links the stored file to its path, or copies it where links do not reach.
    fn place(
        &self,
        package: &Published,
        store: &Store,
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<(), PublishError> {
        let to = self.dir.join(package.entry.path());
        let from = store.path(package.digest);
        let stored = store.read(package.digest)?;
        let stored_meta = stored.metadata().map_err(DiskError::at("look at", &from))?;
        if stored_meta.len().to_string() != package.entry.get("SIZE") {
            // Either the stored file was cut off, which this tells, or the entry is wrong.
            store.verify(package.digest)?;
            return Err(PublishError::Entry(package.entry.path().to_owned()));
        }
        if let Ok(there) = fs::metadata(&to) {
            if (there.dev(), there.ino()) == (stored_meta.dev(), stored_meta.ino()) {
                return Ok(());
            }
            let there = File::open(&to).and_then(FileHasher::read_all).map_err(DiskError::at("read", &to))?;
            if there.sha256 == package.digest {
                return Ok(());
            }
            // A damaged file is replaced; one that is as the index says is not.
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
        let temp = parent.join(format!("{}.new", package.digest));
        disk::remove_file(&temp)?;
        if fs::hard_link(&from, &temp).is_err() {
            // Another file system, or one without links; a copy does it, and if the disk
            // is at fault the copy says so.
            let mut copy = File::create(&temp).map_err(DiskError::at("make", &temp))?;
            io::copy(&mut &stored, &mut copy).map_err(DiskError::at("copy to", &temp))?;
            copy.sync_all().map_err(DiskError::at("sync", &temp))?;
        }
        let mtime = package
            .entry
            .get("_mtime_")
            .parse()
            .ok()
            .and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        if let Some(mtime) = mtime {
            let dated = File::open(&temp).and_then(|file| file.set_modified(mtime));
            dated.map_err(DiskError::at("set the time of", &temp))?;
        }
        fs::rename(&temp, &to).map_err(DiskError::at("rename to", &to))?;
        Ok(())
    }
}

fn seconds_of(path: &Path) -> Option<u64> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Package files below `dir` and leftovers of interrupted publications, by relative path.
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

fn is_ours(path: &str) -> bool {
    layout::is_package_path(path) || path.ends_with(".new")
}

#[cfg(test)]
mod tests;
