//! Identifiers. Each kind has its own type and its own prefix on the wire, so a package id in place of an
//! attempt id is a parse error and not a failed lookup.
//!
//! The core allocates the numbers: they start at 1, only increase and are never reused. An attempt's number
//! therefore also serves as its fencing token: of two attempts at a package, the one with the larger id is
//! newer.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The error for text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id: expected `{prefix}` followed by a number, such as `{prefix}12`")]
pub struct ParseIdError {
    kind: &'static str,
    prefix: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError {
                        kind: $kind,
                        prefix: $prefix,
                        // Do not echo untrusted input at full length.
                        text: text.chars().take(40).collect(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "[0-9]+$")))
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

id!(/** One pass over a profile's plan. */ RunId, "run", "r");
id!(/** One buildable node of a run's plan. */ PackageId, "package", "p");
id!(/** One delegation of work to one drone; its number is the fencing token. */ AttemptId, "attempt", "a");
id!(/** One enrolled drone. */ DroneId, "drone", "d");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_json() {
        let id: AttemptId = "a42".parse().unwrap();
        assert_eq!(id, AttemptId(42));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a42\"");
        assert_eq!(serde_json::from_str::<AttemptId>("\"a42\"").unwrap(), id);
    }

    #[test]
    fn an_id_of_another_kind_or_shape_is_refused() {
        for text in ["p42", "a", "a-1", "a+1", "42", "", "a99999999999999999999"] {
            assert!(text.parse::<AttemptId>().is_err(), "{text}");
        }
    }
}
