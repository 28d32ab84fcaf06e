//! The kinds of builders: for each, its implementation of every trait that depends on the kind.

use crate::{
    audit::{self, Verifier},
    config::Config,
    engine::Engine,
    intake::{self, Builder},
    kinds::PerKind,
    logs::Logs,
    nix::{listings::Listings, upstream::Upstreams},
    publish::{self, ChannelWriter},
    sign::{NixKeys, OpenPgpKey},
    store::entries::IndexEntryCache,
};
use std::{path::PathBuf, sync::Arc};
use swarm_formats::portage::gpkg::Limits;

pub(super) struct Kind {
    pub(super) builder: Arc<dyn Builder>,
    pub(super) verifier: Arc<dyn Verifier>,
    pub(super) writer: Arc<dyn ChannelWriter>,
    /// The file that names the signing key in use.
    pub(super) key_trace: PathBuf,
}

/// What the implementations are made of.
pub(super) struct Parts<'c> {
    pub(super) config: &'c Config,
    pub(super) engine: Engine,
    pub(super) storage: intake::Storage,
    pub(super) entries: IndexEntryCache,
    pub(super) key: Option<OpenPgpKey>,
    pub(super) limits: Limits,
    pub(super) nix_keys: Option<Arc<NixKeys>>,
    pub(super) listings: Listings,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) logs: Arc<Logs>,
}

pub(super) fn all(parts: Parts) -> PerKind<Kind> {
    let Parts { config, engine, storage, entries, key, limits, nix_keys, listings, upstreams, logs } = parts;
    let (store, index_bytes) = (storage.store.clone(), config.limits.index_size.bytes());
    let portage = Kind {
        builder: Arc::new(intake::Portage::new(engine, &storage, entries.clone(), key, limits, index_bytes)),
        verifier: Arc::new(audit::Portage::new(store.clone(), entries.clone())),
        writer: Arc::new(publish::Portage { store: store.clone(), entries }),
        key_trace: config.key_fingerprint_file(),
    };
    let nix = Kind {
        builder: Arc::new(intake::Nix::new(&storage, listings.clone(), upstreams.clone())),
        verifier: Arc::new(audit::Nix::new(store.clone(), nix_keys.clone())),
        writer: Arc::new(publish::Nix { store, keys: nix_keys, listings, logs, upstreams }),
        key_trace: config.nix_public_keys_file(),
    };
    PerKind { portage, nix }
}
