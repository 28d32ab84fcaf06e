//! `category/name-version`: the exact identity of a Gentoo package version.
//!
//! Grammar: Package Manager Specification (EAPI 8), sections 3.1 (names) and 3.2 (versions).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A category, a package name and a version with its revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpv {
    text: String,
    /// Length of the category.
    slash: usize,
    /// Length of `category/name`.
    dash: usize,
}

/// The error for text that is not a category, name and version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid package version `{0}`: expected category/name-version, such as dev-libs/icu-75.1-r2")]
pub struct ParseCpvError(String);

impl Cpv {
    /// `dev-libs` of `dev-libs/icu-75.1-r2`.
    #[must_use]
    pub fn category(&self) -> &str {
        &self.text[..self.slash]
    }

    /// `icu`.
    #[must_use]
    pub fn pn(&self) -> &str {
        &self.text[self.slash + 1..self.dash]
    }

    /// `dev-libs/icu`.
    #[must_use]
    pub fn cp(&self) -> &str {
        &self.text[..self.dash]
    }

    /// `icu-75.1-r2`.
    #[must_use]
    pub fn pf(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// `75.1-r2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.text[self.dash + 1..]
    }

    /// The text, such as `dev-libs/icu-75.1-r2`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A category or package name: first one of `A-Za-z0-9+_`, then also `-` (and `.` in a category).
fn is_name(text: &str, dots: bool) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'+';
    match text.bytes().next() {
        Some(first) if first.is_ascii_alphanumeric() || first == b'_' => {
            text.bytes().all(|b| inner(b) || b == b'-' || (dots && b == b'.'))
        }
        _ => false,
    }
}

/// Digits separated by dots, an optional letter, suffixes such as `_rc1`, an optional `-r3`.
fn is_version(text: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let base = match text.rsplit_once("-r") {
        Some((base, revision)) if digits(revision) => base,
        Some(_) => return false,
        None => text,
    };
    let mut parts = base.split('_');
    let Some(numbers) = parts.next() else { return false };
    let numbers = match numbers.as_bytes().last() {
        Some(last) if last.is_ascii_lowercase() => &numbers[..numbers.len() - 1],
        _ => numbers,
    };
    let suffix = |part: &str| {
        ["alpha", "beta", "pre", "rc", "p"]
            .iter()
            .any(|kind| part.strip_prefix(kind).is_some_and(|n| n.is_empty() || digits(n)))
    };
    numbers.split('.').all(digits) && parts.all(suffix)
}

impl FromStr for Cpv {
    type Err = ParseCpvError;
    fn from_str(text: &str) -> Result<Self, ParseCpvError> {
        let refuse = || ParseCpvError(text.chars().take(80).collect());
        if text.len() > 255 {
            return Err(refuse());
        }
        let slash = text.find('/').ok_or_else(refuse)?;
        let rest = &text[slash + 1..];
        // The version begins at the first dash that is followed by a valid version. A name must not
        // end like a version, so the first is the only candidate.
        let dash = rest
            .match_indices('-')
            .map(|(at, _)| at)
            .find(|&at| is_version(&rest[at + 1..]))
            .ok_or_else(refuse)?;
        if is_name(&text[..slash], true) && is_name(&rest[..dash], false) {
            Ok(Self { text: text.to_owned(), slash, dash: slash + 1 + dash })
        } else {
            Err(refuse())
        }
    }
}

impl fmt::Display for Cpv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Cpv {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Cpv {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Cpv {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .examples(["dev-libs/icu-75.1"])
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Cpv {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpv_falls_into_its_parts() {
        let cpv: Cpv = "x11-libs/gtk+-3.24.42a_rc1_p3-r12".parse().unwrap();
        assert_eq!(cpv.category(), "x11-libs");
        assert_eq!(cpv.pn(), "gtk+");
        assert_eq!(cpv.cp(), "x11-libs/gtk+");
        assert_eq!(cpv.version(), "3.24.42a_rc1_p3-r12");
        assert_eq!(cpv.pf(), "gtk+-3.24.42a_rc1_p3-r12");
    }

    #[test]
    fn names_with_dashes_and_digits_keep_their_version() {
        for (text, pn, version) in [
            ("media-libs/libsdl2-2.0.5", "libsdl2", "2.0.5"),
            ("dev-python/font-awesome-4-free-5.1", "font-awesome-4-free", "5.1"),
            ("virtual/lab-meta-1", "lab-meta", "1"),
        ] {
            let cpv: Cpv = text.parse().unwrap();
            assert_eq!((cpv.pn(), cpv.version()), (pn, version));
        }
    }

    // fault: 34
    #[test]
    fn hostile_and_malformed_names_are_refused() {
        let long = format!("a/{}-1", "b".repeat(10_000));
        for bad in [
            "",
            "/",
            "a/b",
            "a/-1",
            "a/b-",
            "/b-1",
            "a/b-1;rm -rf",
            "a/b-1\n",
            "../b-1",
            "-a/b-1",
            "a/b-1-r",
            "a/b-1-rx",
            "a/b-1_foo",
            "a/b-1..2",
            "a/ä-1",
            "a/b/c-1",
            "=a/b-1",
            &long,
        ] {
            assert!(bad.parse::<Cpv>().is_err(), "{bad:?}");
        }
    }
}
