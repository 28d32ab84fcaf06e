//! The OpenPGP secret key: generated at the first start or supplied by the administrator.
//!
//! It is a version 4 key with legacy Ed25519 (as RFC 9580 calls it), because GnuPG 2.2 on current
//! workstations supports nothing newer. The file is an armored secret key without a passphrase,
//! because the orchestrator signs unattended; it is protected by its file mode, which is enforced.

use super::{error::KeyError, file};
use crate::store::disk::DiskError;
use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, Deserializable, DetachedSignature, KeyType,
        SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
    },
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData},
    ser::Serialize as _,
    types::{KeyDetails, KeyVersion, Password, SigningKey, Timestamp},
};
use std::{io, path::Path};
use swarm_formats::archive::sha512::Sha512;

/// A secret key that can sign, with its public key. Does not implement `Debug`, so that it cannot be logged.
pub struct OpenPgpKey {
    secret: SignedSecretKey,
    /// Index of the signing subkey; `None` for the primary key.
    subkey: Option<usize>,
}

impl OpenPgpKey {
    /// Loads the key from `path`, or generates one for `user_id` (such as
    /// `Build Swarm <swarm@nas>`) if there is no file. The second value tells whether it was
    /// generated.
    ///
    /// # Errors
    /// The file is exposed, damaged or unusable, or the disk fails.
    pub fn load_or_create(path: &Path, user_id: &str) -> Result<(Self, bool), KeyError> {
        match Self::load(path) {
            Err(KeyError::Disk(DiskError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate(user_id)?;
                key.save(path)?;
                Ok((key, true))
            }
            other => Ok((other?, false)),
        }
    }

    /// Loads an armored secret key without a passphrase.
    ///
    /// # Errors
    /// See [`OpenPgpKey::load_or_create`]; also if there is no file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = file::read(path)?;
        Self::from_armored(&text).map_err(|reason| KeyError::Unusable { path: path.to_owned(), reason })
    }

    /// Parses an armored secret key.
    ///
    /// # Errors
    /// The text is not a secret key, has a passphrase, is not version 4, or cannot sign. The
    /// message says why and what to do.
    pub fn from_armored(text: &str) -> Result<Self, String> {
        let (secret, _) = SignedSecretKey::from_string(text)
            .map_err(|error| format!("{error}; export one with gpg --armor --export-secret-keys"))?;
        secret.verify_bindings().map_err(|error| format!("its parts do not match: {error}"))?;
        if secret.primary_key.version() != KeyVersion::V4 {
            return Err(
                "it is not an OpenPGP version 4 key, the only version that GnuPG 2.2 supports".to_owned()
            );
        }
        let signs = |signature: &Signature| signature.key_flags().sign();
        let subkey = secret.secret_subkeys.iter().rposition(|key| key.signatures.iter().any(signs));
        let key = Self { secret, subkey };
        key.detached(Sha512::default())
            .map_err(|error| format!("it cannot sign ({error}); it must have no passphrase"))?;
        Ok(key)
    }

    /// Generates a signing-only key that never expires.
    ///
    /// # Errors
    /// The user id is invalid.
    pub fn generate(user_id: &str) -> Result<Self, KeyError> {
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(user_id.to_owned())
            .build()
            .map_err(|error| pgp::errors::Error::from(io::Error::other(error.to_string())))?;
        let secret = params.generate(rand::rngs::OsRng)?;
        Ok(Self { secret, subkey: None })
    }

