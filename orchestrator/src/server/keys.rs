//! Loads the signing keys and creates them at the first start.

use super::StartError;
use crate::{
    config::Config,
    missing_state::{self, MissingState, previous_key_file},
    sign::{NixKeys, OpenPgpKey, nix},
};
use std::sync::Arc;
use swarm_common::wire::view::KeyView;

/// The key for Portage packages; `None` if signing is off.
pub(super) fn for_packages(config: &Config) -> Result<Option<OpenPgpKey>, StartError> {
    if !config.signing.enabled {
        return Ok(None);
    }
    let (path, trace) = (config.key_file(), config.key_fingerprint_file());
    let missing = MissingState {
        what: "the signing key",
        path: path.clone(),
        trace: format!("{} says that it signed", trace.display()),
        cost: "to create a new one, which every workstation must then trust",
    };
    missing.check(&trace, config.accept_new)?;
    let (key, made) = OpenPgpKey::load_or_create(&path, &config.signing.user_id)?;
    if let Some(before) = missing_state::note(&trace, &key.fingerprint(), Some(&previous_key_file(&trace)))? {
        let now = key.fingerprint();
        tracing::warn!(before, now, file = %trace.display(), "the signing key has changed, or this \
            file was damaged: workstations must trust the new key");
    }
    if made {
        tracing::info!(file = %path.display(), fingerprint = %key.fingerprint(), "created a signing key; \
            keep a copy");
    }
    Ok(Some(key))
}

/// The keys for Nix caches; `None` if signing is off.
pub(super) fn for_nix(config: &Config) -> Result<Option<Arc<NixKeys>>, StartError> {
    if !config.signing.enabled {
        return Ok(None);
    }
    let trace = config.nix_public_keys_file();
    let keys = if config.signing.nix_key_files.is_empty() {
        let path = config.nix_key_file();
        let missing = MissingState {
            what: "the signing key for Nix",
            path: path.clone(),
            trace: format!("{} says that it signed", trace.display()),
            cost: "to create a new one, which every Nix client must then trust",
        };
        missing.check(&trace, config.accept_new)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (keys, made) = NixKeys::load_or_create(&path, &nix::name_for(&host))?;
        if made {
            let public = keys.public().join(" ");
            tracing::info!(file = %path.display(), public, "created a signing key for Nix; keep a copy");
        }
        keys
    } else {
        NixKeys::load(&config.signing.nix_key_files)?
    };
    let now = keys.public().join(" ");
    if let Some(before) = missing_state::note(&trace, &now, Some(&previous_key_file(&trace)))? {
        tracing::warn!(before, now, file = %trace.display(), "the signing keys for Nix have changed, or \
            this file was damaged: clients must trust the new ones");
    }
    Ok(Some(Arc::new(keys)))
}

/// The public keys, for clients; `None` if signing is off.
pub(super) fn view(
    packages: Option<&OpenPgpKey>,
    nix: Option<&NixKeys>,
) -> Result<Option<KeyView>, StartError> {
    let Some(key) = packages else { return Ok(None) };
    let nix = nix.map_or_else(Vec::new, NixKeys::public);
    Ok(Some(KeyView { fingerprint: key.fingerprint(), public_key: key.public_armored()?, nix }))
}
