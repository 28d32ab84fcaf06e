//! Images of bases: compressed archives of root file systems, stored by the digest of their content. An image
//! is stored only once it is complete and verified, together with its properties.

use crate::store::{
    ArchiveFault, Located,
    archives::{Archives, NewArchive},
    disk::DiskError,
};
use std::{fs, io, path::PathBuf, time::SystemTime};
use swarm_common::{digest::Digest, wire::base::Image};
use swarm_formats::image::{self, ImageError};

#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The content does not match the digest, or is not a valid image.
    #[error(transparent)]
    Unsound(#[from] ImageError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The disk has not enough space.
    #[error(
        "image {} has {needed} bytes, but the disk of {} has only {free} free: free space there, or set \
         artifact_dir to a larger disk", digest.short(), dir.display()
    )]
    TooLarge {
        digest: Digest,
        /// Size of the image in bytes.
        needed: u64,
        /// Free bytes on the disk.
        free: u64,
        dir: PathBuf,
    },
}

#[derive(Debug, Clone)]
pub struct Images(Archives);

impl Images {
    /// Uses `dir`, which is created if needed.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        Archives::open(dir.into()).map(Self)
    }

    /// An image for sending it to a client; `None` if it is not stored.
    ///
    /// # Errors
    /// The disk fails.
    pub fn locate(&self, digest: Digest) -> Result<Option<Located>, DiskError> {
        self.0.locate(digest)
    }

    /// Verifies a stored image. Returns its size in bytes.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn verify(&self, digest: Digest) -> Result<u64, ArchiveFault> {
        self.0.verify(digest, |archive| image::verify(archive, digest))
    }

    fn facts_path(&self, digest: Digest) -> PathBuf {
        self.0.dir().join(format!("{digest}.json"))
    }

    /// The properties of an image; `None` if it is not stored.
    ///
    /// # Errors
    /// The disk fails.
    pub fn find(&self, digest: Digest) -> Result<Option<Image>, DiskError> {
        let path = self.facts_path(digest);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(DiskError::at("read", &path))?,
        };
        // The file is replaced atomically, so invalid content means damage. The image is then uploaded again.
        let image = serde_json::from_slice::<Image>(&text).ok();
        Ok(image.filter(|image| image.digest == digest && self.0.path(digest).exists()))
    }

    /// Starts to receive an image. `size` is its compressed size in bytes, if known.
    ///
    /// # Errors
    /// There is not enough space, or the disk fails.
    pub fn create(&self, digest: Digest, size: Option<u64>) -> Result<NewImage, TakeError> {
        let dir = self.0.dir();
        let space = rustix::fs::statvfs(dir).map_err(io::Error::from);
        let space = space.map_err(DiskError::at("look at", dir))?;
        let free = space.f_bavail * space.f_frsize;
        if let Some(needed) = size.filter(|&size| size > free) {
            return Err(TakeError::TooLarge { digest, needed, free, dir: dir.to_owned() });
        }
        Ok(NewImage { home: self.clone(), digest, file: self.0.create()? })
    }

    /// Removes images older than `before` for which `kept` returns false, and leftovers of a crash.
    /// Returns the number of files removed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        self.0.retain(before, kept)
    }
}

/// An image that is being received. When dropped without [`NewImage::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewImage {
    home: Images,
    digest: Digest,
    file: NewArchive,
}

impl NewImage {
    /// Appends bytes.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write(bytes)
    }

    /// Verifies the image and stores it. Its properties are written last, so that `find` returns
    /// only complete images.
    ///
    /// # Errors
    /// The content does not match the digest or is not an image, or the disk fails.
    pub fn commit(self) -> Result<(), TakeError> {
        let (archive, size) = self.file.reopen()?;
        let found = image::verify(archive, self.digest)?;
        let facts = Image {
            digest: self.digest,
            size,
            unpacked_bytes: found.bytes,
            entries: found.entries,
            machine: found.machine,
            has_portage: found.has_portage,
            usr: found.usr,
        };
        self.file.keep(&self.home.0.path(self.digest))?;
        let path = self.home.facts_path(self.digest);
        let text = serde_json::to_vec(&facts)
            .map_err(|error| DiskError::new("write", &path, io::Error::other(error)))?;
        let mut beside = self.home.0.create()?;
        beside.write(&text)?;
        Ok(beside.keep(&path)?)
    }
}
