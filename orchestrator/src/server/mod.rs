//! Assembles the orchestrator, for the program and for tests: [`build`] opens everything and binds
//! the addresses, [`Server::serve`] runs until it is stopped.

mod artifacts;
mod error;
mod keys;
mod kinds;
mod listen;
mod passes;
pub mod reload;
pub mod watchdog;

pub use error::{ServeError, StartError};

use crate::{
    app::{App, TlsEndpoint},
    audit::{Audited, Auditor},
    config::Config,
    connection_limits::ConnectionLimiter,
    engine::{Clock, Engine, EngineTask, SystemClock},
    http::{
        self,
        connection::{self, Listener},
    },
    intake::{self, Intake, upload::Incoming},
    journal,
    logs::Logs,
    missing_state::MissingState,
    nix::{listings::Listings, upstream::Upstreams},
    own_record::OwnRecord,
    passes::{Passes, checks::Checks, notify::Notifier},
    publish::{Binhosts, Progress},
    random,
    serve::lane::Lane,
    state_dir::StateDir,
    store::{ArtifactStore, LocalStore, entries::IndexEntryCache, images::Images, snapshots::Snapshots},
    tls,
};
use std::{io, net::SocketAddr, path::Path, sync::Arc};
use swarm_common::{digest::Digest, secret::Secret};
use swarm_daemon::config::{
    ConfigError,
    secret::{credential, read_secret, write_private},
};
use swarm_formats::portage::gpkg;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// An orchestrator that has bound its addresses but does not serve yet.
pub struct Server {
    app: Arc<App>,
    listeners: Vec<Listener>,
    lane: Lane,
    address: SocketAddr,
    engine_task: EngineTask,
    first_start: bool,
    /// Holds the lock of the state directory.
    _state_dir: StateDir,
}

/// Opens everything and binds the addresses.
///
/// # Errors
/// Something cannot be opened or bound.
pub async fn build(config: Config) -> Result<Server, StartError> {
    build_with(config, Arc::new(SystemClock::new())).await
}

/// Like [`build`], with another clock.
///
/// # Errors
/// As [`build`].
pub async fn build_with(config: Config, clock: Arc<dyn Clock>) -> Result<Server, StartError> {
    let state_dir = StateDir::open(&config.state_dir)?;
    let (admin_token, first_start) = token(&config.admin_token_file(), "admin-")?;
    let (metrics_token, _) = token(&config.metrics_token_file(), "metrics-")?;
    let artifacts = config.artifact_dir();
    let store: Arc<dyn ArtifactStore> = Arc::new(match config.journal.redis {
        None => LocalStore::open(artifacts.join("store"))?,
        Some(_) => LocalStore::open_beside_others(artifacts.join("store"))?,
    });
    let limits = gpkg::Limits::default();
    let entries = IndexEntryCache::open(artifacts.join("entries"), store.clone(), limits)?;
    let incoming = Incoming::open(artifacts.join("incoming"), config.limits.upload_size.bytes())?;
    let snapshots = Snapshots::open(artifacts.join("snapshots"))?;
    let images = Images::open(artifacts.join("images"))?;
    let binhosts = Binhosts::new(artifacts.join("binhost"));
    let logs = Logs::open(config.state_dir.join("logs"))?;
    let key = keys::for_packages(&config)?;
    let nix_keys = keys::for_nix(&config)?;
    let (listener, address) = listen::bind(config.listen).await?;
    let mut listeners = vec![Listener { listener, tls: None }];
    let mut tls_endpoint = None;
    if let Some(requested) = config.tls.listen {
        let identity = tls::load(&config)?;
        let (listener, address) = listen::bind(requested).await?;
        let (name, shown) = (identity.name, identity.shown);
        listeners.push(Listener { listener, tls: Some(identity.server) });
        tls_endpoint = Some(TlsEndpoint { address, name, shown });
    } else if !(address.ip().is_loopback() || config.plain_api) {
        tracing::warn!(%address, "the API is only served to this machine: set `listen` of `[tls]` to serve \
            it to others");
    }
    let own = own_address(address, tls_endpoint.as_ref());
    let file = journal::file(&config.state_dir);
    if config.journal.redis.is_none() && matches!(file.try_exists(), Ok(false)) && !store.list()?.is_empty() {
        let missing = MissingState {
            what: "the journal",
            path: file,
            trace: "packages that it received are in the store".into(),
            cost: "to begin with an empty swarm, which removes them",
        };
        missing.unless(config.accept_new)?;
    }
    let journal = journal::open(&config.journal, &config.state_dir, &own, config.accept_new)?;
    let (engine, engine_task) = Engine::start(journal, config.core_policy(), clock).await?;
    artifacts::check(artifacts, engine.read(artifacts::is_used), config.accept_new)?;
    let listings = Listings::open(artifacts.join("listings"), store.clone())?;
    let upstreams = Arc::new(Upstreams::new(snapshots.clone(), config.netrc_file.clone()));
    let logs = Arc::new(logs);
    let keys = keys::view(key.as_ref(), nix_keys.as_deref())?;
    let parts = kinds::Parts {
        config: &config,
        engine: engine.clone(),
        storage: intake::Storage::new(incoming.clone(), store.clone()),
        entries: entries.clone(),
        key,
        limits,
        nix_keys,
        listings,
        upstreams: upstreams.clone(),
        logs: logs.clone(),
    };
    let kinds = kinds::all(parts);
    let intake = Intake::new(incoming, kinds.map(|kind| kind.builder.clone()));
    let record = OwnRecord::notifications(&config.state_dir);
    let notifier = Notifier::open(engine.clone(), &config.notify, record).map_err(StartError::Notify)?;
    let published: Arc<Progress> = Arc::default();
    let auditor = Auditor {
        engine: engine.clone(),
        store: store.clone(),
        verifiers: kinds.map(|kind| kind.verifier.clone()),
        snapshots: snapshots.clone(),
        images: images.clone(),
        binhosts: binhosts.clone(),
        published: published.clone(),
        audited: Audited::default(),
    };
    let passes = Arc::new(Passes::new(engine.clone()));
    let shown = tls_endpoint.as_ref().map(|tls| tls.shown.clone());
    let app = Arc::new(App {
        notifier: Arc::new(notifier),
        auditor: Arc::new(auditor),
        checks: Arc::new(Checks::new(&config, shown, upstreams.clone())),
        passes,
        engine,
        admin: Digest::of(admin_token.expose().as_bytes()),
        admin_token,
        metrics_token: Digest::of(metrics_token.expose().as_bytes()),
        tls: tls_endpoint,
        store,
        entries,
        upstreams,
        intake: Arc::new(intake),
        channel_writers: kinds.map(|kind| kind.writer.clone()),
        keys,
        key_traces: kinds.map(|kind| kind.key_trace.clone()),
        snapshots,
        images,
        logs,
        binhosts,
        small_files: Arc::default(),
        published,
        limiter: ConnectionLimiter::new(&config.limits),
        stopping: CancellationToken::new(),
        live: watch::Sender::new(Arc::new(config.clone())),
        config,
    });
    let (files, head) = (app.small_files.clone(), app.config.limits.header());
    let lane = Lane::start(app.binhosts.clone(), files, head, app.stopping.clone());
    let lane = lane.map_err(StartError::Threads)?;
    Ok(Server { app, listeners, lane, address, engine_task, first_start, _state_dir: state_dir })
}

