//! Keys in Nix's text form, `NAME:BASE64`, and Ed25519 signatures by them.
//!
//! A secret key is a 32-byte seed followed by the 32-byte public key. A signature is 64 bytes and contains
//! the name of its key. The name selects the key to verify with, and is itself not signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use std::{fmt, str::FromStr};
use swarm_common::secret::Secret;

/// The maximum length of the name of a key, in bytes.
const MAX_NAME: usize = 128;

/// The error for text that is not a key or a signature. It never contains the text, which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name is missing or invalid.
    #[error("not `NAME:BASE64`: the name is missing, too long or not visible ASCII")]
    Name,
    /// The part after the colon is invalid or has the wrong size.
    #[error("not `NAME:BASE64`: the part after the colon is not {expected} bytes in base64")]
    Base64 {
        /// The required number of bytes.
        expected: usize,
    },
    /// The two halves of a secret key do not match.
    #[error("the public key in the secret key does not match its seed")]
    Mismatch,
    #[error("the system's random number generator failed")]
    Random,
}

pub struct SecretKey {
    name: String,
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// Generates a key. The second value is the text of its file.
    ///
    /// # Errors
    /// The name is invalid, or the random number generator failed.
    pub fn generate(name: &str) -> Result<(Self, Secret), KeyError> {
        check_name(name)?;
        let mut bytes = [0; 64];
        SystemRandom::new().fill(&mut bytes[..32]).map_err(|_| KeyError::Random)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&bytes[..32]).map_err(|_| KeyError::Random)?;
        bytes[32..].copy_from_slice(pair.public_key().as_ref());
        Ok((Self { name: name.to_owned(), pair }, Secret::new(&format!("{name}:{}", STANDARD.encode(bytes)))))
    }

    /// Parses the text of a key file.
    ///
    /// # Errors
    /// The text is not a secret key.
    pub fn parse(text: &Secret) -> Result<Self, KeyError> {
        let (name, bytes) = split::<64>(text.expose())?;
        let (seed, public) = bytes.split_at(32);
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| KeyError::Mismatch)?;
        Ok(Self { name: name.to_owned(), pair })
    }

    /// The public half of the key, which clients are configured to trust.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey { name: self.name.clone(), bytes }
    }

    /// Signs a fingerprint.
    #[must_use]
    pub fn sign(&self, fingerprint: &str) -> Signature {
        let bytes = self.pair.sign(fingerprint.as_bytes());
        Signature(format!("{}:{}", self.name, STANDARD.encode(bytes)))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, …)", self.name)
    }
}

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    bytes: [u8; 32],
}

impl PublicKey {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the signature names this key and is valid for the fingerprint.
    #[must_use]
    pub fn verifies(&self, fingerprint: &str, signature: &Signature) -> bool {
        let Ok((name, bytes)) = split::<64>(&signature.0) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, &self.bytes);
        name == self.name && key.verify(fingerprint.as_bytes(), &bytes).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = split(text.trim())?;
        Ok(Self { name: name.to_owned(), bytes })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, STANDARD.encode(self.bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A signature with the name of its key. The order is that of Nix.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(String);

impl Signature {
    /// The name of the key that the signature claims to be made with.
    #[must_use]
    pub fn key_name(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl FromStr for Signature {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        split::<64>(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits `NAME:BASE64` and decodes exactly `N` bytes.
fn split<const N: usize>(text: &str) -> Result<(&str, [u8; N]), KeyError> {
    let (name, base64) = text.split_once(':').ok_or(KeyError::Name)?;
    check_name(name)?;
    let error = KeyError::Base64 { expected: N };
    // Check the length first, so that a long text is not decoded.
    if base64.len() != N.div_ceil(3) * 4 {
        return Err(error);
    }
    let bytes = STANDARD.decode(base64).map_err(|_| error)?;
    Ok((name, bytes.try_into().map_err(|_| error)?))
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let is_name = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if is_name { Ok(()) } else { Err(KeyError::Name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key made by `nix-store --generate-binary-cache-key`. It is used only in this test.
    const SECRET: &str =
        "k-1:DQNItjYY/FUwtMC4FqZiItNdBB4bAACdM/HWGJ1BRM58zaL2oaKhwDC1HipSvow6p6jJBosQryDaOjzgMK70xQ==";
    const PUBLIC: &str = "k-1:fM2i9qGiocAwtR4qUr6MOqeoyQaLEK8g2jo84DCu9MU=";

    #[test]
    fn a_key_of_nix_is_read_and_its_public_key_written_as_nix_writes_it() {
        let key = SecretKey::parse(&Secret::new(SECRET)).unwrap();
        assert_eq!(key.public().to_string(), PUBLIC);
        assert_eq!(PUBLIC.parse(), Ok(key.public()));
    }

    #[test]
    fn a_new_key_survives_its_file() {
        let (key, text) = SecretKey::generate("swarm-1").unwrap();
        let again = SecretKey::parse(&Secret::new(&format!("{}\n", text.expose()))).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(again.public().verifies("1;x", &key.sign("1;x")));
        assert!(!format!("{key:?} {text:?}").contains(text.expose()));
    }

    #[test]
    fn a_signature_of_another_key_name_or_text_does_not_count() {
        let (key, _) = SecretKey::generate("swarm-1").unwrap();
        let (same_name, _) = SecretKey::generate("swarm-1").unwrap();
        let signature = key.sign("1;x");
        assert!(!key.public().verifies("1;y", &signature));
        assert!(!same_name.public().verifies("1;x", &signature));
        let renamed = signature.to_string().replacen("swarm-1", "swarm-2", 1).parse().unwrap();
        assert!(!key.public().verifies("1;x", &renamed));
        assert_eq!(renamed.key_name(), "swarm-2");
    }

    #[test]
    fn damaged_keys_and_signatures_are_refused() {
        let base64 = &SECRET[4..];
        let other = SecretKey::generate("k-1").unwrap().1;
        let halves = format!("{}{}", &SECRET[..40], &other.expose()[40..]);
        for (bad, why) in [
            (base64.to_owned(), KeyError::Name),
            (format!(":{base64}"), KeyError::Name),
            (format!("a b:{base64}"), KeyError::Name),
            (format!("{}:{base64}", "a".repeat(129)), KeyError::Name),
            (PUBLIC.to_owned(), KeyError::Base64 { expected: 64 }),
            (SECRET.replace("==", ""), KeyError::Base64 { expected: 64 }),
            (SECRET.replace("xQ==", "xR=="), KeyError::Base64 { expected: 64 }),
            (SECRET.replace("DQN", "D-N"), KeyError::Base64 { expected: 64 }),
            (halves, KeyError::Mismatch),
        ] {
            assert_eq!(SecretKey::parse(&Secret::new(&bad)).map(|_| ()), Err(why), "{bad}");
        }
        for bad in ["", "k", "k:", "k:AAAA", "k:AAAA\nSig: x"] {
            assert!(bad.parse::<Signature>().is_err() && bad.parse::<PublicKey>().is_err(), "{bad:?}");
        }
    }
}
