//! Reads the Nix cache of a profile: the system that each host can install, and the closure of that system.

use crate::failure::Failure;
use std::collections::BTreeMap;
use swarm_client::Client;
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::{admin::BuilderKind, channel::ChannelName, ready::Ready, view::ProfileView},
};
use swarm_formats::{
    nix::{
        narinfo::NarInfo,
        store_path::{StoreDir, StorePath},
    },
    snapshot::is_host,
};
use tokio::task::JoinSet;

/// Number of concurrent requests.
const REQUESTS: usize = 16;
/// The maximum number of paths in the closure of a system. A desktop has some 3,000.
const MAX_PATHS: usize = 200_000;

/// The Nix cache of one channel of a profile.
pub struct Cache {
    client: Client,
    channel: ChannelName,
    /// Path of the cache, relative to the orchestrator's address.
    root: String,
    pub profile: ProfileView,
}

#[derive(Debug, Default)]
pub struct Closure {
    /// The store paths with their sizes in bytes. A path without a size comes from another cache.
    pub paths: BTreeMap<StorePath, Option<u64>>,
}

impl Closure {
    /// The size of all paths that this cache has, in bytes.
    pub fn size(&self) -> u64 {
        self.paths.values().flatten().sum()
    }

    /// Number of paths that come from other caches. Their own references are not followed.
    pub fn unknown(&self) -> usize {
        self.paths.values().filter(|size| size.is_none()).count()
    }
}

impl Cache {
    /// The cache of a channel of a profile.
    ///
    /// # Errors
    /// There is no such profile, or Nix does not build it.
    pub async fn open(client: Client, profile: &Name, channel: ChannelName) -> Result<Self, Failure> {
        let profile = client.profile(profile).await?;
        if profile.builder != BuilderKind::Nix {
            return Err(Failure::Usage(format!(
                "{0} is a Gentoo profile and has no Nix cache; see `swarmctl profile show {0}`",
                profile.name
            )));
        }
        let root = format!("/{}", channel.within(profile.binhost.trim_matches('/')));
        Ok(Self { client, channel, root, profile })
    }

    /// Names the channel within a sentence about the profile; empty for the stable channel.
    pub fn within(&self) -> &'static str {
        match self.channel {
            ChannelName::Stable => "",
            ChannelName::Staging => " in staging",
        }
    }

    /// The newest system of a host. `None` if there is none yet.
    ///
    /// # Errors
    /// The orchestrator did not answer, or the answer is not valid.
    pub async fn ready(&self, host: &str) -> Result<Option<Ready>, Failure> {
        self.pointer(host, &format!("ready/{host}")).await
    }

    /// The system of a host in an earlier generation. `None` if the generation is not kept.
    ///
    /// # Errors
    /// The orchestrator did not answer, or the answer is not valid.
    pub async fn ready_at(&self, host: &str, generation: u64) -> Result<Option<Ready>, Failure> {
        self.pointer(host, &format!("generations/{generation}/ready-{host}")).await
    }

    /// The numbers of the kept generations, starting with the current one.
    ///
    /// # Errors
    /// The orchestrator did not answer.
    pub async fn generations(&self) -> Result<Vec<u64>, Failure> {
        let channels = self.client.channel(&self.profile.name).await?;
        let generations = match self.channel {
            ChannelName::Stable => channels.generations,
            ChannelName::Staging => channels.staging.map(|staging| staging.generations).unwrap_or_default(),
        };
        Ok(generations.into_iter().map(|generation| generation.number).collect())
    }

    /// The lock file that a system was evaluated with.
    ///
    /// # Errors
    /// The file is missing or has another digest, or the orchestrator did not answer.
    pub async fn lock(&self, digest: Digest) -> Result<String, Failure> {
        let file = format!("{}/lock/{digest}", self.root);
        let bytes = self.client.published(&file).await?;
        let text =
            bytes.filter(|bytes| Digest::of(bytes) == digest).and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or_else(|| Failure::Failed(format!("{file} is missing or damaged")))
    }

    async fn pointer(&self, host: &str, file: &str) -> Result<Option<Ready>, Failure> {
        if !is_host(host) {
            return Err(Failure::Usage(format!("invalid host name `{}`", host.escape_debug())));
        }
        let Some(bytes) = self.client.published(&format!("{}/{file}", self.root)).await? else {
            return Ok(None);
        };
        let wrong = |what: String| Failure::Failed(format!("{}/{file} is not usable: {what}", self.root));
        let ready: Ready = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        match ready.host == host {
            true => Ok(Some(ready)),
            false => Err(wrong(format!("it is the pointer of {}", ready.host.escape_debug()))),
        }
    }

    /// The closure of a store path.
    ///
    /// # Errors
    /// The path is not valid or not in the cache, or the cache has unusable metadata.
    pub async fn closure(&self, path: &str) -> Result<Closure, Failure> {
        let top = StoreDir::default().parse(path).map_err(|e| Failure::Failed(e.to_string()))?;
        let mut closure = Closure::default();
        let mut open = vec![top.clone()];
        let mut asked = JoinSet::new();
        closure.paths.insert(top.clone(), None);
        loop {
            while asked.len() < REQUESTS
                && let Some(next) = open.pop()
            {
                let (client, root) = (self.client.clone(), self.root.clone());
                asked.spawn(async move { (narinfo(&client, &root, &next).await, next) });
            }
            let Some(answer) = asked.join_next().await else { break };
            let (info, path) =
                answer.map_err(|e| Failure::Failed(format!("a request task panicked: {e}")))?;
            let Some(info) = info? else { continue };
            closure.paths.insert(path, Some(info.nar.size));
            for reference in info.references {
                if !closure.paths.contains_key(&reference) {
                    closure.paths.insert(reference.clone(), None);
                    open.push(reference);
                }
            }
            if closure.paths.len() > MAX_PATHS {
                return Err(Failure::Failed(format!("the system has more than {MAX_PATHS} paths")));
            }
        }
        match closure.paths.get(&top) {
            Some(Some(_)) => Ok(closure),
            _ => Err(Failure::Failed(format!(
                "{path} is no longer in the cache; `swarmctl channel show {}` lists the generations that are kept",
                self.profile.name
            ))),
        }
    }
}

async fn narinfo(client: &Client, root: &str, path: &StorePath) -> Result<Option<NarInfo>, Failure> {
    let file = format!("{root}/{}.narinfo", path.hash_part());
    let Some(bytes) = client.published(&file).await? else {
        return Ok(None);
    };
    let wrong = |what: String| Failure::Failed(format!("{file} is not usable: {what}"));
    let info = NarInfo::parse(&bytes, &StoreDir::default()).map_err(|e| wrong(e.to_string()))?;
    match info.path == *path {
        true => Ok(Some(info)),
        false => Err(wrong(format!("it is the one of {}", info.path))),
    }
}
