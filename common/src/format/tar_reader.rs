//! A tar reader for archives nobody vouches for.
//!
//! It exists beside the `tar` crate because a GNU long name or a PAX header there is read
//! into memory at whatever size the archive claims, and because two readers that disagree
//! about an archive are a way to smuggle a file past one of them. So everything that other
//! readers see differently is refused here: bad checksums, numbers that are not plain,
//! sparse files, global PAX headers, names that go on in the padding, anything after the end mark.
//!
//! Formats: POSIX.1-2017 `pax` (ustar with extended headers) and the GNU variant
//! (`L`, `K`, base-256 numbers).

mod header;
mod pax;

pub use pax::XATTR;

use super::bounded::Fault;
use header::{BLOCK, is_plain, number, plain_path, text, time};
use pax::Pax;
use std::io::{self, Read};

/// Longest path or extended header that is accepted, in bytes.
const MAX_NAME: u64 = 64 * 1024;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A second name of an earlier file.
    Hardlink,
    /// A device, fifo or anything else; the type byte.
    Special(u8),
}

/// One entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// The path as it stands in the archive, not checked.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Size of its data in bytes.
    pub size: u64,
    /// Where a link points; empty for others.
    pub link: Vec<u8>,
}

/// What an entry's header says of it beside its name: whose it is, who may use it, and since
/// when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TarAttributes {
    /// Permission bits, with those for set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was changed, in whole seconds since 1970; what was before is 0.
    pub mtime: u64,
    /// Extended attributes, in the order of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The source failed, or a decompressor refused its input.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The archive itself is wrong; what is wrong.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Reads an archive entry by entry. The data of the current entry is read through
/// [`Read`]; what is left of it is skipped by the next [`TarReader::next_entry`].
pub struct TarReader<R> {
    inner: R,
    remaining: u64,
    padding: u64,
    ended: bool,
    plain: bool,
    /// Header of the current entry, and what an extended header said of it.
    header: [u8; BLOCK],
    pax: Pax,
}

impl<R: Read> TarReader<R> {
    /// Begins an archive.
    pub fn new(inner: R) -> Self {
        let (header, pax) = ([0; BLOCK], Pax::default());
        Self { inner, remaining: 0, padding: 0, ended: false, plain: true, header, pax }
    }

    /// What the archive is read from.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The same, while the archive is read.
    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Whether everything so far was written in the one way about which no two readers can
    /// differ, and nothing lies where none of them looks: ustar headers of regular files,
    /// every field in its only form, padding of zeros.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The attributes of the entry that was read last.
    ///
    /// # Errors
    /// If one of them is malformed.
    pub fn attributes(&mut self) -> Result<TarAttributes, TarError> {
        let id = |told: Option<u64>, field: &[u8]| {
            let id = told.map_or_else(|| number(field), Ok)?;
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

    /// The next entry, or `None` after the last, when everything up to the end of the
    /// source has been seen to be padding.
    ///
    /// # Errors
    /// If the source fails or ends too early, or the archive is malformed.
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
                    // Readers differ about which of two names counts, and about a prefix
                    // in a header of another format.
                    let contested = (pax.path.is_some() && long_path.is_some())
                        || (pax.link.is_some() && long_link.is_some())
                        || (header[345] != 0 && &header[257..263] != b"ustar\0");
                    if contested {
                        return Err(TarError::Malformed("an entry with two names"));
                    }
                    let path = pax.path.take().or(long_path).unwrap_or_else(|| plain_path(&header));
                    let link = pax.link.take().or(long_link).unwrap_or_else(|| text(&header[157..257]));
                    // Old archives mark a directory by the slash alone; readers differ.
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

    /// Reads past the current entry's data and padding.
    ///
    /// # Errors
    /// If the source fails or ends too early.
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

    /// Fills `buffer`; an end before that is a truncation.
    fn read_whole(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Truncated.into_io(),
            _ => error,
        })
    }

    /// The next header with its checksum proved, or `None` at the end mark.
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

    /// The data of an extended header. Other readers look at its padding as well, so that has
    /// to be empty.
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
            return Err(TarError::Malformed("an extended header that goes on in its padding"));
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
