//! Files that the orchestrator stores by the SHA-256 of their content: packages in an [`ArtifactStore`],
//! their [index entries](entries), [`snapshots`] and [`images`]. No other module knows where a file is.

mod archives;
pub mod disk;
pub mod entries;
pub mod files;
pub mod images;
mod local;
pub mod path_filter;
pub mod sealed;
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
    Damaged { expected: Digest, found: Digest },
    /// There is no such artifact.
    #[error("artifact {0} is not in the store")]
    Absent(Digest),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// How a client gets a stored file. A store that clients can reach directly would add a URL to which HTTP
/// handlers redirect; the compiler then points out every handler to change.
#[derive(Debug)]
pub enum Located {
    File { file: File, len: u64 },
}

impl Located {
    /// Opens the file at `path`; `None` if it does not exist.
    fn at(path: &Path) -> Result<Option<Self>, DiskError> {
        let Some(file) = disk::open(path)? else { return Ok(None) };
        let len = file.metadata().map_err(DiskError::at("look at", path))?.len();
        Ok(Some(Self::File { file, len }))
    }
}

/// Package files by digest. A file in the store is complete, and its content never changes.
///
/// [`LocalStore`] is the only store. A store on another machine would need a local disk only for uploads and
/// published directories: it would stream in [`read`](Self::read), upload in [`take_over`](Self::take_over)
/// and [`commit`](NewArtifact::commit), answer [`locate`](Self::locate) with a URL, and download in
/// [`link`](Self::link), unless the published path redirects to that URL.
///
/// # Errors
/// The methods fail with [`StoreError::Absent`] if a file is not in the store, and with [`StoreError::Disk`]
/// if the disk fails. They may block.
pub trait ArtifactStore: Send + Sync {
    /// The size of a file in bytes.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn size(&self, digest: Digest) -> Result<u64, StoreError>;

    /// A file for reading it once from the start. The reader is not buffered.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn read(&self, digest: Digest) -> Result<Box<dyn Read + Send>, StoreError>;

    /// A file for sending it to a client.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn locate(&self, digest: Digest) -> Result<Located, StoreError>;

    /// The location of the file, whether it exists or not, in words for an admin: the path in a local store.
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

    /// Begins a file whose digest is not yet known.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn create(&self) -> Result<Box<dyn NewArtifact + '_>, StoreError>;

    /// Turns the upload at `from` into an artifact consisting of its first `keep` bytes, with `stamp` written
    /// into them, followed by `tail`. The caller has verified the digest of the result. When this returns,
    /// the artifact is durable and the upload is gone. The bytes are copied only if the upload is on another
    /// file system, or if the stamp moves them.
    ///
    /// # Errors
    /// See [`ArtifactStore`]. If the disk is full, the upload stays unchanged.
    fn take_over(
        &self,
        from: &Path,
        keep: u64,
        stamp: Option<&Stamp>,
        tail: &[u8],
        digest: Digest,
    ) -> Result<(), StoreError>;

    /// Puts a file at the path `to` in a published directory, replacing an existing file: as a hard link, or
    /// as a synced copy where links are impossible. The caller syncs the directory. A crash may leave
    /// `DIGEST.new` in it.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn link(&self, digest: Digest, to: &Path, modified: Option<SystemTime>) -> Result<(), StoreError>;

    /// Whether the published file at `path` is a hard link to this file, so that verifying one verifies both.
    ///
    /// # Errors
    /// See [`ArtifactStore`], also if nothing is published at `path`.
    fn is_linked(&self, digest: Digest, path: &Path) -> Result<bool, StoreError>;

    /// Removes a file if it was last modified before `before`. Returns whether it was removed.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn remove(&self, digest: Digest, before: SystemTime) -> Result<bool, StoreError>;
}

/// A file that is being written. When dropped without [`NewArtifact::commit`], it leaves nothing behind.
pub trait NewArtifact: Write {
    /// Moves the file into the store and makes it durable. The caller has verified that its content has this
    /// digest.
    ///
    /// # Errors
    /// See [`ArtifactStore`].
    fn commit(self: Box<Self>, digest: Digest) -> Result<(), StoreError>;
}
