//! Images of bases: root file systems as compressed archives by the digest of their content.
//! One enters only whole and proved, and what was found of it then is kept beside it.

use crate::{
    archives::{Archives, NewArchive},
    artifact::disk::DiskError,
};
use std::{fs, io, path::PathBuf, time::SystemTime};
use swarm_common::{
    digest::Digest,
    format::image::{self, ImageError},
    wire::base::Image,
};

/// Why an image was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It is not what its name says, or no image.
    #[error(transparent)]
    Unsound(#[from] ImageError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It would not go onto the disk.
    #[error(
        "image {} has {needed} bytes and the disk of {} has {free} left: free some space there, or set \
         artifact_dir to a larger disk", digest.short(), dir.display()
    )]
    TooLarge {
        /// Which image.
        digest: Digest,
        /// Its size.
        needed: u64,
        /// Free bytes.
        free: u64,
        /// Where.
        dir: PathBuf,
    },
}

/// The directory of images.
#[derive(Debug, Clone)]
pub struct Images(Archives);

impl Images {
    /// Uses `dir`, which is made if needed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        Archives::open(dir.into()).map(Self)
    }

    /// Where the archive is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.0.path(digest)
    }

    fn facts_path(&self, digest: Digest) -> PathBuf {
        self.0.dir().join(format!("{digest}.json"))
    }

    /// What is known of an image; `None` if it is not here.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn find(&self, digest: Digest) -> Result<Option<Image>, DiskError> {
        let path = self.facts_path(digest);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(DiskError::at("read", &path))?,
        };
        // Written as a whole and renamed; another text is damage, and the image is sent anew.
        let image = serde_json::from_slice::<Image>(&text).ok();
        Ok(image.filter(|image| image.digest == digest && self.path(digest).exists()))
    }

    /// Begins to take one of `size` compressed bytes, where that is known.
    ///
    /// # Errors
    /// If there is no space for it, or the disk fails.
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

    /// Removes images that nobody needs and that came before `before`, and what a crash left.
    /// How many files went.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        self.0.retain(before, kept)
    }
}

/// An image on its way in. Dropped without [`NewImage::commit`] it is gone.
#[derive(Debug)]
pub struct NewImage {
    home: Images,
    digest: Digest,
    file: NewArchive,
}

impl NewImage {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write(bytes)
    }

    /// Proves that it is the image that was announced, and keeps it, what was found of it last.
    ///
    /// # Errors
    /// It is another one or none, or the disk fails.
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
        };
        self.file.keep(&self.home.path(self.digest))?;
        let path = self.home.facts_path(self.digest);
        let text = serde_json::to_vec(&facts)
            .map_err(|error| DiskError::new("write", &path, io::Error::other(error)))?;
        let mut beside = self.home.0.create()?;
        beside.write(&text)?;
        Ok(beside.keep(&path)?)
    }
}
