//! A complete index.

use super::{
    entry::{Entry, internal_name},
    pages::{Key, Pages},
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// The header and packages of an index. Each package is kept with its rendered block, so that adding a
/// package renders one block and compresses one page.
#[derive(Debug, Clone, Default)]
pub struct PackagesIndex {
    header: BTreeMap<String, String>,
    packages: Pages,
}

/// Compares only the content, not how it is divided into pages.
impl PartialEq for PackagesIndex {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.packages.iter().eq(other.packages.iter())
    }
}

impl Eq for PackagesIndex {}

/// The error for text that is not an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The header has this VERSION instead of 0.
    #[error("not a package index of version 0: it says VERSION `{0}`")]
    Version(String),
    /// The line with this number, counted from 1, is not `KEY: value`.
    #[error("line {0} of the package index is not `KEY: value`")]
    Line(usize),
    /// The package that ends in this line has no CPV.
    #[error("the package that ends in line {0} of the package index has no CPV")]
    NoCpv(usize),
    /// The number of packages differs from PACKAGES in the header.
    #[error("the package index says PACKAGES {declared} but has {found}: it is incomplete")]
    Count {
        declared: String,
        /// The actual number of packages.
        found: usize,
    },
}

/// Header keys that the index sets itself.
const OWN_KEYS: [&str; 3] = ["PACKAGES", "TIMESTAMP", "VERSION"];

fn key_of(entry: &Entry) -> Key {
    (entry.cpv().to_owned(), entry.build_id(), entry.path().to_owned())
}

impl PackagesIndex {
    /// An empty index. `header` contains the profile's values (ARCH, CHOST, USE ...). PACKAGES, TIMESTAMP and
    /// VERSION in it are ignored.
    #[must_use]
    pub fn new(header: BTreeMap<String, String>) -> Self {
        let mut index = Self::default();
        index.set_header(header);
        index
    }

    /// Replaces the profile's part of the header. Blocks are rendered again only if an inherited value (CHOST
    /// or the repository) has changed.
    pub fn set_header(&mut self, mut header: BTreeMap<String, String>) {
        header.retain(|key, value| {
            let words: Vec<&str> = value.split_whitespace().collect();
            *value = words.join(" ");
            !OWN_KEYS.contains(&key.as_str()) && !value.is_empty() && is_key(key)
        });
        header.insert("VERSION".to_owned(), "0".to_owned());
        if let Some(timestamp) = self.header.get("TIMESTAMP") {
            header.insert("TIMESTAMP".to_owned(), timestamp.clone());
        }
        let inherited_change =
            ["CHOST", "repository"].iter().any(|key| header.get(*key) != self.header.get(*key));
        self.header = header;
        if inherited_change {
            self.packages.render(|entry| entry.render(&self.header));
        }
    }

    /// The header as written, including PACKAGES.
    #[must_use]
    pub fn header(&self) -> BTreeMap<String, String> {
        let mut header = self.header.clone();
        header.insert("PACKAGES".to_owned(), self.packages.len().to_string());
        header
    }

    /// Publication time of the index, in seconds since the Unix epoch. 0 if it was never published.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.header.get("TIMESTAMP").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Sets the publication time, in seconds since the Unix epoch.
    pub fn set_timestamp(&mut self, seconds: u64) {
        self.header.insert("TIMESTAMP".to_owned(), seconds.to_string());
    }

    /// Adds a package, or replaces the one with the same version, build id and path.
    pub fn insert(&mut self, entry: Entry) {
        let block = entry.render(&self.header);
        self.packages.insert(key_of(&entry), entry, block);
    }

    /// Removes a package. Returns whether it was in the index.
    pub fn remove(&mut self, entry: &Entry) -> bool {
        self.packages.remove(&key_of(entry))
    }

    /// Whether the index has exactly this entry.
    #[must_use]
    pub fn contains(&self, entry: &Entry) -> bool {
        self.packages.get(&key_of(entry)) == Some(entry)
    }

    /// The packages in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.packages.iter().map(|(entry, _)| entry)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the index.
    ///
    /// # Errors
    /// Writing fails.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        out.write_all(self.head().as_bytes())?;
        self.packages.iter().try_for_each(|(_, block)| out.write_all(block.as_bytes()))
    }

    /// The header block as written.
    fn head(&self) -> String {
        let lines = self.header().into_iter().map(|(key, value)| format!("{key}: {value}\n"));
        lines.chain([String::from("\n")]).collect()
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to a Vec cannot fail.
        let _ = self.write(&mut bytes);
        bytes
    }

    /// The index as a gzip file with the timestamp of the index. Pages that have not changed since the last
    /// call are not compressed again.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn gz(&mut self) -> io::Result<Vec<u8>> {
        // The gzip header has 32 bits for the timestamp.
        let mtime = u32::try_from(self.timestamp()).unwrap_or(0);
        self.packages.gz(self.head().as_bytes(), mtime)
    }

    /// Parses an index. Unknown keys are kept.
    ///
    /// # Errors
    /// The index has another version, is malformed or is incomplete.
    pub fn parse(text: &str) -> Result<Self, IndexError> {
        let mut lines = text.lines().enumerate();
        let header = block(&mut lines)?.0;
        let version = header.get("VERSION").map_or("", String::as_str);
        if version != "0" {
            return Err(IndexError::Version(version.chars().take(40).collect()));
        }
        let mut index = Self { header: header.clone(), packages: Pages::default() };
        let mut found = 0;
        loop {
            let (mut values, end) = block(&mut lines)?;
            if values.is_empty() {
                break;
            }
            for key in ["CHOST", "repository"] {
                if let Some(inherited) = header.get(key) {
                    values.entry(key.to_owned()).or_insert_with(|| inherited.clone());
                }
            }
            let entry = Entry::from_values(values);
            if entry.cpv().is_empty() {
                return Err(IndexError::NoCpv(end));
            }
            index.insert(entry);
            found += 1;
        }
        let declared = header.get("PACKAGES").cloned().unwrap_or_default();
        if declared != found.to_string() {
            return Err(IndexError::Count { declared: declared.chars().take(40).collect(), found });
        }
        index.header.remove("PACKAGES");
        Ok(index)
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

type Block = (BTreeMap<String, String>, usize);

/// The next block by internal key, and the number of its last line. Empty at the end of the index.
fn block<'t>(lines: &mut impl Iterator<Item = (usize, &'t str)>) -> Result<Block, IndexError> {
    let mut values = BTreeMap::new();
    let mut end = 0;
    for (at, line) in lines {
        end = at + 1;
        if line.is_empty() {
            break;
        }
        let (key, value) =
            line.split_once(':').filter(|(key, _)| is_key(key)).ok_or(IndexError::Line(end))?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        values.insert(internal_name(key).to_owned(), value.to_owned());
    }
    Ok((values, end))
}
