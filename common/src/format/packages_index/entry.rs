//! One package of the index.

use crate::format::{digests::FileDigests, gpkg::Metadata};
use std::{collections::BTreeMap, fmt::Write as _};

/// Keys that come from a package's metadata, by their internal names.
pub(crate) const METADATA_KEYS: [&str; 21] = [
    "BDEPEND",
    "BUILD_ID",
    "BUILD_TIME",
    "CHOST",
    "DEFINED_PHASES",
    "DEPEND",
    "EAPI",
    "IDEPEND",
    "IUSE",
    "KEYWORDS",
    "LICENSE",
    "PDEPEND",
    "PROPERTIES",
    "PROVIDES",
    "RDEPEND",
    "REQUIRES",
    "RESTRICT",
    "SLOT",
    "USE",
    "USER_PATCHES",
    "repository",
];

/// Keys that are written under another name. The internal one decides the order, so that
/// MTIME and REPO come last.
const RENAMED: [(&str, &str); 3] = [("DESCRIPTION", "DESC"), ("_mtime_", "MTIME"), ("repository", "REPO")];

/// Where a package lies in the binary package host, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFile {
    /// Path below the index.
    pub path: String,
    /// The bytes.
    pub digests: FileDigests,
    /// Modification time in seconds since the epoch.
    pub mtime: u64,
}

/// One package of the index: values by internal key, none empty or a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    values: BTreeMap<String, String>,
}

/// Why metadata makes no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the package's metadata has no usable {0}, so it cannot be indexed")]
pub struct EntryError(pub &'static str);

impl Entry {
    /// The entry for a package file.
    ///
    /// # Errors
    /// If the metadata lacks CATEGORY or PF.
    pub fn new(metadata: &Metadata, file: &PublishedFile) -> Result<Self, EntryError> {
        let mut values: BTreeMap<String, String> =
            METADATA_KEYS.iter().map(|&key| (key.to_owned(), metadata.line(key))).collect();
        let (category, pf) = (metadata.line("CATEGORY"), metadata.line("PF"));
        if category.is_empty() {
            return Err(EntryError("CATEGORY"));
        }
        if pf.is_empty() {
            return Err(EntryError("PF"));
        }
        let mut set = |key: &str, value: String| values.insert(key.to_owned(), value);
        set("CPV", format!("{category}/{pf}"));
        set("PATH", file.path.clone());
        set("SIZE", file.digests.size.to_string());
        set("MD5", file.digests.md5.clone());
        set("SHA1", file.digests.sha1.clone());
        set("_mtime_", file.mtime.to_string());
        Ok(Self::from_values(values))
    }

    /// An entry of values by internal key; empty ones and defaults are dropped.
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

    /// A value by internal key (`_mtime_` and `repository`, not MTIME and REPO). Empty if
    /// it is absent.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        match (self.values.get(key), key) {
            (Some(value), _) => value,
            (None, "EAPI" | "SLOT") => "0",
            (None, _) => "",
        }
    }

    /// `category/name-version`.
    #[must_use]
    pub fn cpv(&self) -> &str {
        self.get("CPV")
    }

    /// Where the file lies below the index.
    #[must_use]
    pub fn path(&self) -> &str {
        self.get("PATH")
    }

    /// The build id; 0 where there is none.
    #[must_use]
    pub fn build_id(&self) -> u64 {
        self.get("BUILD_ID").parse().unwrap_or(0)
    }

    /// The same package under another path and time.
    #[must_use]
    pub fn moved(&self, path: &str, mtime: u64) -> Self {
        let mut values = self.values.clone();
        values.insert("PATH".to_owned(), path.to_owned());
        values.insert("_mtime_".to_owned(), mtime.to_string());
        Self { values }
    }

    /// The entry on its own, for keeping it outside an index; [`Entry::parse`] reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.render(&BTreeMap::new())
    }

    /// Reads what [`Entry::to_text`] wrote. `None` if it is anything else.
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

    /// The block as it stands in the index, its empty line included. CHOST and REPO are
    /// left out where the header says the same.
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

/// The name a key is written under.
fn written_name(key: &str) -> &str {
    RENAMED.iter().find(|(internal, _)| *internal == key).map_or(key, |(_, written)| written)
}

/// The internal name of a key that was read.
pub(super) fn internal_name(key: &str) -> &str {
    RENAMED.iter().find(|(_, written)| *written == key).map_or(key, |(internal, _)| internal)
}
