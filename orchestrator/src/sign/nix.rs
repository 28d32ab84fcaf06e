//! The keys that sign the paths of Nix caches (ed25519): generated at the first start, or supplied
//! by the administrator, in the files of `nix-store --generate-binary-cache-key`.
//!
//! During a key rotation there are several keys, and all of them sign, so that clients that trust only the
//! old or only the new key accept every path.

use super::{error::KeyError, file};
use crate::store::disk::DiskError;
use std::{
    io,
    path::{Path, PathBuf},
};
use swarm_common::{secret::Secret, wire::ready::Ready};
use swarm_formats::nix::{
    keys::{PublicKey, SecretKey},
    narinfo::NarInfo,
    store_path::StoreDir,
};

#[derive(Debug)]
pub struct NixKeys {
    secret: Vec<SecretKey>,
    public: Vec<PublicKey>,
}

impl NixKeys {
    /// Loads the key from `path`, or generates one called `name` if there is no file. The second value is
    /// whether it was generated.
    ///
    /// # Errors
    /// The file is exposed, damaged or unusable, or the disk fails.
    pub fn load_or_create(path: &Path, name: &str) -> Result<(Self, bool), KeyError> {
        match load(path) {
            Err(KeyError::Disk(DiskError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                let (key, text) = SecretKey::generate(name).map_err(unusable(path))?;
                file::write_new(path, &format!("{}\n", text.expose()))?;
                Ok((Self::of(vec![key]), true))
            }
            other => Ok((Self::of(vec![other?]), false)),
        }
    }

    /// Loads keys that must exist.
    ///
    /// # Errors
    /// A file is missing, exposed, damaged or unusable, or two keys have the same name, by which clients
    /// identify keys.
    pub fn load(paths: &[PathBuf]) -> Result<Self, KeyError> {
        let mut keys: Vec<SecretKey> = Vec::with_capacity(paths.len());
        for path in paths {
            let key = load(path)?;
            if keys.iter().any(|other| other.public().name() == key.public().name()) {
                let reason = format!("duplicate key name `{}`", key.public().name());
                return Err(KeyError::Unusable { path: path.clone(), reason });
            }
            keys.push(key);
        }
        Ok(Self::of(keys))
    }

    fn of(secret: Vec<SecretKey>) -> Self {
        let public = secret.iter().map(SecretKey::public).collect();
        Self { secret, public }
    }

    /// The public keys in the form of `trusted-public-keys`.
    #[must_use]
    pub fn public(&self) -> Vec<String> {
        self.public.iter().map(ToString::to_string).collect()
    }

    /// Signs with every key, replacing all signatures.
    pub fn sign(&self, info: &mut NarInfo, dir: &StoreDir) {
        info.signatures.clear();
        self.secret.iter().for_each(|key| info.sign(key, dir));
    }

    /// Signs a pointer with every key, replacing all signatures.
    pub fn sign_ready(&self, ready: &mut Ready) {
        let text = ready.fingerprint();
        ready.signatures = self.secret.iter().map(|key| key.sign(&text).to_string()).collect();
    }

    /// Whether at least one key has signed the content of a narinfo.
    #[must_use]
    pub fn has_signed(&self, info: &NarInfo, dir: &StoreDir) -> bool {
        info.is_signed_by(&self.public, dir)
    }

    /// Whether every key has signed, and no other.
    #[must_use]
    pub fn have_signed(&self, info: &NarInfo, dir: &StoreDir) -> bool {
        info.signatures.len() == self.public.len()
            && self.public.iter().all(|key| info.is_signed_by(std::slice::from_ref(key), dir))
    }
}

/// The name of this machine's key: `swarm-HOST-1`.
#[must_use]
pub fn name_for(host: &str) -> String {
    let short = host.split('.').next().unwrap_or_default();
    let plain: String = short.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    format!("swarm-{}-1", if plain.is_empty() { "farm" } else { &plain })
}

fn load(path: &Path) -> Result<SecretKey, KeyError> {
    let text = file::read(path)?;
    SecretKey::parse(&Secret::new(&text)).map_err(unusable(path))
}

fn unusable(path: &Path) -> impl FnOnce(swarm_formats::nix::keys::KeyError) -> KeyError + '_ {
    move |error| KeyError::Unusable {
        path: path.to_owned(),
        reason: format!("{error}; create one with nix-store --generate-binary-cache-key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};
    use swarm_common::digest::Digest;
    use swarm_formats::nix::{nar::NarSum, narinfo::Compression};

    fn info() -> NarInfo {
        NarInfo {
            path: format!("{}-x", "a".repeat(32)).parse().unwrap(),
            url: "nar/x.nar.zst".parse().unwrap(),
            compression: Compression::Zstd,
            file_hash: None,
            file_size: None,
            nar: NarSum { hash: Digest::of(b"x"), size: 1 },
            references: [].into(),
            deriver: None,
            signatures: [].into(),
            content_address: None,
        }
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nix-signing-key");
        let (first, made) = NixKeys::load_or_create(&path, &name_for("nas.example.org")).unwrap();
        assert!(made && first.public()[0].starts_with("swarm-nas-1:"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (second, made) = NixKeys::load_or_create(&path, "other").unwrap();
        assert!(!made);
        assert_eq!(first.public(), second.public());
    }

    #[test]
    fn both_keys_of_a_rotation_sign() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["old-1", "new-2"].map(|name| {
            let path = dir.path().join(name);
            NixKeys::load_or_create(&path, name).unwrap();
            path
        });
        let (store, mut info) = (StoreDir::default(), info());
        let (old, both) = (NixKeys::load(&paths[..1]).unwrap(), NixKeys::load(&paths).unwrap());
        old.sign(&mut info, &store);
        assert!(old.have_signed(&info, &store) && !both.have_signed(&info, &store));
        both.sign(&mut info, &store);
        assert!(!old.have_signed(&info, &store) && both.have_signed(&info, &store));
        for key in &both.public {
            assert!(info.is_signed_by(std::slice::from_ref(key), &store));
        }
        info.nar.size = 2;
        assert!(!both.have_signed(&info, &store));
    }

    #[test]
    fn keys_that_are_damaged_exposed_missing_or_alike_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(NixKeys::load(std::slice::from_ref(&path)), Err(KeyError::Disk(_))));
        NixKeys::load_or_create(&path, "k-1").unwrap();
        let error = NixKeys::load(&[path.clone(), path.clone()]).unwrap_err().to_string();
        assert!(error.contains("duplicate key name `k-1`"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(NixKeys::load(std::slice::from_ref(&path)), Err(KeyError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "k-1:AAAA").unwrap();
        let error = NixKeys::load(&[path]).unwrap_err().to_string();
        assert!(error.contains("--generate-binary-cache-key") && !error.contains("AAAA"), "{error}");
    }

    #[test]
    fn a_host_without_a_usable_name_gets_a_name_too() {
        assert_eq!((name_for("").as_str(), name_for("a b:c").as_str()), ("swarm-farm-1", "swarm-abc-1"));
    }
}
