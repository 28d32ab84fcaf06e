//! The fingerprint of a TLS certificate, for pinning: the SHA-256 digest of its DER encoding, written as
//! `sha256:` and 64 hexadecimal digits. The output of `openssl x509 -fingerprint -sha256` (upper case with
//! colons) is accepted as well, because people copy it.

use crate::digest::Digest;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};
use std::{fmt, str::FromStr};

const PREFIX: &str = "sha256:";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Digest);

/// The error for text that is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a fingerprint: expected `sha256:` and 64 hexadecimal digits, as the orchestrator logs it when it starts"
)]
pub struct ParseFingerprintError;

impl Fingerprint {
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(Digest::of(der))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;
    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.strip_prefix(PREFIX).ok_or(ParseFingerprintError)?.replace(':', "");
        digits.parse().map(Self).map_err(|_| ParseFingerprintError)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The pinned fingerprints. In a configuration file: a string, or a list if there are several orchestrators
/// or while a certificate is being replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(pub Vec<Fingerprint>);

impl Serialize for Pins {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(s),
            several => several.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Pins;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fingerprint such as \"sha256:…\", or a list of them")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Pins, E> {
                text.parse().map(|one| Pins(vec![one])).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pins, A::Error> {
                let mut pins = Vec::new();
                while let Some(pin) = list.next_element()? {
                    pins.push(pin);
                }
                Ok(Pins(pins))
            }
        }
        d.deserialize_any(OneOrMore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_openssls_way_of_writing_are_the_same_fingerprint() {
        let ours = Fingerprint::of_certificate(b"a certificate").to_string();
        let digits: Vec<u8> = ours.strip_prefix(PREFIX).unwrap().to_uppercase().into_bytes();
        let pairs: Vec<_> = digits.chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
        let theirs = format!("SHA256:{}", pairs.join(":"));
        assert_eq!(theirs.parse::<Fingerprint>(), ours.parse());
        for bad in ["", "sha256:", "sha1:00", &ours[..70], &ours[7..], &format!("{ours}00")] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_fingerprint_and_a_list_are_read_and_written_alike() {
        let one = Fingerprint::of_certificate(b"1");
        let two = Fingerprint::of_certificate(b"2");
        for pins in [Pins(vec![one]), Pins(vec![one, two]), Pins(vec![])] {
            let text = serde_json::to_string(&pins).unwrap();
            assert_eq!(serde_json::from_str::<Pins>(&text).unwrap(), pins);
        }
        let error = serde_json::from_str::<Pins>("\"sha256:12\"").unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
    }
}
