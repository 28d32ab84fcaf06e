//! User-chosen names of profiles and drones. They become path components, URL segments and label
//! values, so the alphabet is small.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

/// A name: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Name(String);

/// The error for text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid name `{0}`: use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, starting with a letter or digit")]
pub struct ParseNameError(String);

impl Name {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseNameError;
    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let first = text.bytes().next();
        let starts_well = first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_is_well =
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if starts_well && rest_is_well && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNameError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_path_components() {
        for good in ["desk", "d1", "workstation-2.home_lab"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "..", "-x", "a/b", "A", "a b", "ä", "a\n", &long] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
