//! Places archives, listings, logs and narinfos.

use super::{CachedPath, NixCache, SideFiles, order};
use crate::{
    publish::{Copied, PublishError, generations},
    store::{
        ArtifactStore, StoreError,
        disk::{self, DiskError},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;
use swarm_formats::nix::{narinfo::NarInfo, store_path::StoreDir};

/// Path of an archive, relative to the cache's directory.
#[must_use]
pub fn nar_path(digest: Digest) -> String {
    format!("nar/{digest}.nar.zst")
}

/// The digest in the URL of a narinfo.
pub(super) fn digest_of(info: &NarInfo) -> Option<Digest> {
    let url = info.url.to_string();
    url.strip_prefix("nar/")?.strip_suffix(".nar.zst")?.parse().ok()
}

/// A file that was written under a temporary name.
pub(super) struct StagedFile {
    temp: PathBuf,
    path: PathBuf,
}

/// Published narinfos by hash part, with their stored files.
type Placed = BTreeMap<String, (NarInfo, Digest)>;

impl NixCache {
    /// Publishes the `paths` that are not published yet. Returns those that are now published, and those
    /// missing in the store.
    pub(super) fn place_all(
        &self,
        now: u64,
        paths: &[CachedPath],
        store: &dyn ArtifactStore,
        side_files: &dyn SideFiles,
    ) -> Result<(Placed, Vec<Digest>), PublishError> {
        let (mut placed, mut missing, mut lost) = (Placed::new(), Vec::new(), BTreeSet::new());
        let mut narinfos: Vec<(String, String)> = Vec::new();
        let (mut logs, mut small) = (BTreeSet::new(), Vec::new());
        for path in order::references_first(paths, |path| &path.info) {
            let hash = path.info.path.hash_part().to_owned();
            if path.info.references.iter().any(|reference| lost.contains(reference.hash_part())) {
                missing.push(path.digest);
                lost.insert(hash);
                continue;
            }
            let old = self.published(&hash);
            // The archive that was published first stays, if it still exists.
            let (mut info, digest) = match &old {
                Some((info, digest)) if info.path == path.info.path => (info.clone(), *digest),
                _ => (path.info.clone(), path.digest),
            };
            let digest = match self.place_nar(digest, &info, store) {
                Err(PublishError::Store(StoreError::Absent(_))) if digest != path.digest => {
                    info = path.info.clone();
                    self.place_nar(path.digest, &info, store).map(|()| path.digest)
                }
                other => other.map(|()| digest),
            };
            let digest = match digest {
                Err(PublishError::Store(StoreError::Absent(digest))) => {
                    missing.push(digest);
                    lost.insert(hash);
                    continue;
                }
                other => other?,
            };
            let listing = || Ok(side_files.listing(path)?.map(String::into_bytes));
            small.extend(self.place_small(&format!("{hash}.ls"), listing, now)?);
            if let Some(deriver) = info.deriver.as_ref().filter(|drv| logs.insert((*drv).clone())) {
                let name = format!("log/{deriver}");
                small.extend(self.place_small(&name, || Ok(side_files.log(path)?), now)?);
            }
            match &self.keys {
                Some(keys) if !keys.have_signed(&info, &self.store_dir) => {
                    keys.sign(&mut info, &self.store_dir);
                }
                Some(_) => {}
                None => info.signatures.clear(),
            }
            if old.is_none_or(|(old, _)| old != info) {
                narinfos.push((format!("{hash}.narinfo"), info.to_text(&self.store_dir)));
            }
            placed.insert(hash, (info, digest));
        }
        disk::sync_dir(&self.dir.join("nar"))?;
        self.write_narinfos(small, &narinfos, now)?;
        Ok((placed, missing))
    }

    /// Writes narinfos in this order, so that a client never finds a path without its references. The already
    /// written `small` files get their names first.
    fn write_narinfos(
        &self,
        mut small: Vec<StagedFile>,
        narinfos: &[(String, String)],
        now: u64,
    ) -> Result<(), DiskError> {
        for (name, text) in narinfos {
            let temp = self.dir.join(format!("{name}.new"));
            write_dated(&temp, text.as_bytes(), now)?;
            small.push(StagedFile { temp, path: self.dir.join(name) });
        }
        let any = !small.is_empty();
        self.reveal(small)?;
        if any { disk::sync_dir(&self.dir) } else { Ok(()) }
    }

    /// The published narinfo with this hash part, if it is intact.
    pub(super) fn published(&self, hash: &str) -> Option<(NarInfo, Digest)> {
        let text = fs::read(self.dir.join(format!("{hash}.narinfo"))).ok()?;
        let info = NarInfo::parse(&text, &self.store_dir).ok()?;
        // Damage to the signed part must not survive.
        if self.keys.as_ref().is_some_and(|keys| !keys.has_signed(&info, &self.store_dir)) {
            return None;
        }
        let digest = digest_of(&info).filter(|_| info.path.hash_part() == hash)?;
        Some((info, digest))
    }

    /// Links an archive into the cache, unless it exists there.
    fn place_nar(
        &self,
        digest: Digest,
        info: &NarInfo,
        store: &dyn ArtifactStore,
    ) -> Result<(), PublishError> {
        let to = self.dir.join(nar_path(digest));
        if fs::metadata(&to).is_ok_and(|meta| Some(meta.len()) == info.file_size) {
            return Ok(());
        }
        if Some(store.size(digest)?) != info.file_size {
            // The stored file is truncated, which this call detects.
            store.verify(digest)?;
        }
        Ok(store.link(digest, &to, None)?)
    }

    /// Writes a small optional file under a temporary name, unless the file exists.
    pub(super) fn place_small(
        &self,
        name: &str,
        bytes: impl FnOnce() -> Result<Option<Vec<u8>>, StoreError>,
        now: u64,
    ) -> Result<Option<StagedFile>, PublishError> {
        let path = self.dir.join(name);
        // An empty file may be left by a power failure: an earlier version did not sync it.
        if fs::metadata(&path).is_ok_and(|there| there.len() > 0) {
            return Ok(None);
        }
        let Some(bytes) = bytes()? else { return Ok(None) };
        let temp = path.with_extension("new");
        write_dated(&temp, &bytes, now)?;
        Ok(Some(StagedFile { temp, path }))
    }

    /// Renames written files after syncing all of them together. There may be thousands, and syncing each one
    /// takes milliseconds.
    pub(super) fn reveal(&self, written: impl IntoIterator<Item = StagedFile>) -> Result<(), DiskError> {
        let mut written = written.into_iter().peekable();
        if written.peek().is_none() {
            return Ok(());
        }
        let synced = File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        synced.map_err(DiskError::at("sync", &self.dir))?;
        for StagedFile { temp, path } in written {
            fs::rename(temp, &path).map_err(DiskError::at("rename to", &path))?;
        }
        Ok(())
    }
}

fn write_dated(path: &Path, bytes: &[u8], now: u64) -> Result<(), DiskError> {
    let mut file = File::create(path).map_err(DiskError::at("make", path))?;
    file.write_all(bytes).map_err(DiskError::at("write", path))?;
    file.set_modified(generations::time(now)).map_err(DiskError::at("set the time of", path))
}

/// The faults of a cache's published narinfos, and the archives that are copies of stored files instead of
/// links.
///
/// # Errors
/// The disk fails.
pub fn check(cache: &NixCache, store: &dyn ArtifactStore) -> Result<(Vec<String>, Vec<Copied>), DiskError> {
    let (mut faults, mut copied) = (Vec::new(), Vec::new());
    for name in super::names(&cache.dir)? {
        let Some(hash) = name.strip_suffix(".narinfo") else { continue };
        let path = cache.dir.join(&name);
        let Some((info, digest)) = cache.published(hash) else {
            faults.push(format!("{} is not as it was written", path.display()));
            continue;
        };
        let nar = cache.dir.join(nar_path(digest));
        match fs::metadata(&nar) {
            Ok(meta) if Some(meta.len()) == info.file_size => {
                if !store.is_linked(digest, &nar).is_ok_and(|linked| linked) {
                    copied.push((digest, meta.len(), nar));
                }
            }
            _ => faults.push(format!("{} names {}, which is gone or cut", path.display(), nar.display())),
        }
    }
    Ok((faults, copied))
}

/// Reads a narinfo without verifying it; used by the sweep.
pub(super) fn read_narinfo(path: &Path) -> Option<NarInfo> {
    NarInfo::parse(&fs::read(path).ok()?, &StoreDir::default()).ok()
}
