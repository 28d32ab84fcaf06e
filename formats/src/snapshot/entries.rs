//! Raw entries of a snapshot's tar, for code that must preserve every byte.
//!
//! A snapshot has its manifest first and the rest sorted by path. Merging relies on that order, so an entry
//! out of order is an error. Entries are not validated otherwise, because [`super::unpack()`] reads the
//! merged result afterwards.

use super::{MANIFEST, MAX_ENTRIES, path::MAX_PATH};
use std::io::{self, Read};
use tar::{EntryType, Header};

pub(super) const BLOCK: usize = 512;
/// The type of a removal entry in a difference, for a path that the newer snapshot no longer has.
pub(super) const REMOVED: u8 = b'R';

/// An entry without its content.
pub(super) struct Head {
    pub path: String,
    /// The entry's header, preceded by its long-name entries, if it has any.
    pub blocks: Vec<u8>,
    pub is_removal: bool,
}

/// The sort key of a path. The manifest comes first.
pub(super) fn key(path: &str) -> (bool, &str) {
    (path != MANIFEST, path)
}

/// Iterates over entries. [`Read`] returns the content of the current one.
pub(super) struct Entries<R> {
    from: R,
    last: Option<String>,
    count: u64,
    /// Number of bytes of the content not yet read, including padding to a whole block.
    left: u64,
}

impl<R: Read> Entries<R> {
    pub fn new(from: R) -> Self {
        Self { from, last: None, count: 0, left: 0 }
    }

    /// Returns the next entry, and skips the rest of the current one.
    pub fn next_entry(&mut self) -> io::Result<Option<Head>> {
        io::copy(self, &mut io::sink())?;
        let (mut blocks, mut name) = (Vec::new(), None);
        loop {
            let mut header = Header::new_old();
            self.from.read_exact(header.as_mut_bytes())?;
            if name.is_none() && blocks.is_empty() && header.as_bytes().iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            let mut summed = header.clone();
            summed.set_cksum();
            if summed.cksum()? != header.cksum()? {
                return Err(wrong("an entry's header is damaged"));
            }
            blocks.extend_from_slice(header.as_bytes());
            let kind = header.entry_type();
            let size = header.entry_size()?;
            match kind {
                EntryType::GNULongName | EntryType::GNULongLink => {
                    let mut text = vec![0; long(size)?.next_multiple_of(BLOCK)];
                    self.from.read_exact(&mut text)?;
                    blocks.extend_from_slice(&text);
                    if kind == EntryType::GNULongName {
                        text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
                        name = Some(text);
                    }
                    if blocks.len() > 8 * BLOCK + 2 * MAX_PATH {
                        return Err(wrong("an entry has names without end"));
                    }
                }
                _ => {
                    let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
                    return self.begin(name, blocks, kind, size).map(Some);
                }
            }
        }
    }

    fn begin(&mut self, name: Vec<u8>, blocks: Vec<u8>, kind: EntryType, size: u64) -> io::Result<Head> {
        let path = String::from_utf8(name).map_err(|_| wrong("a name is not UTF-8"))?;
        if self.last.as_ref().is_some_and(|last| key(last) >= key(&path)) {
            return Err(wrong(&format!("`{}` is repeated or out of order", path.escape_debug())));
        }
        self.count += 1;
        let is_removal = kind.as_byte() == REMOVED;
        if self.count > 2 * MAX_ENTRIES || (is_removal && size > 0) {
            return Err(wrong("there are too many entries, or one that is gone has a content"));
        }
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        self.left = padded.ok_or_else(|| wrong("an entry has no end"))?;
        self.last = Some(path.clone());
        Ok(Head { path, blocks, is_removal })
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.from.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// The size of a long name, if it is within the limits of a snapshot.
fn long(size: u64) -> io::Result<usize> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_PATH + 1 { Err(wrong("a name is too long")) } else { Ok(size) }
}

pub(super) fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
