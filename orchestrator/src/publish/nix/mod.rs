//! Channels of Nix profiles, published as binary caches.

pub mod cache;

use super::{ChannelContent, ChannelOutcome, ChannelWriter, PublishError};
use crate::{
    logs::Logs,
    nix::{listing, listings::Listings, upstream::Upstreams},
    sign::NixKeys,
    store::{ArtifactStore, StoreError, disk::DiskError},
};
use cache::{CacheContent, CachedPath, NixCache, SideFiles, nar_path};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
    sync::Arc,
};
use swarm_common::{
    digest::Digest,
    wire::{
        artifact::Artifact,
        nix::{NixTarget, base_name},
        ready::Ready,
    },
};
use swarm_core::state::ChannelRoot;
use swarm_formats::{
    nix::{
        nar::NarSum,
        narinfo::{Compression, ContentAddress, NarInfo},
        store_path::{StoreDir, StorePath},
    },
    snapshot::is_host,
};

/// Maximum bytes of a build log to publish.
const LOG_BYTES: u64 = 16 << 20;

/// The files of a system that decide whether switching to it requires a reboot, as in `swarm-switch`. The
/// unit shows which implementation of D-Bus runs.
const BOOT: [&str; 7] = [
    "kernel",
    "kernel-modules",
    "initrd",
    "systemd",
    "init",
    "sw/bin/dbus-daemon",
    "etc/systemd/system/dbus.service",
];

/// Maximum size in bytes of a listing that is read for these files.
const LISTING_BYTES: usize = 8 << 20;

/// The sources from which caches are published.
pub struct Nix {
    pub store: Arc<dyn ArtifactStore>,
    /// `None` if signing is off.
    pub keys: Option<Arc<NixKeys>>,
    pub listings: Listings,
    pub logs: Arc<Logs>,
    /// The upstream caches of the snapshots.
    pub upstreams: Arc<Upstreams>,
}

impl ChannelWriter for Nix {
    fn is_in(&self, dir: &Path) -> bool {
        NixCache::is_in(dir)
    }

    fn publish(
        &self,
        now: u64,
        dir: &Path,
        content: &ChannelContent,
    ) -> Result<ChannelOutcome, PublishError> {
        let artifacts = content.received.iter().chain(&content.kept);
        let hosts = &content.hosts;
        let kept = Kept { sources: self, artifacts: artifacts.map(|a| (a.digest, a)).collect(), hosts };
        let paths = kept.artifacts.values().filter_map(|artifact| cached(artifact)).collect();
        let ready = hosts.iter().filter_map(|(root, snapshot)| kept.ready(content, root, *snapshot));
        let in_cache = CacheContent { paths, hosts: ready.collect() };
        let mut cache = NixCache::open(dir, self.keys.clone())?.numbered(content.number);
        cache.publish(now, &in_cache, &*self.store, &kept)
    }

    fn sweep(&self, dir: &Path, now: u64, grace: u64, kept: &BTreeSet<u64>) -> Result<usize, DiskError> {
        NixCache::open(dir, self.keys.clone())?.sweep(now, grace, kept)
    }
}

/// The artifacts of a channel.
struct Kept<'a> {
    sources: &'a Nix,
    artifacts: BTreeMap<Digest, &'a Artifact>,
    hosts: &'a [(ChannelRoot, Option<Digest>)],
}

