//! `.narinfo` files: the metadata that a binary cache serves for a store path, in lines of
//! `Key: value`.
//!
//! A signature covers the path, the NAR's hash and size, and the references: the
//! [fingerprint](NarInfo::fingerprint). The other lines only say where to fetch the NAR, which
//! the client verifies by its hash.
//!
//! Every value has a type that excludes line breaks, so a rendered file cannot contain an
//! injected line.

use super::{
    derivation::HashAlgorithm,
    hash,
    keys::{KeyError, PublicKey, SecretKey, Signature},
    nar::NarSum,
    nix32,
    store_path::{StoreDir, StorePath, StorePathError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    str::FromStr,
};
use swarm_common::digest::Digest;

/// The maximum size of a narinfo in bytes, with room for more than ten thousand references.
pub const MAX_BYTES: usize = 1 << 20;
/// The maximum number of signatures.
const MAX_SIGNATURES: usize = 32;
/// The maximum length of a URL, in bytes.
const MAX_URL: usize = 1024;

/// The metadata of a store path in a binary cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarInfo {
    pub path: StorePath,
    pub url: NarUrl,
    /// How the file at `url` is compressed.
    pub compression: Compression,
    /// SHA-256 of the file at `url`.
    pub file_hash: Option<Digest>,
    /// Size of the file at `url` in bytes.
    pub file_size: Option<u64>,
    /// Hash and size of the uncompressed NAR.
    pub nar: NarSum,
    /// The paths that the path refers to, possibly including itself.
    pub references: BTreeSet<StorePath>,
    /// The derivation that built the path.
    pub deriver: Option<StorePath>,
    /// Signatures of the fingerprint. They have not been verified.
    pub signatures: BTreeSet<Signature>,
    /// The content address, if the path is computed from its content.
    pub content_address: Option<ContentAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarInfoError {
    /// A limit was exceeded.
    #[error("the narinfo is too large: {what} exceeds the limit of {limit}")]
    TooLarge {
        /// The quantity that is limited.
        what: &'static str,
        limit: usize,
    },
    /// A line is malformed.
    #[error("not a sound narinfo: line {line} {reason}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        reason: &'static str,
    },
    /// This mandatory key is missing.
    #[error("not a sound narinfo: `{0}` is missing")]
    Missing(&'static str),
    #[error("not a sound narinfo: {key}: {reason}")]
    Value { key: &'static str, reason: String },
}

/// The known keys. Like in Nix, lines with other keys are ignored.
const KEYS: [&str; 11] = [
    "StorePath",
    "URL",
    "Compression",
    "FileHash",
    "FileSize",
    "NarHash",
    "NarSize",
    "References",
    "Deriver",
    "Sig",
    "CA",
];

impl NarInfo {
    /// Parses a narinfo.
    ///
    /// # Errors
    /// The narinfo is malformed, incomplete or too large, or belongs to another store directory.
    pub fn parse(text: &[u8], dir: &StoreDir) -> Result<Self, NarInfoError> {
        let (fields, signatures) = fields(text)?;
        let path = |text: &str| dir.parse(text).map_err(|error| error.to_string());
        let base = |text: &str| text.parse().map_err(|error: StorePathError| error.to_string());
        let digest = |text: &str| hash::from_text(text).map_err(|error| error.to_string());
        let deriver = fields.optional("Deriver", |text| match text {
            "unknown-deriver" => Ok(None),
            _ => base(text).map(Some),
        })?;
        Ok(Self {
            path: fields.required("StorePath", path)?,
            url: fields.required("URL", NarUrl::new)?,
            compression: fields.optional("Compression", Compression::of)?.unwrap_or(Compression::Bzip2),
            file_hash: fields.optional("FileHash", digest)?,
            file_size: fields.optional("FileSize", number)?,
            nar: NarSum {
                hash: fields.required("NarHash", digest)?,
                size: fields.required("NarSize", |text| match number(text)? {
                    0 => Err("it is 0, but no NAR is empty".to_owned()),
                    size => Ok(size),
                })?,
            },
            references: fields.optional("References", |text| references(text, base))?.unwrap_or_default(),
            deriver: deriver.flatten(),
            signatures,
            content_address: fields.optional("CA", ContentAddress::new)?,
        })
    }

    /// Renders the file as Nix does.
    #[must_use]
    pub fn to_text(&self, dir: &StoreDir) -> String {
        let mut lines = vec![
            ("StorePath", dir.absolute(&self.path)),
            ("URL", self.url.to_string()),
            ("Compression", self.compression.name().to_owned()),
        ];
        lines.extend(self.file_hash.map(|digest| ("FileHash", hash::to_text(&digest))));
        lines.extend(self.file_size.map(|size| ("FileSize", size.to_string())));
        lines.push(("NarHash", hash::to_text(&self.nar.hash)));
        lines.push(("NarSize", self.nar.size.to_string()));
        let references: Vec<_> = self.references.iter().map(StorePath::as_str).collect();
        lines.push(("References", references.join(" ")));
        lines.extend(self.deriver.iter().map(|path| ("Deriver", path.to_string())));
        lines.extend(self.signatures.iter().map(|signature| ("Sig", signature.to_string())));
        lines.extend(self.content_address.iter().map(|address| ("CA", address.to_string())));
        let mut text = String::new();
        for (key, value) in lines {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{key}: {value}");
        }
        text
    }

    /// The text that signatures cover.
    #[must_use]
    pub fn fingerprint(&self, dir: &StoreDir) -> String {
        let references: Vec<_> = self.references.iter().map(|path| dir.absolute(path)).collect();
        let (path, hash) = (dir.absolute(&self.path), hash::to_text(&self.nar.hash));
        format!("1;{path};{hash};{};{}", self.nar.size, references.join(","))
    }

    /// Signs the narinfo and adds the signature.
    pub fn sign(&mut self, key: &SecretKey, dir: &StoreDir) {
        self.signatures.insert(key.sign(&self.fingerprint(dir)));
    }

    /// Whether there is a valid signature by one of these keys.
    #[must_use]
    pub fn is_signed_by(&self, keys: &[PublicKey], dir: &StoreDir) -> bool {
        let fingerprint = self.fingerprint(dir);
        let verifies = |s: &Signature| keys.iter().any(|key| key.verifies(&fingerprint, s));
        self.signatures.iter().any(verifies)
    }
}

/// The values of the known keys except `Sig`, the only key that may be repeated.
struct Fields<'a>(BTreeMap<&'static str, &'a str>);

impl<'a> Fields<'a> {
    fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<T, NarInfoError> {
        self.optional(key, read)?.ok_or(NarInfoError::Missing(key))
    }

    fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<Option<T>, NarInfoError> {
        let value = self.0.get(key).map(|value| read(value)).transpose();
        value.map_err(|reason| NarInfoError::Value { key, reason })
    }
}

fn fields(text: &[u8]) -> Result<(Fields<'_>, BTreeSet<Signature>), NarInfoError> {
    if text.len() > MAX_BYTES {
        return Err(NarInfoError::TooLarge { what: "its size in bytes", limit: MAX_BYTES });
    }
    let (mut fields, mut signatures) = (BTreeMap::new(), BTreeSet::new());
    let mut lines = text.split(|&byte| byte == b'\n').enumerate().peekable();
    while let Some((n, line)) = lines.next() {
        let wrong = |reason| NarInfoError::Line { line: n + 1, reason };
        if lines.peek().is_none() {
            // This is the text after the last line break.
            return if line.is_empty() {
                Ok((Fields(fields), signatures))
            } else {
                Err(wrong("has no line break"))
            };
        }
        let line = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8"))?;
        if line.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(wrong("contains a control character"));
        }
        let (key, value) = line.split_once(": ").ok_or_else(|| wrong("is not `Key: value`"))?;
        let Some(&key) = KEYS.iter().find(|known| **known == key) else { continue };
        if key == "Sig" {
            let signature = value
                .parse()
                .map_err(|error: KeyError| NarInfoError::Value { key, reason: error.to_string() })?;
            signatures.insert(signature);
            if signatures.len() > MAX_SIGNATURES {
                let what = "the number of its signatures";
                return Err(NarInfoError::TooLarge { what, limit: MAX_SIGNATURES });
            }
        } else if fields.insert(key, value).is_some() {
            return Err(wrong("repeats a key"));
        }
    }
    Ok((Fields(fields), signatures))
}

fn references(
    text: &str,
    read: impl Fn(&str) -> Result<StorePath, String>,
) -> Result<BTreeSet<StorePath>, String> {
    let mut references = BTreeSet::new();
    for path in text.split(' ').filter(|_| !text.is_empty()) {
        if !references.insert(read(path)?) {
            return Err(format!("`{path}` is repeated"));
        }
    }
    Ok(references)
}

fn number(text: &str) -> Result<u64, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain).ok_or_else(|| "it is not a number".to_owned())
}

