//! The packages of an index in pages of some dozens, each with its compressed text.
//!
//! Compression dominates the cost of an index. With pages, adding one package to thousands compresses only
//! one page. Packages can be modified only through [`Page::change`], which discards the page's compressed
//! text, so that text is never stale. Pages are independent runs of deflate blocks that end on a byte
//! boundary (RFC 1951, section 3.2.3), so concatenated they form one stream and one gzip file.

use super::entry::Entry;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use std::{collections::BTreeMap, io};

/// The key of a package: CPV, build id and path. Portage orders by the text of CPV. Builds of one version are
/// ordered by build id.
pub(super) type Key = (String, u64, String);

/// The number of packages at which a page is split.
const FULL: usize = 128;

/// The final block of every stream: an empty block with fixed codes.
const END: [u8; 2] = [3, 0];

/// Compressed text and its checksum.
#[derive(Debug)]
struct Packed {
    bytes: Vec<u8>,
    crc: Crc,
}

impl Packed {
    fn of(text: &[u8]) -> io::Result<Self> {
        let mut deflate = Compress::new(Compression::default(), false);
        let mut bytes = Vec::with_capacity(text.len() / 2 + 64);
        let mut done = 0;
        loop {
            let rest = &text[done..];
            let status = deflate.compress_vec(rest, &mut bytes, FlushCompress::Full)?;
            done = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
            // Remaining capacity means that all output, including the flush, has been written.
            if done == text.len() && bytes.len() < bytes.capacity() {
                break;
            }
            if status == Status::StreamEnd {
                return Err(io::Error::other("the compressor ended too early"));
            }
            bytes.reserve(bytes.capacity().max(1024));
        }
        let mut crc = Crc::new();
        crc.update(text);
        Ok(Self { bytes, crc })
    }
}

/// Packages in order, with their rendered blocks.
#[derive(Debug, Default)]
struct Page {
    packages: BTreeMap<Key, (Entry, String)>,
    packed: Option<Packed>,
}

/// The clone is compressed again on demand.
impl Clone for Page {
    fn clone(&self) -> Self {
        Self { packages: self.packages.clone(), packed: None }
    }
}

impl Page {
    /// Returns the packages to be modified. There is no other way to modify them.
    fn change(&mut self) -> &mut BTreeMap<Key, (Entry, String)> {
        self.packed = None;
        &mut self.packages
    }

    fn packed(&mut self) -> io::Result<&Packed> {
        let packed = match self.packed.take() {
            Some(packed) => packed,
            None => {
                let text: Vec<&str> = self.packages.values().map(|(_, block)| block.as_str()).collect();
                Packed::of(text.concat().as_bytes())?
            }
        };
        Ok(self.packed.insert(packed))
    }
}

/// All pages, none of them empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    pages: Vec<Page>,
    count: usize,
}

impl Pages {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Entry, String)> {
        self.pages.iter().flat_map(|page| page.packages.values())
    }

    /// Index of the page that has or would have `key`: the last page that does not begin after it.
    fn place(&self, key: &Key) -> usize {
        let begins = |page: &Page| page.packages.first_key_value().is_some_and(|(first, _)| first <= key);
        self.pages.partition_point(begins).saturating_sub(1)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.pages.get(self.place(key))?.packages.get(key).map(|(entry, _)| entry)
    }

    pub(super) fn insert(&mut self, key: Key, entry: Entry, block: String) {
        let at = self.place(&key);
        if self.pages.is_empty() {
            self.pages.push(Page::default());
        }
        let packages = self.pages[at].change();
        self.count += usize::from(packages.insert(key, (entry, block)).is_none());
        if packages.len() > FULL
            && let Some(middle) = packages.keys().nth(FULL / 2).cloned()
        {
            let packages = packages.split_off(&middle);
            self.pages.insert(at + 1, Page { packages, packed: None });
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let at = self.place(key);
        if !self.pages.get(at).is_some_and(|page| page.packages.contains_key(key)) {
            return false;
        }
        let packages = self.pages[at].change();
        packages.remove(key);
        if packages.is_empty() {
            self.pages.remove(at);
        }
        self.count -= 1;
        true
    }

    /// Renders every block again.
    pub(super) fn render(&mut self, render: impl Fn(&Entry) -> String) {
        for (entry, block) in self.pages.iter_mut().flat_map(|page| page.change().values_mut()) {
            *block = render(entry);
        }
    }

    /// A gzip file (RFC 1952) of `head` and all packages, with the timestamp `mtime`.
    ///
    /// # Errors
    /// The compressor fails.
    pub(super) fn gz(&mut self, head: &[u8], mtime: u32) -> io::Result<Vec<u8>> {
        let Packed { bytes, mut crc } = Packed::of(head)?;
        let mut gz = vec![0x1f, 0x8b, 8, 0];
        gz.extend(mtime.to_le_bytes());
        // These are the extra flags, none, and the operating system, unknown.
        gz.extend([0, 255]);
        gz.extend(bytes);
        for page in &mut self.pages {
            let packed = page.packed()?;
            gz.extend_from_slice(&packed.bytes);
            crc.combine(&packed.crc);
        }
        gz.extend(END);
        gz.extend(crc.sum().to_le_bytes());
        // CRC and length are modulo 2^32.
        gz.extend(crc.amount().to_le_bytes());
        Ok(gz)
    }
}
