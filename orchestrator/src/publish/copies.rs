//! Published packages and their stored files. Usually both are hard links to one file; they are
//! copies where links are impossible, or after a restore that split them.

use crate::store::{
    Store, StoreError,
    disk::{self, DiskError},
};
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::SystemTime,
};
use swarm_common::digest::Digest;

/// Whether both are the same file.
pub(crate) fn are_one(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Atomically puts a stored file at a published path: a hard link, or a copy where links are
/// impossible.
pub(super) fn put(
    stored: &Path,
    to: &Path,
    temp: &Path,
    modified: Option<SystemTime>,
) -> Result<(), DiskError> {
    disk::remove_file(temp)?;
    if fs::hard_link(stored, temp).is_err() {
        // Another file system, or one without hard links: copy instead. If the disk is at fault,
        // the copy reports it.
        let mut from = File::open(stored).map_err(DiskError::at("open", stored))?;
        let mut copy = File::create(temp).map_err(DiskError::at("make", temp))?;
        io::copy(&mut from, &mut copy).map_err(DiskError::at("copy to", temp))?;
        copy.sync_all().map_err(DiskError::at("sync", temp))?;
    }
    if let Some(modified) = modified {
        let dated = File::open(temp).and_then(|file| file.set_modified(modified));
        dated.map_err(DiskError::at("set the time of", temp))?;
    }
    fs::rename(temp, to).map_err(DiskError::at("rename to", to))
}

/// Replaces a damaged copy with the stored file, if that is intact. Keeps the modification time.
///
/// # Errors
/// The stored file is damaged as well, or the disk fails.
pub(crate) fn mend(store: &Store, digest: Digest, to: &Path) -> Result<(), StoreError> {
    store.verify(digest)?;
    let modified = fs::metadata(to).and_then(|meta| meta.modified()).ok();
    let parent = to.parent().unwrap_or(to);
    put(&store.path(digest), to, &parent.join(format!("{digest}.new")), modified)?;
    Ok(disk::sync_dir(parent)?)
}
