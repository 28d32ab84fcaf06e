//! What handlers and passes share.

use crate::{
    artifact::{disk::DiskError, entries::EntryBook, store::Store},
    audit::Audited,
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
};
use std::{net::SocketAddr, sync::Arc};
use swarm_common::{digest::Digest, fingerprint::Fingerprint, secret::Secret};
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
    /// What is wrong in the shell, worst first.
    #[must_use]
    pub fn all_troubles(&self) -> Vec<Trouble> {
        let mut troubles = self.troubles();
        troubles.extend(self.passes.troubles(&["publisher"]));
        troubles.extend(self.notifier.troubles());
        troubles.extend(self.audited.trouble());
        troubles
    }

    /// That part of it without which it cannot do its work.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let journal = self.engine.trouble().map(|why| Trouble {
            what: format!("the journal cannot be written: {why}"),
            next: match self.config.journal.redis {
                None => format!(
                    "free space on, or repair, the disk of {}; it goes on by itself",
                    self.config.state_dir.display()
                ),
                Some(_) => "see to Redis, as said above; drones go on building and keep their results, and \
                            what is published is served meanwhile"
                    .into(),
            },
        });
        let publisher = self.published.trouble().map(|why| Trouble {
            what: format!("publishing fails: {why}"),
            next: format!(
                "look at the disk of {}; it is tried again by itself",
                self.config.artifact_dir().display()
            ),
        });
        journal.into_iter().chain(publisher).collect()
    }

    /// Whether a file can be written to the store; if not, why.
    ///
    /// # Errors
    /// The reason, for a person.
    pub async fn probe_store(&self) -> Result<(), String> {
        let store = self.store.clone();
        let probe = move || {
            use std::io::Write as _;
            let mut file = store.create()?;
            // More than what a full file system still has in its last block.
            let written = file.write_all(&[0; 64 * 1024]).and_then(|()| file.flush());
            written.map_err(DiskError::at("write into the store below", &store.path(Digest([0; 32]))))
        };
        match tokio::task::spawn_blocking(probe).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// How the orchestrator is reached over TLS.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// What it is called, as far as it knows.
    pub name: String,
    /// The fingerprint of the certificate that it shows.
    pub fingerprint: Fingerprint,
}
