//! How much a package may cost to look at.

/// Bounds of what is read, decompressed and kept. All in bytes unless named otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole file.
    pub file_bytes: u64,
    /// The decompressed metadata, all of which is kept in memory.
    pub metadata_bytes: u64,
    /// The decompressed image.
    pub image_bytes: u64,
    /// Files, directories and links in the image, with the directories that have no entry.
    pub image_entries: u64,
    /// A decompressor may give this many times what it was fed, after the first MiB.
    pub ratio: u64,
    /// Members of the container.
    pub members: usize,
}

impl Default for Limits {
    /// 16 GiB file, 32 MiB metadata, 64 GiB image with 500,000 entries, ratio 2000,
    /// 32 members. The largest packages of the Gentoo tree stay below a fifth of these.
    fn default() -> Self {
        Self {
            file_bytes: 16 << 30,
            metadata_bytes: 32 << 20,
            image_bytes: 64 << 30,
            image_entries: 500_000,
            ratio: 2000,
            members: 32,
        }
    }
}
