//! A tar reader for untrusted archives.
//!
//! The `tar` crate reads a GNU long name or PAX header into memory at whatever size the archive claims. Also,
//! if two readers interpret an archive differently, a file can be smuggled past one of them. So everything
//! that readers interpret differently is refused here: bad checksums, unusual number formats, sparse files,
//! global PAX headers, names that continue in the padding, and anything after the end-of-archive marker.
//!
//! Formats: POSIX.1-2017 `pax` (ustar with extended headers) and the GNU variant (`L`, `K`,
//! base-256 numbers).

mod header;
mod pax;

pub use pax::XATTR;

use super::bounded::Fault;
use header::{BLOCK, is_plain, number, plain_path, text, time};
use pax::Pax;
use std::io::{self, Read};

/// The maximum length of a path or extended header, in bytes.
const MAX_NAME: u64 = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    /// A hard link: another name of an earlier file.
    Hardlink,
    /// A device, a FIFO or anything else, with its type byte.
    Special(u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// The path as written in the archive, not validated.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Size of the entry's data in bytes.
    pub size: u64,
    /// The target of a link; empty for other entries.
    pub link: Vec<u8>,
}

/// Ownership, permissions, time and extended attributes of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TarAttributes {
    /// Permission bits, including set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Modification time in whole seconds since the Unix epoch. Earlier times are 0.
    pub mtime: u64,
    /// Names and values of extended attributes, in the order of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The source failed, or a decompressor refused its input.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Io(error) => error,
            TarError::Malformed(_) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Reads an archive entry by entry. [`Read`] returns the data of the current entry. [`TarReader::next_entry`]
/// skips the rest of that data.
pub struct TarReader<R> {
    inner: R,
    remaining: u64,
    padding: u64,
    ended: bool,
    plain: bool,
    /// The header of the current entry, and its extended header.
    header: [u8; BLOCK],
    pax: Pax,
}

impl<R: Read> TarReader<R> {
    pub fn new(inner: R) -> Self {
        let (header, pax) = ([0; BLOCK], Pax::default());
        Self { inner, remaining: 0, padding: 0, ended: false, plain: true, header, pax }
    }

    pub fn into_inner(self) -> R {
        self.inner
    }

    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Whether everything read so far is in a canonical form that all readers interpret alike and that hides
    /// no data: ustar headers of regular files, each field in its only possible form, with zero padding.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The attributes of the current entry.
    ///
    /// # Errors
    /// An attribute is malformed.
    pub fn attributes(&mut self) -> Result<TarAttributes, TarError> {
        let id = |from_pax: Option<u64>, field: &[u8]| {
            let id = from_pax.map_or_else(|| number(field), Ok)?;
            u32::try_from(id).map_err(|_| TarError::Malformed("an owner that no system has"))
        };
        let mtime = match self.pax.mtime {
            Some(mtime) => mtime,
            None => time(&self.header[136..148])?,
        };
        Ok(TarAttributes {
            mode: (number(&self.header[100..108])? & 0o7777) as u32,
            uid: id(self.pax.uid, &self.header[108..116])?,
            gid: id(self.pax.gid, &self.header[116..124])?,
            mtime: u64::try_from(mtime).unwrap_or(0),
            xattrs: std::mem::take(&mut self.pax.xattrs),
        })
    }

    /// The names of the current entry's owner and group; empty if there are none.
    #[must_use]
    pub fn owner_names(&self) -> [Vec<u8>; 2] {
        [text(&self.header[265..297]), text(&self.header[297..329])]
    }

