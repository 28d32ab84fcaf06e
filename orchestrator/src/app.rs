//! What handlers and passes share.

use crate::{
    artifact::{entries::EntryBook, store::Store},
    audit::Audited,
    checks::Checks,
    config::Config,
    engine::Engine,
    http::places::Places,
    images::Images,
    logs::Logs,
    notify::Notifier,
    passes::Passes,
    publish::small::SmallFiles,
    publisher::{Binhosts, Progress},
    receiving::Receiving,
    snapshots::Snapshots,
    tls::Shown,
};
use std::{net::SocketAddr, sync::Arc};
use swarm_common::{digest::Digest, secret::Secret};
use swarm_core::view::Trouble;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What handlers and passes share.
pub struct App {
    /// The only way to the state.
    pub engine: Engine,
    /// The configuration of the start.
    pub config: Config,
    /// The configuration as it is after the last reload, for what can change at runtime.
    pub live: watch::Sender<Arc<Config>>,
    /// Digest of the admin's token.
    pub admin: Digest,
    /// The admin's token.
    pub admin_token: Secret,
    /// Digest of the token that reads the metrics.
    pub metrics_token: Digest,
    /// How it is reached over TLS, if it is.
    pub tls: Option<Reached>,
    /// Package files.
    pub store: Store,
    /// Their index entries.
    pub entries: EntryBook,
    /// The way of package files in.
    pub receiving: Arc<Receiving>,
    /// Snapshots.
    pub snapshots: Snapshots,
    /// Images of bases.
    pub images: Images,
    /// Logs of attempts.
    pub logs: Logs,
    /// Where the binary package hosts are.
    pub binhosts: Binhosts,
    /// Published files that are kept in memory.
    pub(crate) small_files: Arc<SmallFiles>,
    /// How far publishing is.
    pub published: Arc<Progress>,
    /// What was found wrong with this machine.
    pub checks: Checks,
    /// When each pass last ran and what it did.
    pub passes: Arc<Passes>,
    /// What the last audit found wrong.
    pub audited: Audited,
    /// Whom it tells what.
    pub notifier: Notifier,
    /// Who has how many connections.
    pub(crate) places: Places,
    /// Cancelled when the orchestrator stops.
    pub stopping: CancellationToken,
}

impl App {
    /// All that is wrong in the shell, worst first. `/readyz`, status, metrics and notifications
    /// each show this list, or those of it that stop the work.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let journal = self.engine.trouble().map(|why| {
            let next = match self.config.journal.redis {
                None => format!(
                    "free space on, or repair, the disk of {}; it goes on by itself",
                    self.config.state_dir.display()
                ),
                Some(_) => "see to Redis, as said above; drones go on building and keep their results, and \
                            what is published is served meanwhile"
                    .into(),
            };
            Trouble::new(format!("the journal cannot be written: {why}"), next).stopping()
        });
        let publisher = self.published.trouble().map(|why| {
            let next = format!(
                "look at the disk of {}; it is tried again by itself",
                self.config.artifact_dir().display()
            );
            Trouble::new(format!("publishing fails: {why}"), next).stopping()
        });
        let mut troubles: Vec<Trouble> = journal.into_iter().chain(publisher).collect();
        troubles.extend(self.checks.found());
        troubles.extend(self.passes.troubles(&["publisher"]));
        troubles.extend(self.notifier.troubles());
        troubles.extend(self.audited.trouble());
        troubles.sort_by_key(|trouble| (!trouble.stops, std::cmp::Reverse(trouble.severity)));
        troubles
    }
}

/// How the orchestrator is reached over TLS.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// What it is called, as far as it knows.
    pub name: String,
    /// The certificate that it shows.
    pub shown: Arc<Shown>,
}
