//! Asks the upstream caches of a snapshot whether they have a store path. Answers are cached for a while, and
//! count only if they are signed by one of the cache's keys. A cache that does not answer is a concern until
//! it answers, or until no package has waited for it for an hour.

use super::netrc::Netrc;
use crate::store::snapshots::Snapshots;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use reqwest::{Client, StatusCode, Url, redirect::Policy};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use swarm_common::{digest::Digest, wire::concern::ConcernKind};
use swarm_formats::{
    archive::tar_reader::TarReader,
    nix::{
        keys::PublicKey,
        narinfo::{MAX_BYTES, NarInfo},
        store_path::{StoreDir, StorePath},
    },
    snapshot::{MANIFEST, NixSource, NixUpstream, SnapshotManifest},
};

/// Time limits for connecting and for a whole request.
const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(30);
/// How long answers are cached: that a cache has a path, and that it does not have it.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
const UNKNOWN: Duration = Duration::from_secs(3600);
/// How long a cache is reported as unreachable after a package last waited for it. Drones repeat a delivery
/// within minutes.
const AWAY: Duration = Duration::from_secs(3600);
/// Maximum number of unreachable caches to remember.
const ALL_AWAY: usize = 64;
/// Maximum number of cached answers, and of cached manifests.
const ANSWERS: usize = 100_000;
const MANIFESTS: usize = 64;
const AT_ONCE: usize = 16;
/// Path of a flake's lock file in a snapshot.
const LOCK: &str = "source/flake.lock";
/// Maximum size of a lock file in bytes.
const LOCK_BYTES: u64 = 16 << 20;
/// Maximum size of a manifest in bytes.
const MANIFEST_BYTES: u64 = 1 << 20;

/// When an upstream answered, and the path if it has it.
type Answer = (Instant, Option<StorePath>);

/// A cache that did not answer.
#[derive(Clone)]
struct Unreachable {
    upstream: NixUpstream,
    /// The hash part that it was last asked for.
    hash: String,
    /// When a package last waited for it.
    waited: Instant,
    why: String,
}

/// What is known of snapshots and their upstream caches.
pub struct Upstreams {
    snapshots: Snapshots,
    /// The file with passwords of caches.
    netrc: PathBuf,
    sources: Mutex<BTreeMap<Digest, Arc<NixSource>>>,
    answers: Mutex<HashMap<(String, String), Answer>>,
    /// The caches that did not answer, by address.
    away: Mutex<BTreeMap<String, Unreachable>>,
    /// Whether a cache answers 403 for paths that it does not have, by address, and when that was seen.
    forbidding: Mutex<BTreeMap<String, (Instant, bool)>>,
}

impl Upstreams {
    /// Reads manifests from `snapshots`, and passwords from `netrc` whenever caches are asked.
    #[must_use]
    pub fn new(snapshots: Snapshots, netrc: PathBuf) -> Self {
        Self {
            snapshots,
            netrc,
            sources: Mutex::default(),
            answers: Mutex::default(),
            away: Mutex::default(),
            forbidding: Mutex::default(),
        }
    }

    /// The source that the manifest of a snapshot describes. May block.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is not for Nix.
    pub fn source(&self, snapshot: Digest) -> io::Result<Arc<NixSource>> {
        if let Some(source) = locked(&self.sources).get(&snapshot) {
            return Ok(source.clone());
        }
        let manifest = manifest(self.snapshots.read(snapshot)?)?;
        let source = manifest.nix.ok_or_else(|| io::Error::other("the snapshot is not for Nix"))?;
        let (source, mut sources) = (Arc::new(source), locked(&self.sources));
        if sources.len() >= MANIFESTS {
            sources.clear();
        }
        sources.insert(snapshot, source.clone());
        Ok(source)
    }