    /// The next entry. `None` after the last one, once the rest of the source has been verified to be
    /// padding.
    ///
    /// # Errors
    /// The source fails or ends too early, or the archive is malformed.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        let mut long_path = None;
        let mut long_link = None;
        let mut pax = Pax::default();
        loop {
            self.skip_data()?;
            let Some(header) = self.next_header()? else {
                if long_path.is_some() || long_link.is_some() || pax.seen {
                    return Err(TarError::Malformed("an extended header without an entry"));
                }
                return Ok(None);
            };
            self.plain &= is_plain(&header);
            self.remaining = number(&header[124..136])?;
            match header[156] {
                b'L' if long_path.is_none() => long_path = Some(self.read_name()?),
                b'K' if long_link.is_none() => long_link = Some(self.read_name()?),
                b'x' if !pax.seen => pax = Pax::parse(&self.read_extension()?)?,
                b'L' | b'K' | b'x' => return Err(TarError::Malformed("a repeated extended header")),
                b'g' => return Err(TarError::Malformed("a global extended header")),
                type_byte => {
                    let kind = match type_byte {
                        b'0' | 0 => EntryKind::File,
                        b'1' => EntryKind::Hardlink,
                        b'2' => EntryKind::Symlink,
                        b'5' => EntryKind::Directory,
                        other => EntryKind::Special(other),
                    };
                    if let Some(size) = pax.size {
                        self.remaining = size;
                    }
                    if kind != EntryKind::File && self.remaining != 0 {
                        return Err(TarError::Malformed("an entry with data that may have none"));
                    }
                    self.set_padding();
                    // Readers disagree about which of two names applies, and about a prefix in a header of
                    // another format.
                    let contested = (pax.path.is_some() && long_path.is_some())
                        || (pax.link.is_some() && long_link.is_some())
                        || (header[345] != 0 && &header[257..263] != b"ustar\0");
                    if contested {
                        return Err(TarError::Malformed("an entry with two names"));
                    }
                    let path = pax.path.take().or(long_path).unwrap_or_else(|| plain_path(&header));
                    let link = pax.link.take().or(long_link).unwrap_or_else(|| text(&header[157..257]));
                    // Old archives mark a directory only by the slash. Readers disagree about those.
                    if kind != EntryKind::Directory && path.last() == Some(&b'/') {
                        return Err(TarError::Malformed("a file whose name ends in a slash"));
                    }
                    if path.contains(&0) || link.contains(&0) {
                        return Err(TarError::Malformed("a name with a NUL byte"));
                    }
                    (self.header, self.pax) = (header, pax);
                    return Ok(Some(TarEntry { path, kind, size: self.remaining, link }));
                }
            }
        }
    }

    fn set_padding(&mut self) {
        self.padding = (BLOCK as u64 - self.remaining % BLOCK as u64) % BLOCK as u64;
    }

    /// Skips the rest of the current entry's data and its padding.
    ///
    /// # Errors
    /// The source fails or ends too early.
    pub fn skip_data(&mut self) -> Result<(), TarError> {
        let skipped = io::copy(&mut self.inner.by_ref().take(self.remaining), &mut io::sink())?;
        if skipped < self.remaining {
            return Err(Fault::Truncated.into_io().into());
        }
        let mut padding = [0; BLOCK];
        let padding = &mut padding[..usize::try_from(self.padding).unwrap_or(BLOCK)];
        self.read_whole(padding)?;
        self.plain &= padding.iter().all(|&b| b == 0);
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// Fills `buffer`. If the source ends before that, it is truncated.
    fn read_whole(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Truncated.into_io(),
            _ => error,
        })
    }

    /// The next header, with its checksum verified. `None` at the end-of-archive marker.
    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let mut header = [0; BLOCK];
        self.read_whole(&mut header)?;
        if header.iter().all(|&b| b == 0) {
            self.ended = true;
            self.expect_only_padding()?;
            return Ok(None);
        }
        header::check(&header)?;
        Ok(Some(header))
    }

    fn expect_only_padding(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 8192];
        loop {
            match self.inner.read(&mut buffer)? {
                0 => return Ok(()),
                n if buffer[..n].iter().any(|&b| b != 0) => {
                    return Err(TarError::Malformed("data after the end of the archive"));
                }
                _ => {}
            }
        }
    }

    /// The data of an extended header. Its padding must be zero, because some readers interpret it.
    fn read_extension(&mut self) -> Result<Vec<u8>, TarError> {
        if self.remaining > MAX_NAME {
            return Err(TarError::Malformed("an extended header that is too long"));
        }
        self.set_padding();
        let size = self.remaining;
        let mut bytes = vec![0; usize::try_from(size + self.padding).unwrap_or_default()];
        self.read_whole(&mut bytes)?;
        (self.remaining, self.padding) = (0, 0);
        let padding = bytes.split_off(usize::try_from(size).unwrap_or_default());
        if padding.iter().any(|&b| b != 0) {
            return Err(TarError::Malformed("an extended header that continues into its padding"));
        }
        Ok(bytes)
    }

    fn read_name(&mut self) -> Result<Vec<u8>, TarError> {
        let bytes = self.read_extension()?;
        let name = text(&bytes);
        if bytes[name.len()..].iter().any(|&b| b != 0) {
            return Err(TarError::Malformed("a name with a NUL byte"));
        }
        Ok(name)
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(Fault::Truncated.into_io());
        }
        self.remaining -= n as u64;
        Ok(n)
    }
}
