//! Resource limits for verifying a package.

/// Limits on what is read, decompressed and kept, in bytes unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the package file.
    pub file_bytes: u64,
    /// Size of the decompressed metadata, all of which is kept in memory.
    pub metadata_bytes: u64,
    /// Size of the decompressed image.
    pub image_bytes: u64,
    /// Number of files, directories and links in the image. Directories without an entry of their own count
    /// as well.
    pub image_entries: u64,
    /// Memory for the reported paths of files and links. Further paths are omitted.
    pub paths_bytes: u64,
    /// Maximum ratio of a decompressor's output to its input, enforced after the first MiB.
    pub ratio: u64,
    /// Number of members of the container.
    pub members: usize,
}

impl Default for Limits {
    /// 16 GiB for the file, 16 MiB for the metadata, 64 GiB for the image with 500,000 entries and 16 MiB of
    /// paths, a ratio of 2000, and 32 members. The largest packages of the Gentoo tree need less than half of
    /// each.
    fn default() -> Self {
        Self {
            file_bytes: 16 << 30,
            metadata_bytes: 16 << 20,
            image_bytes: 64 << 30,
            image_entries: 500_000,
            paths_bytes: 16 << 20,
            ratio: 2000,
            members: 32,
        }
    }
}

impl Limits {
    /// Lower limits, which suffice for almost every package and are low enough for many verifications at
    /// once.
    #[must_use]
    pub fn modest(self) -> Self {
        Self {
            metadata_bytes: self.metadata_bytes.min(2 << 20),
            image_entries: self.image_entries.min(50_000),
            paths_bytes: self.paths_bytes.min(4 << 20),
            ..self
        }
    }
}
