//! State shared by HTTP handlers and passes.

use crate::{
    audit::Auditor,
    config::Config,
    connection_limits::ConnectionLimiter,
    engine::Engine,
    intake::Intake,
    kinds::PerKind,
    logs::Logs,
    missing_state,
    nix::upstream::Upstreams,
    passes::{Pass as _, Passes, checks::Checks, notify::Notifier, publisher::Publisher},
    publish::{Binhosts, ChannelWriters, Progress},
    serve::small::SmallFiles,
    store::{ArtifactStore, entries::IndexEntryCache, images::Images, snapshots::Snapshots},
    tls::Shown,
};
use std::{cmp::Reverse, net::SocketAddr, path::PathBuf, sync::Arc};
use swarm_common::{
    digest::Digest,
    secret::Secret,
    wire::{concern::ConcernKind, view::KeyView},
};
use swarm_core::view;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub struct App {
    /// The only access to the swarm's state.
    pub engine: Engine,
    /// The configuration at the start. Settings that can change at runtime are in `live`.
    pub config: Config,
    /// The configuration after the last reload.
    pub live: watch::Sender<Arc<Config>>,
    /// Digest of the admin token; requests are compared with this.
    pub admin: Digest,
    pub admin_token: Secret,
    /// Digest of the token for `/metrics`.
    pub metrics_token: Digest,
    /// The HTTPS listener, if there is one.
    pub tls: Option<TlsEndpoint>,
    pub store: Arc<dyn ArtifactStore>,
    /// Index entries of the package files.
    pub entries: IndexEntryCache,
    /// The upstream caches of Nix profiles.
    pub upstreams: Arc<Upstreams>,
    pub intake: Arc<Intake>,
    pub channel_writers: ChannelWriters,
    /// The public signing keys; `None` if signing is off.
    pub keys: Option<KeyView>,
    /// The files that name the signing key in use for each kind of builder.
    pub key_traces: PerKind<PathBuf>,
    pub snapshots: Snapshots,
    pub images: Images,
    pub logs: Arc<Logs>,
    pub binhosts: Binhosts,
    pub(crate) small_files: Arc<SmallFiles>,
    pub published: Arc<Progress>,
    pub checks: Arc<Checks>,
    pub passes: Arc<Passes>,
    pub auditor: Arc<Auditor>,
    pub notifier: Arc<Notifier>,
    pub(crate) limiter: ConnectionLimiter,
    /// Cancelled when the orchestrator stops.
    pub stopping: CancellationToken,
}

impl App {
    /// All problems of this process, worst first. `/readyz`, status, metrics and notifications show this
    /// list, or only those that stop the work.
    #[must_use]
    pub fn concerns(&self) -> Vec<ConcernKind> {
        let embedded = self.config.journal.redis.is_none();
        let journal = self.engine.error().map(|why| ConcernKind::JournalUnwritable {
            at: embedded.then(|| self.config.state_dir.display().to_string()),
            why,
        });
        let publisher = self.published.error().map(|why| ConcernKind::PublishingFails {
            at: self.config.artifact_dir().display().to_string(),
            why,
        });
        let mut concerns: Vec<ConcernKind> = journal.into_iter().chain(publisher).collect();
        concerns.extend(self.checks.found());
        concerns.extend(self.upstreams.concerns());
        concerns.extend(self.passes.concerns(&[Publisher::NAME]));
        concerns.extend(self.notifier.concerns());
        concerns.extend(self.auditor.audited.concern());
        let traces = self.key_traces.iter();
        concerns.extend(traces.filter_map(|(kind, trace)| missing_state::changed_key(kind, trace)));
        concerns.sort_by_key(|fact| (!view::stops(fact), Reverse(view::severity(fact))));
        concerns
    }
}

#[derive(Debug, Clone)]
pub struct TlsEndpoint {
    pub address: SocketAddr,
    /// The host name or address in its URL.
    pub name: String,
    pub shown: Arc<Shown>,
}