impl Kept<'_> {
    /// The pointer to the system of a host.
    fn ready(&self, content: &ChannelContent, root: &ChannelRoot, snapshot: Option<Digest>) -> Option<Ready> {
        let host = &root.root.attribute;
        if !is_host(host) {
            tracing::warn!(profile = %content.profile, host, "the host's name is not a valid file name; it gets no ready pointer");
            return None;
        }
        let source = snapshot.and_then(|snapshot| match self.sources.upstreams.source(snapshot) {
            Ok(source) => Some(source),
            Err(error) => {
                tracing::warn!(%snapshot, %error, "the source of a system is not known");
                None
            }
        });
        let top = base_name(&root.root.path);
        let mut listings: BTreeMap<String, Option<Rc<Value>>> = BTreeMap::new();
        let mut listing = |path: &str| {
            listings.entry(path.to_owned()).or_insert_with(|| self.parsed_listing(path).map(Rc::new)).clone()
        };
        let boot = BOOT.iter().filter_map(|name| {
            let leads_to = listing::resolve(top, name, &mut listing)?;
            // A file inside the system itself has a different path in every system.
            let is_own = leads_to.split('/').any(|part| part == top);
            (!is_own).then(|| (base_name(name).to_owned(), leads_to))
        });
        let boot = boot.collect();
        Some(Ready {
            profile: content.profile.clone(),
            channel: content.channel,
            host: host.clone(),
            path: root.root.path.clone(),
            generation: 0,
            run: root.run,
            built_at: root.at,
            commit: source.as_ref().and_then(|source| source.commit.clone()),
            lock: source.as_ref().and_then(|source| source.lock),
            closure_paths: 0,
            closure_size: 0,
            missing: Vec::new(),
            boot,
            signatures: Vec::new(),
        })
    }

    /// The listing of a published path, found by its base name.
    fn parsed_listing(&self, path: &str) -> Option<Value> {
        let is_it = |artifact: &&&Artifact| path_of(artifact).is_some_and(|t| base_name(&t.path) == path);
        let artifact = self.artifacts.values().find(is_it)?;
        let listing = self.sources.listings.get(artifact).ok().flatten()?;
        if listing.len() > LISTING_BYTES {
            return None;
        }
        serde_json::from_str(&listing).ok()
    }
}

impl SideFiles for Kept<'_> {
    fn listing(&self, path: &CachedPath) -> Result<Option<String>, StoreError> {
        let Some(artifact) = self.artifacts.get(&path.digest) else { return Ok(None) };
        self.sources.listings.get(artifact)
    }

    fn log(&self, path: &CachedPath) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(artifact) = self.artifacts.get(&path.digest) else { return Ok(None) };
        let Some(mut reader) = self.sources.logs.reader(artifact.attempt)? else { return Ok(None) };
        match reader.read(LOG_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                tracing::warn!(attempt = %artifact.attempt, %error, "cannot publish a build log");
                Ok(None)
            }
        }
    }

    fn lock(&self, ready: &Ready) -> Option<Vec<u8>> {
        let (_, snapshot) = self.hosts.iter().find(|(root, _)| root.root.attribute == ready.host)?;
        match self.sources.upstreams.lock((*snapshot)?) {
            Ok(lock) => lock,
            Err(error) => {
                tracing::warn!(host = ready.host, %error, "cannot publish the lock file of a system");
                None
            }
        }
    }
}

fn path_of(artifact: &Artifact) -> Option<&NixTarget> {
    artifact.target.nix()
}

/// The metadata of an artifact, as published in a cache.
fn cached(artifact: &Artifact) -> Option<CachedPath> {
    let (target, nar) = (path_of(artifact)?, artifact.nar.as_ref()?);
    let path: StorePath = base_name(&target.path).parse().ok()?;
    // Nix trusts such a path without a signature.
    let source = StoreDir::default().source_path(path.name(), &nar.hash).ok();
    let is_known = nar.references.is_empty() && source.as_ref() == Some(&path);
    let info = NarInfo {
        path,
        url: nar_path(artifact.digest).parse().ok()?,
        compression: Compression::Zstd,
        file_hash: Some(artifact.digest),
        file_size: Some(artifact.size),
        nar: NarSum { hash: nar.hash, size: nar.size },
        references: nar.references.iter().filter_map(|name| name.parse().ok()).collect(),
        deriver: target.drv.as_ref().and_then(|drv| base_name(drv).parse().ok()),
        signatures: [].into(),
        content_address: is_known.then(|| ContentAddress::of_nar(&nar.hash)),
    };
    Some(CachedPath { info, digest: artifact.digest })
}
