//! The state that HTTP handlers and passes share.

use crate::{
    audit::Auditor,
    config::Config,
    engine::Engine,
    intake::Intake,
    logs::Logs,
    nix::{listings::Listings, upstream::Upstreams},
    passes::{Pass as _, Passes, checks::Checks, notify::Notifier, publisher::Publisher},
    places::Places,
    publish::{Binhosts, Progress, small::SmallFiles},
    sign::NixKeys,
    store::{ArtifactStore, entries::EntryBook, images::Images, snapshots::Snapshots},
    tls::Shown,
};
use std::{cmp::Reverse, net::SocketAddr, sync::Arc};
use swarm_common::{digest::Digest, secret::Secret, wire::concern::ConcernKind};
use swarm_core::view;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Everything that HTTP handlers and passes share.
pub struct App {
    /// The only access to the swarm's state.
    pub engine: Engine,
    /// The configuration at the start.
    pub config: Config,
    /// The configuration after the last reload, for settings that can change at runtime.
    pub live: watch::Sender<Arc<Config>>,
    /// Digest of the admin token.
    pub admin: Digest,
    /// The admin token.
    pub admin_token: Secret,
    /// Digest of the token for `/metrics`.
    pub metrics_token: Digest,
    /// The HTTPS listener, if there is one.
    pub tls: Option<Reached>,
    /// Package files.
    pub store: Arc<dyn ArtifactStore>,
    /// Index entries of the package files.
    pub entries: EntryBook,
    /// Listings of Nix archives.
    pub listings: Listings,
    /// The upstream caches of Nix profiles.
    pub upstreams: Arc<Upstreams>,
    /// Accepts uploaded package files.
    pub intake: Arc<Intake>,
    /// The keys that sign Nix caches; `None` if signing is off.
    pub nix_keys: Option<Arc<NixKeys>>,
    /// Snapshots of repositories and configuration.
    pub snapshots: Snapshots,
    /// Images of bases.
    pub images: Images,
    /// Build logs.
    pub logs: Arc<Logs>,
    /// Directories of the binary package hosts.
    pub binhosts: Binhosts,
    /// Published files cached in memory.
    pub(crate) small_files: Arc<SmallFiles>,
    /// Progress of publishing.
    pub published: Arc<Progress>,
    /// Checks this machine.
    pub checks: Arc<Checks>,
    /// When each pass last ran and what it did.
    pub passes: Arc<Passes>,
    /// Verifies what is stored.
    pub auditor: Arc<Auditor>,
    /// Sends notifications.
    pub notifier: Arc<Notifier>,
    /// Counts connections by caller.
    pub(crate) places: Places,
    /// Cancelled when the orchestrator stops.
    pub stopping: CancellationToken,
}

impl App {
    /// All problems of this process, worst first. `/readyz`, status, metrics and notifications show
    /// this list, or the part of it that stops the work.
    #[must_use]
    pub fn troubles(&self) -> Vec<ConcernKind> {
        let embedded = self.config.journal.redis.is_none();
        let journal = self.engine.trouble().map(|why| ConcernKind::JournalUnwritable {
            at: embedded.then(|| self.config.state_dir.display().to_string()),
            why,
        });
        let publisher = self.published.trouble().map(|why| ConcernKind::PublishingFails {
            at: self.config.artifact_dir().display().to_string(),
            why,
        });
        let mut troubles: Vec<ConcernKind> = journal.into_iter().chain(publisher).collect();
        troubles.extend(self.checks.found());
        troubles.extend(self.upstreams.troubles());
        troubles.extend(self.passes.troubles(&[Publisher::NAME]));
        troubles.extend(self.notifier.troubles());
        troubles.extend(self.auditor.audited.trouble());
        troubles.sort_by_key(|fact| (!view::stops(fact), Reverse(view::severity(fact))));
        troubles
    }
}

/// The HTTPS listener.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The host name in its URL.
    pub name: String,
    /// The certificate it presents.
    pub shown: Arc<Shown>,
}
