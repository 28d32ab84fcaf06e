//! The files that the orchestrator keeps by the SHA-256 of their content: packages in an [`ArtifactStore`], their
//! [index entries](entries), [`snapshots`] and [`images`]. Nothing outside this module knows where a file is.

mod archives;
pub mod disk;
pub mod entries;
pub mod files;
pub mod images;
mod local;
pub mod sealed;
pub mod sieve;
pub mod snapshots;

pub use archives::ArchiveFault;
pub use local::{LocalStore, insert};

use disk::DiskError;
use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    time::SystemTime,
};
use swarm_common::digest::Digest;
use swarm_formats::{archive::digests::FileDigests, portage::gpkg::Stamp};

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The content does not match its digest.
    #[error("artifact {expected} is damaged: its digest is {found}")]
    Damaged {
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// There is no such artifact.
    #[error("artifact {0} is not in the store")]
    Absent(Digest),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// How a client gets a stored file. A store that clients can reach themselves would add a URL, with which HTTP
/// handlers redirect; the compiler then names every handler that must.
#[derive(Debug)]
pub enum Located {
    /// The orchestrator sends it.
    File {
        /// The file, open for reading.
        file: File,
        /// Its size in bytes.
        len: u64,
    },
}

impl Located {
    /// Opens the file at `path`; `None` if there is none.
    fn at(path: &Path) -> Result<Option<Self>, DiskError> {
        let Some(file) = disk::open(path)? else { return Ok(None) };
        let len = file.metadata().map_err(DiskError::at("look at", path))?.len();
        Ok(Some(Self::File { file, len }))
    }
}

/// Package files by digest. A file that is in the store is complete, and its content never changes.
///
/// [`LocalStore`] is the only store. One on another machine would need no local disk except for uploads and
/// published directories: it would stream in [`read`](Self::read), upload in [`take_over`](Self::take_over) and
/// [`commit`](NewArtifact::commit), answer [`locate`](Self::locate) with a URL, and download in
/// [`link`](Self::link), unless the published path redirects to that URL.
///
/// # Errors
/// The methods fail with [`StoreError::Absent`] if a file that they read is not in the store, and with
/// [`StoreError::Disk`] if the disk fails. They may block.
pub trait ArtifactStore: Send + Sync {
    /// The size of a file in bytes.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn size(&self, digest: Digest) -> Result<u64, StoreError>;

    /// A file, for reading it once from the start. The reader is not buffered.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn read(&self, digest: Digest) -> Result<Box<dyn Read + Send>, StoreError>;

    /// A file, for sending it to a client.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn locate(&self, digest: Digest) -> Result<Located, StoreError>;

    /// Where the file is or would be, in words for an admin: the path in a local store.
    fn describe(&self, digest: Digest) -> String;

    /// All files with their sizes in bytes, ordered by digest.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError>;

    /// Reads a whole file and verifies its digest.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or see [`ArtifactStore`].
    fn verify(&self, digest: Digest) -> Result<FileDigests, StoreError>;

    /// Begins a file whose digest is not known yet.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn create(&self) -> Result<Box<dyn NewArtifact + '_>, StoreError>;

    /// Turns the upload at `from` into an artifact consisting of its first `keep` bytes, with `stamp` in them, and
    /// `tail`, whose combined digest the caller has verified. It is durable when this returns, and the upload is
    /// gone. The bytes are only copied if the upload is on another file system, or if the stamp moves them.
    ///
    /// # Errors
    /// See [`ArtifactStore`]. If the disk is full, the upload stays where it was.
    fn take_over(
        &self,
        from: &Path,
        keep: u64,
        stamp: Option<&Stamp>,
        tail: &[u8],
        digest: Digest,
    ) -> Result<(), StoreError>;

    /// Puts a file at the path `to` of a published directory, in place of what is there: as a hard link, or as a
    /// synced copy where links are impossible. The caller syncs the directory, in which a crash may leave
    /// `DIGEST.new`.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn link(&self, digest: Digest, to: &Path, modified: Option<SystemTime>) -> Result<(), StoreError>;

    /// Whether the published file at `path` is a link to this file, so that what is true of one is true of both.
    ///
    /// # Errors
    /// See [`ArtifactStore`], also if nothing is published at `path`.
    fn is_linked(&self, digest: Digest, path: &Path) -> Result<bool, StoreError>;

    /// Removes a file if it was last modified before `before`. Returns whether it did.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn remove(&self, digest: Digest, before: SystemTime) -> Result<bool, StoreError>;
}

/// A file that is being written. Dropped without [`NewArtifact::commit`], it leaves nothing behind.
pub trait NewArtifact: Write {
    /// Moves the file into the store and makes it durable. The caller has verified that its content has this
    /// digest.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn commit(self: Box<Self>, digest: Digest) -> Result<(), StoreError>;
}
