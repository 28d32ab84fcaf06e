//! Images of bases: root file systems as compressed archives by the digest of their content.
//! One enters only whole and proved, and what was found of it then is kept beside it.

use crate::artifact::disk::{self, DiskError};
use std::{
    fs::{self, File},
    io::{self, BufReader, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
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
pub struct Images {
    dir: PathBuf,
}

impl Images {
    /// Uses `dir`, which is made if needed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir })
    }

    /// Where the archive is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}.tar.zst"))
    }

    fn facts_path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}.json"))
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
        let space = rustix::fs::statvfs(&self.dir).map_err(io::Error::from);
        let space = space.map_err(DiskError::at("look at", &self.dir))?;
        let free = space.f_bavail * space.f_frsize;
        if let Some(needed) = size.filter(|&size| size > free) {
            return Err(TakeError::TooLarge { digest, needed, free, dir: self.dir.clone() });
        }
        let file =
            tempfile::NamedTempFile::new_in(&self.dir).map_err(DiskError::at("make a file in", &self.dir))?;
        Ok(NewImage { home: self.clone(), digest, file })
    }

    /// Removes images that nobody needs and that came before `before`, and what a crash left.
    /// How many files went.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        let mut gone = 0;
        for entry in fs::read_dir(&self.dir).map_err(DiskError::at("list", &self.dir))? {
            let entry = entry.map_err(DiskError::at("list", &self.dir))?;
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let old = modified.map_err(DiskError::at("look at", &entry.path()))? < before;
            if old && !digest_of(&entry.path()).is_some_and(&kept) {
                gone += usize::from(disk::remove_file(&entry.path())?);
            }
        }
        Ok(gone)
    }
}

/// The image that a file of the directory belongs to.
fn digest_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.split('.').next()?.parse().ok()
}

/// An image on its way in. Dropped without [`NewImage::commit`] it is gone.
#[derive(Debug)]
pub struct NewImage {
    home: Images,
    digest: Digest,
    file: tempfile::NamedTempFile,
}

impl NewImage {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(bytes).map_err(DiskError::at("write into", &self.home.dir))
    }

    /// Proves that it is the image that was announced, and keeps it.
    ///
    /// # Errors
    /// It is another one or none, or the disk fails.
    pub fn commit(self) -> Result<(), TakeError> {
        let path = self.home.path(self.digest);
        let reopened: io::Result<File> = self.file.reopen();
        let archive = reopened.map_err(DiskError::at("read", &path))?;
        let size = archive.metadata().map_err(DiskError::at("look at", &path))?.len();
        let found = image::verify(BufReader::with_capacity(256 * 1024, archive), self.digest)?;
        let facts = Image {
            digest: self.digest,
            size,
            unpacked_bytes: found.bytes,
            entries: found.entries,
            machine: found.machine,
            has_portage: found.has_portage,
        };
        self.file.as_file().sync_all().map_err(DiskError::at("sync", &path))?;
        self.file.persist(&path).map_err(|error| DiskError::new("rename to", &path, error.error))?;
        let facts_path = self.home.facts_path(self.digest);
        let text = serde_json::to_vec(&facts)
            .map_err(|error| DiskError::new("write", &facts_path, io::Error::other(error)))?;
        let mut beside = tempfile::NamedTempFile::new_in(&self.home.dir)
            .map_err(DiskError::at("make a file in", &self.home.dir))?;
        beside
            .write_all(&text)
            .and_then(|()| beside.as_file().sync_all())
            .map_err(DiskError::at("write", &facts_path))?;
        beside.persist(&facts_path).map_err(|error| DiskError::new("rename to", &facts_path, error.error))?;
        disk::sync_dir(&self.home.dir)?;
        Ok(())
    }
}
