//! Store paths, `/nix/store/HASH-NAME`, and how Nix computes the hash part.
//!
//! The hash part is not just a hash of the content. What it is computed from depends on the kind of path: see
//! [`StoreDir::text_path`], [`StoreDir::output_path`] and [`StoreDir::source_path`].

use super::nix32;
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};
use swarm_common::{
    digest::Digest,
    wire::nix::{self, MAX_NAME, is_name_byte},
};

/// Number of digits of a hash part.
pub(super) const HASH_PART: usize = nix32::digits(HASH_BYTES);
/// Number of bytes that a hash part encodes.
const HASH_BYTES: usize = 20;

/// The error for text that is not a store path, a name or a store directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorePathError {
    /// The path is elsewhere, or inside a store path.
    #[error("`{}` is not directly in `{dir}`", .path.escape_debug())]
    Outside { path: String, dir: String },
    /// The hash part is missing or malformed.
    #[error("`{}` does not start with {HASH_PART} digits of Nix's base 32 and `-`", .0.escape_debug())]
    HashPart(String),
    /// Nix does not allow the name.
    #[error("`{}` is not a valid name: {reason}", .name.escape_debug())]
    Name {
        name: String,
        /// The rule that the name breaks.
        reason: &'static str,
    },
    /// The path cannot be a store directory.
    #[error("`{}` cannot be a store directory", .0.escape_debug())]
    Dir(String),
}

/// Checks a name against Nix's rules.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), StorePathError> {
    nix::check_name(name).map_err(|reason| {
        // A hostile name may be megabytes long.
        let name = name.chars().take(MAX_NAME).collect();
        StorePathError::Name { name, reason }
    })
}

/// A store path without its directory: `HASH-NAME`. The order is that of Nix.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(String);

impl StorePath {
    fn new(hash: [u8; HASH_BYTES], name: &str) -> Result<Self, StorePathError> {
        check_name(name)?;
        Ok(Self(format!("{}-{name}", nix32::encode(&hash))))
    }

    /// The 32 digits that identify the path. A cache serves `HASH.narinfo`, and a file that contains these
    /// digits refers to the path.
    #[must_use]
    pub fn hash_part(&self) -> &str {
        &self.0[..HASH_PART]
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.0[HASH_PART + 1..]
    }

    /// The derivation's name. `None` unless this is the path of a `.drv` file.
    #[must_use]
    pub fn derivation_name(&self) -> Option<&str> {
        self.name().strip_suffix(".drv")
    }

    /// The text `HASH-NAME`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;
    fn from_str(text: &str) -> Result<Self, StorePathError> {
        let bytes = text.as_bytes();
        let is_sound = bytes.len() > HASH_PART
            && bytes[..HASH_PART].iter().all(|&b| nix32::is_digit(b))
            && bytes[HASH_PART] == b'-';
        if !is_sound {
            return Err(StorePathError::HashPart(text.chars().take(MAX_NAME).collect()));
        }
        check_name(&text[HASH_PART + 1..])?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The store directory. It is part of what every store path is computed from, so machines that share packages
/// must have the same one: `/nix/store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDir(String);

impl Default for StoreDir {
    fn default() -> Self {
        Self("/nix/store".to_owned())
    }
}

impl StoreDir {
    /// A store directory other than `/nix/store`.
    ///
    /// # Errors
    /// The path is not absolute, is not normalised, or contains characters that Nix does not allow.
    pub fn new(path: &str) -> Result<Self, StorePathError> {
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..") && part.len() <= 255 && part.bytes().all(is_name_byte)
        };
        match path.strip_prefix('/') {
            Some(parts) if path.len() <= 1024 && parts.split('/').all(is_part) => Ok(Self(path.to_owned())),
            _ => Err(StorePathError::Dir(path.chars().take(1024).collect())),
        }
    }

    /// The directory, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The absolute path of a store path.
    #[must_use]
    pub fn absolute(&self, path: &StorePath) -> String {
        format!("{}/{path}", self.0)
    }

    /// Parses an absolute path.
    ///
    /// # Errors
    /// The path is not a store path in this directory.
    pub fn parse(&self, path: &str) -> Result<StorePath, StorePathError> {
        let below = path.strip_prefix(self.as_str()).and_then(|rest| rest.strip_prefix('/'));
        match below {
            Some(base) if !base.contains('/') => base.parse(),
            _ => {
                let path = path.chars().take(MAX_NAME).collect();
                Err(StorePathError::Outside { path, dir: self.0.clone() })
            }
        }
    }

    /// The path of a text file that refers to `references` (sorted), such as a `.drv` file.
    ///
    /// # Errors
    /// Nix does not allow the name.
    pub fn text_path<'a>(
        &self,
        name: &str,
        text: &Digest,
        references: impl IntoIterator<Item = &'a StorePath>,
    ) -> Result<StorePath, StorePathError> {
        let mut kind = "text".to_owned();
        for reference in references {
            kind.push(':');
            kind.push_str(&self.absolute(reference));
        }
        self.path(&kind, text, name)
    }