/// How a NAR is compressed in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    /// bzip2, which applies if a narinfo does not name a compression.
    Bzip2,
    Brotli,
    Gzip,
    Lzip,
    Xz,
    Zstd,
}

impl Compression {
    const ALL: [Self; 7] =
        [Self::None, Self::Bzip2, Self::Brotli, Self::Gzip, Self::Lzip, Self::Xz, Self::Zstd];

    /// The name of the compression in a narinfo.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bzip2 => "bzip2",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Lzip => "lzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    fn of(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Ok(Self::Bzip2);
        }
        let found = Self::ALL.into_iter().find(|compression| compression.name() == name);
        found.ok_or_else(|| "Nix clients do not know it".to_owned())
    }
}

/// The URL of a NAR, relative to the root of the cache: `nar/HASH.nar.zst`, possibly with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarUrl(String);

impl NarUrl {
    fn new(text: &str) -> Result<Self, String> {
        if !(1..=MAX_URL).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("it must be 1 to {MAX_URL} visible ASCII characters"));
        }
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let is_clean = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains(':');
        if is_clean { Ok(Self(text.to_owned())) } else { Err("it is not a path below the cache".to_owned()) }
    }
}

impl FromStr for NarUrl {
    type Err = NarInfoError;
    fn from_str(text: &str) -> Result<Self, NarInfoError> {
        Self::new(text).map_err(|reason| NarInfoError::Value { key: "URL", reason })
    }
}

