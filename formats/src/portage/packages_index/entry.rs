//! An entry of the index: one package.

use crate::{
    archive::digests::FileDigests,
    portage::gpkg::{INDEXED, Metadata},
};
use std::{collections::BTreeMap, fmt::Write as _};

/// Keys that are written under another name. Entries are sorted by the internal name, so MTIME and REPO come
/// last.
const RENAMED: [(&str, &str); 3] = [("DESCRIPTION", "DESC"), ("_mtime_", "MTIME"), ("repository", "REPO")];

/// The values that an entry requires.
const NEEDED: [&str; 4] = ["CATEGORY", "PF", "CHOST", "repository"];

/// The file of a package on the binary package host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFile {
    /// Path relative to the index.
    pub path: String,
    pub digests: FileDigests,
    /// Modification time in seconds since the Unix epoch.
    pub mtime: u64,
}

/// One package of the index: values by internal key, without empty values and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    values: BTreeMap<String, String>,
}

/// The error for metadata that lacks this key, which an entry requires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the package's metadata has no usable {0}, so it cannot be indexed")]
pub struct EntryError(pub &'static str);

impl Entry {
    /// The entry of a package file. CHOST and repository are required, because readers give those of the
    /// header to an entry without. An empty value counts as absent: Portage accepts it, but does not preserve
    /// it.
    ///
    /// # Errors
    /// The metadata lacks CATEGORY, PF, CHOST or the repository.
    pub fn new(metadata: &Metadata, file: &PublishedFile) -> Result<Self, EntryError> {
        if let Some(missing) = NEEDED.into_iter().find(|key| metadata.line(key).is_empty()) {
            return Err(EntryError(missing));
        }
        let mut values: BTreeMap<String, String> =
            INDEXED.iter().map(|&key| (key.to_owned(), metadata.line(key))).collect();
        let (category, pf) = (metadata.line("CATEGORY"), metadata.line("PF"));
        let mut set = |key: &str, value: String| values.insert(key.to_owned(), value);
        set("CPV", format!("{category}/{pf}"));
        set("PATH", file.path.clone());
        set("SIZE", file.digests.size.to_string());
        set("MD5", file.digests.md5.clone());
        set("SHA1", file.digests.sha1.clone());
        set("_mtime_", file.mtime.to_string());
        Ok(Self::from_values(values))
    }

    /// An entry with values by internal key. Empty values and defaults are dropped.
    pub(super) fn from_values(mut values: BTreeMap<String, String>) -> Self {
        values.retain(|key, value| {
            let default = match key.as_str() {
                "EAPI" | "SLOT" => "0",
                _ => "",
            };
            !value.is_empty() && value != default
        });
        Self { values }
    }

    /// The value of an internal key (`_mtime_` and `repository`, not MTIME and REPO). Empty if absent.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        match (self.values.get(key), key) {
            (Some(value), _) => value,
            (None, "EAPI" | "SLOT") => "0",
            (None, _) => "",
        }
    }

    /// The text `category/name-version`.
    #[must_use]
    pub fn cpv(&self) -> &str {
        self.get("CPV")
    }

    /// Path of the file, relative to the index.
    #[must_use]
    pub fn path(&self) -> &str {
        self.get("PATH")
    }

    /// The build id. 0 if there is none.
    #[must_use]
    pub fn build_id(&self) -> u64 {
        self.get("BUILD_ID").parse().unwrap_or(0)
    }

    /// The same package at another path, with another modification time.
    #[must_use]
    pub fn moved(&self, path: &str, mtime: u64) -> Self {
        let mut values = self.values.clone();
        values.insert("PATH".to_owned(), path.to_owned());
        values.insert("_mtime_".to_owned(), mtime.to_string());
        Self { values }
    }

    /// Serialises the entry on its own, for storage outside of an index. [`Entry::parse`] reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.render(&BTreeMap::new())
    }

    /// Parses the output of [`Entry::to_text`]. `None` if the text is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_suffix("\n\n")?;
        let pair = |line: &str| {
            let (key, value) = line.split_once(": ")?;
            Some((internal_name(key).to_owned(), value.to_owned()))
        };
        let values: BTreeMap<String, String> = body.split('\n').map(pair).collect::<Option<_>>()?;
        let entry = Self::from_values(values);
        ["CPV", "PATH", "SIZE", "MD5", "SHA1"].iter().all(|key| !entry.get(key).is_empty()).then_some(entry)
    }

    /// The block as written to the index, including its empty line. CHOST and REPO are omitted if
    /// the header has the same value.
    pub(super) fn render(&self, header: &BTreeMap<String, String>) -> String {
        let mut text = String::new();
        for (key, value) in &self.values {
            let inherited = matches!(key.as_str(), "CHOST" | "repository") && header.get(key) == Some(value);
            if !inherited {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{}: {value}", written_name(key));
            }
        }
        text.push('\n');
        text
    }
}

/// The written name of an internal key.
fn written_name(key: &str) -> &str {
    RENAMED.iter().find(|(internal, _)| *internal == key).map_or(key, |(_, written)| written)
}

/// The internal name of a written key.
pub(super) fn internal_name(key: &str) -> &str {
    RENAMED.iter().find(|(_, written)| *written == key).map_or(key, |(internal, _)| internal)
}