    /// Writes the secret key to a new file that only its owner can read.
    ///
    /// # Errors
    /// The disk fails, or the file already exists.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let text = self.secret.to_armored_string(ArmorOptions::default())?;
        file::write_new(path, &text)
    }

    /// The armored public key, for workstations to import.
    ///
    /// # Errors
    /// The key cannot be serialised.
    pub fn public_armored(&self) -> Result<String, KeyError> {
        Ok(SignedPublicKey::from(self.secret.clone()).to_armored_string(ArmorOptions::default())?)
    }

    /// Fingerprint of the primary key: 40 upper-case hexadecimal digits, in the form that `gpg`
    /// takes for owner trust.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode_upper(self.secret.primary_key.fingerprint().as_bytes())
    }

    /// The armored detached signature over everything hashed in `bytes`. The data need not be read
    /// again, because a signature covers the digest of the data followed by the signature's own
    /// fields and their length (RFC 9580, section 5.2.4).
    ///
    /// # Errors
    /// Signing fails.
    pub fn detached(&self, mut bytes: Sha512) -> Result<String, KeyError> {
        let config = self.config(SignatureType::Binary)?;
        let mut subpackets = Vec::new();
        config.hashed_subpackets().try_for_each(|packet| packet.to_writer(&mut subpackets))?;
        let length = u16::try_from(subpackets.len()).map_err(pgp::errors::Error::from)?;
        let kinds = [4, SignatureType::Binary.into(), config.pub_alg.into(), config.hash_alg.into()];
        let fields = [&kinds[..], &length.to_be_bytes(), &subpackets].concat();
        bytes.update(&fields);
        bytes.update(&config.trailer(fields.len())?);
        let hash = bytes.finish();
        let made = self.signer().sign(&Password::empty(), config.hash_alg, &hash)?;
        let signature = Signature::from_config(config, [hash[0], hash[1]], made)?;
        Ok(DetachedSignature::new(signature).to_armored_string(ArmorOptions::default())?)
    }

    /// Clear-signs `text` (RFC 9580, section 7).
    ///
    /// # Errors
    /// Signing fails.
    pub fn clear_sign(&self, text: &str) -> Result<String, KeyError> {
        // The line break before the signature is not part of the text.
        let text = text.strip_suffix('\n').unwrap_or(text);
        let config = self.config(SignatureType::Text)?;
        let message = CleartextSignedMessage::new(text, config, &self.signer(), &Password::empty())?;
        Ok(message.to_armored_string(ArmorOptions::default())?)
    }

    #[expect(clippy::redundant_allocation, reason = "the crate takes trait objects in this form only")]
    fn signer(&self) -> Box<&dyn SigningKey> {
        match self.subkey.and_then(|at| self.secret.secret_subkeys.get(at)) {
            Some(subkey) => Box::new(&subkey.key),
            None => Box::new(&self.secret.primary_key),
        }
    }

    fn config(&self, typ: SignatureType) -> Result<SignatureConfig, KeyError> {
        let key = self.signer();
        let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha512);
        // A signature must not be older than its key, even if the clock was set back: every workstation would
        // refuse it.
        let now = Timestamp::now().max(key.created_at());
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
            Subpacket::regular(SubpacketData::SignatureCreationTime(now))?,
        ];
        config.unhashed_subpackets =
            vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signing-key.asc");
        let (first, made) = OpenPgpKey::load_or_create(&path, "Test <test@example.org>").unwrap();
        assert!(made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (second, made) = OpenPgpKey::load_or_create(&path, "Other").unwrap();
        assert!(!made);
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.fingerprint().len(), 40);
        assert!(first.public_armored().unwrap().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
        assert!(first.save(&path).is_err(), "a key that is there is never replaced");
    }

    #[test]
    fn a_key_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&OpenPgpKey::generate("Test").unwrap());
    }

    #[test]
    fn an_exposed_or_damaged_key_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        OpenPgpKey::generate("Test").unwrap().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = OpenPgpKey::load(&path).err().unwrap();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(OpenPgpKey::load(&path), Err(KeyError::Unusable { .. })));
        fs::write(&path, OpenPgpKey::generate("Test").unwrap().public_armored().unwrap()).unwrap();
        let error = OpenPgpKey::load(&path).err().unwrap();
        assert!(error.to_string().contains("--export-secret-keys"), "{error}");
    }
}