impl fmt::Display for NarUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A content address, such as `text:sha256:…` or `fixed:r:sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentAddress(String);

impl ContentAddress {
    /// The content address of a path that is determined by the hash of its NAR.
    #[must_use]
    pub fn of_nar(hash: &Digest) -> Self {
        Self(format!("fixed:r:sha256:{}", nix32::encode(&hash.0)))
    }

    fn new(text: &str) -> Result<Self, String> {
        let hash = match text.split_once(':') {
            Some(("text", hash)) => Some(hash),
            Some(("fixed", hash)) => Some(hash.strip_prefix("r:").unwrap_or(hash)),
            _ => None,
        };
        let is_sound = hash.and_then(|hash| hash.split_once(':')).is_some_and(|(algorithm, digits)| {
            HashAlgorithm::of(algorithm).is_some_and(|a| nix32::encodes(digits.as_bytes(), a.bytes()))
        });
        if is_sound {
            Ok(Self(text.to_owned()))
        } else {
            Err("it is not `text:HASH` or `fixed:[r:]HASH`".to_owned())
        }
    }
}

impl FromStr for ContentAddress {
    type Err = NarInfoError;
    fn from_str(text: &str) -> Result<Self, NarInfoError> {
        Self::new(text).map_err(|reason| NarInfoError::Value { key: "CA", reason })
    }
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