    /// The path of an output of a derivation with this hash.
    ///
    /// # Errors
    /// Nix does not allow the name.
    pub fn output_path(
        &self,
        derivation: &str,
        output: &str,
        hash: &Digest,
    ) -> Result<StorePath, StorePathError> {
        let kind = format!("output:{output}");
        match output {
            "out" => self.path(&kind, hash, derivation),
            _ => self.path(&kind, hash, &format!("{derivation}-{output}")),
        }
    }

    /// The path of a source, or of an output with a fixed NAR hash. Neither has references.
    ///
    /// # Errors
    /// Nix does not allow the name.
    pub fn source_path(&self, name: &str, nar_hash: &Digest) -> Result<StorePath, StorePathError> {
        self.path("source", nar_hash, name)
    }

    /// The path of a single file that is identified by the hash of its content, such as a source that was
    /// fetched without being unpacked.
    ///
    /// # Errors
    /// Nix does not allow the name.
    pub fn flat_path(&self, name: &str, content: &Digest) -> Result<StorePath, StorePathError> {
        let text = format!("fixed:out:sha256:{content}:");
        self.path("output:out", &Digest::of(text.as_bytes()), name)
    }

    fn path(&self, kind: &str, inner: &Digest, name: &str) -> Result<StorePath, StorePathError> {
        let mut hash = Sha256::new();
        hash.update(format!("{kind}:sha256:{inner}:{}:{name}", self.0));
        let mut folded = [0; HASH_BYTES];
        for (at, byte) in hash.finalize().into_iter().enumerate() {
            folded[at % HASH_BYTES] ^= byte;
        }
        StorePath::new(folded, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "vsqpp200i7hamsm5v9sg4hp79s5765n9";

    #[test]
    fn a_store_path_is_read_in_its_parts() {
        let dir = StoreDir::default();
        let path = dir.parse(&format!("/nix/store/{HASH}-gcc-1.0_a+b?c=d.drv")).unwrap();
        assert_eq!((path.hash_part(), path.name()), (HASH, "gcc-1.0_a+b?c=d.drv"));
        assert_eq!(path.derivation_name(), Some("gcc-1.0_a+b?c=d"));
        assert_eq!(dir.parse(&dir.absolute(&path)), Ok(path));
    }

    #[test]
    fn names_follow_the_rules_of_nix() {
        let longest = "a".repeat(211);
        for good in ["a", "...", ".hidden", "..b", "a..", "-", "+", &longest] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(212);
        for bad in ["", ".", "..", ".-a", "..-a", "a b", "a/b", "a\n", "a;b", "a,b", "é", "a:b", &too_long] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_directly_in_the_store_is_refused() {
        let dir = StoreDir::default();
        for bad in [
            format!("{HASH}-x"),
            format!("/nix/store2/{HASH}-x"),
            format!("/nix/store/{HASH}-x/bin"),
            format!("/nix/store//{HASH}-x"),
            format!("/nix/store/../store/{HASH}-x"),
            format!("/nix/store/{HASH}"),
            format!("/nix/store/{HASH}-"),
            format!("/nix/store/{HASH}x-x"),
            format!("/nix/store/{}e-x", &HASH[1..]),
            format!("/nix/store/{}é-x", &HASH[2..]),
            "/nix/store/".to_owned(),
            String::new(),
        ] {
            assert!(dir.parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_clean_absolute_path_is_a_store_directory() {
        assert!(StoreDir::new("/home/me/.store").is_ok());
        for bad in
            ["", "/", "nix/store", "/nix/store/", "/nix//store", "/nix/../store", "/nix;/store", "/a\nb"]
        {
            assert!(StoreDir::new(bad).is_err(), "{bad:?}");
        }
    }
}