    /// The lock file of a snapshot's flake, if there is one. Reads the snapshot up to that file, so this may
    /// block for seconds.
    ///
    /// # Errors
    /// The snapshot cannot be read.
    pub fn lock(&self, snapshot: Digest) -> io::Result<Option<Vec<u8>>> {
        let archive = self.snapshots.read(snapshot)?;
        let mut tar = TarReader::new(zstd::Decoder::new(archive)?);
        while let Some(entry) = tar.next_entry()? {
            if entry.path == LOCK.as_bytes() {
                let mut text = Vec::new();
                tar.take(LOCK_BYTES).read_to_end(&mut text)?;
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The paths with these hash parts that the caches have.
    ///
    /// # Errors
    /// A cache does not answer and no other cache has the path, so it is unknown whether it is a reference.
    pub async fn find(
        &self,
        upstreams: &[NixUpstream],
        hashes: Vec<String>,
    ) -> Result<BTreeSet<StorePath>, String> {
        let client = self.client(upstreams)?;
        let found = stream::iter(hashes.into_iter().map(|hash| self.first(&client, upstreams, hash)));
        let found: Vec<Option<StorePath>> = found.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    fn client(&self, upstreams: &[NixUpstream]) -> Result<CacheClient, String> {
        // A second installation is refused, which is harmless because it is the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("build-swarm/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::limited(3))
            .connect_timeout(CONNECT)
            .timeout(WHOLE);
        if upstreams.iter().all(|upstream| upstream.url.starts_with("http:")) {
            // A machine without root certificates must work as well if no TLS is used.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| format!("HTTP cannot be set up: {error}"))?;
        let netrc = Netrc::read(&self.netrc).map_err(|error| format!("{}: {error}", self.netrc.display()));
        Ok(CacheClient { http, netrc })
    }

    async fn first(
        &self,
        client: &CacheClient,
        upstreams: &[NixUpstream],
        hash: String,
    ) -> Result<Option<StorePath>, String> {
        let mut failed = None;
        for upstream in upstreams {
            let cached = locked(&self.answers).get(&(upstream.url.clone(), hash.clone())).cloned();
            let fresh =
                cached.filter(|(at, path)| at.elapsed() < if path.is_some() { KNOWN } else { UNKNOWN });
            let answer = match fresh {
                Some((_, answer)) => answer,
                None => match self.query_narinfo(client, upstream, &hash).await {
                    Ok(answer) => answer,
                    Err(why) => {
                        let url = &upstream.url;
                        failed = Some(format!("the upstream cache {url} cannot be asked: {why}"));
                        let waited = Instant::now();
                        self.miss(Unreachable {
                            upstream: upstream.clone(),
                            hash: hash.clone(),
                            waited,
                            why,
                        });
                        None
                    }
                },
            };
            if answer.is_some() {
                return Ok(answer);
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Asks a cache and stores its answer.
    async fn query_narinfo(
        &self,
        client: &CacheClient,
        upstream: &NixUpstream,
        hash: &str,
    ) -> Result<Option<StorePath>, String> {
        let answer = match query_narinfo(client, upstream, hash).await? {
            CacheAnswer::Path(answer) => answer,
            CacheAnswer::Forbidden if self.forbids_what_it_lacks(client, upstream).await? => None,
            CacheAnswer::Forbidden => return Err(format!("HTTP {}", StatusCode::FORBIDDEN)),
        };
        locked(&self.away).remove(&upstream.url);
        Ok(self.remember((upstream.url.clone(), hash.to_owned()), answer))
    }

    /// Whether 403 means that the cache does not have a path, as with some object stores. Such a cache
    /// answers 403 also for a path that cannot exist, and 200 for its `nix-cache-info`.
    async fn forbids_what_it_lacks(
        &self,
        client: &CacheClient,
        upstream: &NixUpstream,
    ) -> Result<bool, String> {
        let cached = locked(&self.forbidding).get(&upstream.url).copied();
        if let Some((_, forbids)) = cached.filter(|(at, _)| at.elapsed() < UNKNOWN) {
            return Ok(forbids);
        }
        let nothing = client.get(upstream, &format!("{}.narinfo", "0".repeat(32))).await?.status();
        let info = client.get(upstream, "nix-cache-info").await?.status();
        let forbids = nothing == StatusCode::FORBIDDEN && info == StatusCode::OK;
        let mut all = locked(&self.forbidding);
        if all.len() >= MANIFESTS {
            all.clear();
        }
        all.insert(upstream.url.clone(), (Instant::now(), forbids));
        Ok(forbids)
    }

    fn miss(&self, away: Unreachable) {
        let mut all = locked(&self.away);
        if all.len() < ALL_AWAY || all.contains_key(&away.upstream.url) {
            all.insert(away.upstream.url.clone(), away);
        }
    }

    /// The caches that do not answer.
    #[must_use]
    pub fn concerns(&self) -> Vec<ConcernKind> {
        let concern = |(url, away): (&String, &Unreachable)| ConcernKind::UpstreamAway {
            url: url.clone(),
            why: away.why.clone(),
        };
        locked(&self.away).iter().map(concern).collect()
    }

    /// Repeats the question to caches that did not answer, and forgets those that nothing waits for.
    pub async fn ask_again(&self) {
        locked(&self.away).retain(|_, away| away.waited.elapsed() < AWAY);
        let all: Vec<Unreachable> = locked(&self.away).values().cloned().collect();
        let again = all.into_iter().map(async |Unreachable { upstream, hash, .. }| {
            let again = match self.client(std::slice::from_ref(&upstream)) {
                Ok(client) => self.query_narinfo(&client, &upstream, &hash).await,
                Err(why) => Err(why),
            };
            // A package may have received an answer meanwhile.
            if let (Err(why), Some(away)) = (again, locked(&self.away).get_mut(&upstream.url)) {
                away.why = why;
            }
        });
        future::join_all(again).await;
    }

    fn remember(&self, of: (String, String), answer: Option<StorePath>) -> Option<StorePath> {
        let mut answers = locked(&self.answers);
        if answers.len() >= ANSWERS {
            answers.clear();
        }
        answers.insert(of, (Instant::now(), answer.clone()));
        answer
    }
}

/// A cache's answer for a path.
enum CacheAnswer {
    /// The path if the cache has it, or `None`.
    Path(Option<StorePath>),
    /// Access is forbidden, or the cache does not have the path.
    Forbidden,
}

fn error_text(error: reqwest::Error) -> String {
    error.without_url().to_string()
}

/// An HTTP client with the passwords of caches.
struct CacheClient {
    http: Client,
    /// The passwords, or why they cannot be read.
    netrc: Result<Netrc, String>,
}

impl CacheClient {
    /// Gets a file of a cache.
    async fn get(&self, upstream: &NixUpstream, name: &str) -> Result<reqwest::Response, String> {
        let url = Url::parse(&format!("{}/{name}", upstream.url.trim_end_matches('/')));
        let url = url.map_err(|error| error.to_string())?;
        let login = self.netrc.as_ref().ok().and_then(|netrc| netrc.login(url.host_str()?));
        let mut request = self.http.get(url.clone());
        if let Some((login, password)) = login {
            request = request.basic_auth(login, Some(password));
        }
        let response = request.send().await.map_err(error_text)?;
        match (response.status(), &self.netrc) {
            (status @ StatusCode::UNAUTHORIZED, Err(why)) => Err(format!("HTTP {status}; {why}")),
            (status @ StatusCode::UNAUTHORIZED, Ok(_)) => {
                let which = if login.is_some() { "is wrong" } else { "is missing" };
                Err(format!("HTTP {status}; its password in the file `netrc_file` {which}"))
            }
            _ => Ok(response),
        }
    }
}

async fn query_narinfo(
    client: &CacheClient,
    upstream: &NixUpstream,
    hash: &str,
) -> Result<CacheAnswer, String> {
    let mut response = client.get(upstream, &format!("{hash}.narinfo")).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::FORBIDDEN => return Ok(CacheAnswer::Forbidden),
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(CacheAnswer::Path(None)),
        status => return Err(format!("HTTP {status}")),
    }
    let mut text = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(error_text)? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_BYTES {
            return Err("the narinfo is too large".to_owned());
        }
    }
    let dir = StoreDir::default();
    let info = NarInfo::parse(&text, &dir).map_err(|error| error.to_string())?;
    let keys: Vec<PublicKey> = upstream.keys.iter().filter_map(|key| key.parse().ok()).collect();
    // Clients would refuse the path as well.
    let trusted = info.path.hash_part() == hash && info.is_signed_by(&keys, &dir);
    Ok(CacheAnswer::Path(trusted.then_some(info.path)))
}

/// The manifest of a snapshot archive, which is its first entry.
fn manifest(archive: impl Read) -> io::Result<SnapshotManifest> {
    let mut tar = TarReader::new(zstd::Decoder::new(archive)?);
    if tar.next_entry()?.is_none_or(|first| first.path != MANIFEST.as_bytes()) {
        return Err(io::Error::other("the snapshot does not begin with its manifest"));
    }
    let mut text = Vec::new();
    tar.take(MANIFEST_BYTES).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