/// The URL under which other machines reach this orchestrator, as far as can be determined.
fn own_address(bound: SocketAddr, tls_endpoint: Option<&TlsEndpoint>) -> String {
    match (tls_endpoint, bound.ip()) {
        (Some(tls), _) => format!("https://{}:{}", tls.name, tls.address.port()),
        (None, ip) if ip.is_unspecified() => {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            format!("http://{name}:{}", bound.port())
        }
        (None, _) => format!("http://{bound}"),
    }
}

/// Reads a token or creates it. Returns whether it was created. A systemd credential with the file's name
/// takes precedence.
fn token(path: &Path, prefix: &str) -> Result<(Secret, bool), StartError> {
    let given = path.file_name().and_then(|name| credential(name.to_str()?));
    match read_secret(given.as_deref().unwrap_or(path)) {
        Ok(token) => Ok((token, false)),
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let token = random::secret(prefix)?;
            write_private(path, &format!("{token}\n"))?;
            Ok((Secret::new(&token), true))
        }
        Err(error) => Err(error.into()),
    }
}

impl Server {
    /// The bound address for plain HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The state shared by handlers and passes.
    #[must_use]
    pub fn app(&self) -> Arc<App> {
        self.app.clone()
    }

    /// Whether this start created the admin token.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.first_start
    }

    /// Serves until `stop`, lets open requests finish, and closes the journal.
    ///
    /// # Errors
    /// A bug ended the engine, or another orchestrator took over. Continuing would look healthy to a
    /// supervisor but achieve nothing.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { app, listeners, lane, engine_task, .. } = self;
        let stopping = app.stopping.clone();
        let passes = passes::start(&app);
        let limits = app.config.limits;
        let router = http::router(app.clone());
        let (limiter, trusted) = (app.limiter.clone(), &app.config.trusted_proxies);
        let connections =
            connection::serve(listeners, router, lane, limits, limiter, trusted, stopping.clone());
        let stopper = async {
            let result = tokio::select! {
                () = stop => Ok(()),
                () = app.engine.broken() => Err(ServeError::EngineBroke),
            };
            tracing::info!("stopping: no new requests are accepted");
            stopping.cancel();
            result
        };
        let served = async { tokio::join!(connections, stopper).1 };
        let result = tokio::select! {
            result = served => result,
            // Stop at once: responses to open requests would no longer be valid.
            by = app.engine.deposed() => {
                stopping.cancel();
                return Err(ServeError::Deposed(by));
            }
        };
        for (name, task) in passes {
            if let Err(error) = task.await {
                tracing::error!(name, %error, "a background pass panicked");
            }
        }
        drop(app);
        engine_task.stop().await;
        result
    }
}
