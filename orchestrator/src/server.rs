//! The whole orchestrator put together, for the program and for the tests alike: [`build`]
//! opens everything and binds the address, [`Server::serve`] runs until it is told to stop.

mod error;
mod listen;

pub use error::{ServeError, StartError};

use crate::{
    app::{App, Reached},
    artifact::{entries::EntryBook, store::Store, upload::Incoming},
    audit::Audited,
    calendar,
    checks::{self, Checks},
    config::Config,
    engine::{Clock, Engine, EngineTask, SystemClock},
    healer::Healer,
    http::{
        self, Lane,
        connection::{self, Entrance},
        places::Places,
    },
    images::Images,
    journal,
    logs::Logs,
    notify::{self, Notifier},
    pass_leftovers, pass_scrub,
    passes::Passes,
    publisher::{Binhosts, Publisher},
    random,
    receiving::Receiving,
    sign::OpenPgpKey,
    snapshots::Snapshots,
    state_dir::StateDir,
    tls,
    vanished::{self, Vanished},
};
use std::{io, net::SocketAddr, path::Path, sync::Arc};
use swarm_common::{
    config::{
        ConfigError,
        secret::{credential, read_secret, write_private},
    },
    digest::Digest,
    format::gpkg,
    secret::Secret,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A server that listens and is not served yet.
pub struct Server {
    app: Arc<App>,
    entrances: Vec<Entrance>,
    lane: Lane,
    address: SocketAddr,
    engine_task: EngineTask,
    first_start: bool,
    /// Held as long as the server lives.
    _state_dir: StateDir,
}

/// Opens everything and binds the address.
///
/// # Errors
/// Something cannot be opened; nothing is left running.
pub async fn build(config: Config) -> Result<Server, StartError> {
    build_with(config, Arc::new(SystemClock::new())).await
}

/// As [`build`], with another clock.
///
/// # Errors
/// As [`build`].
pub async fn build_with(config: Config, clock: Arc<dyn Clock>) -> Result<Server, StartError> {
    let state_dir = StateDir::open(&config.state_dir)?;
    let (admin_token, first_start) = token(&config.admin_token_file(), "admin-")?;
    let (metrics_token, _) = token(&config.metrics_token_file(), "metrics-")?;
    let artifacts = config.artifact_dir();
    let store = match config.journal.redis {
        None => Store::open(artifacts.join("store"))?,
        Some(_) => Store::open_beside_others(artifacts.join("store"))?,
    };
    let limits = gpkg::Limits::default();
    let entries = EntryBook::open(artifacts.join("entries"), limits)?;
    let incoming = Incoming::open(artifacts.join("incoming"), config.limits.upload_bytes)?;
    let snapshots = Snapshots::open(artifacts.join("snapshots"))?;
    let images = Images::open(artifacts.join("images"))?;
    let binhosts = Binhosts::new(artifacts.join("binhost"));
    let logs = Logs::open(config.state_dir.join("logs"))?;
    let key = signing_key(&config)?;
    let (listener, address) = listen::bind(config.listen).await?;
    let mut entrances = vec![Entrance { listener, tls: None }];
    let mut reached = None;
    if let Some(wanted) = config.tls.listen {
        let identity = tls::load(&config)?;
        let (listener, address) = listen::bind(wanted).await?;
        let (name, shown) = (identity.name, identity.shown);
        entrances.push(Entrance { listener, tls: Some(identity.server) });
        reached = Some(Reached { address, name, shown });
    } else if !(address.ip().is_loopback() || config.plain_api) {
        tracing::warn!(%address, "other machines get packages only: set `listen` of `[tls]` to serve them the API");
    }
    let own = own_address(address, reached.as_ref());
    let file = journal::file(&config.state_dir);
    if config.journal.redis.is_none() && matches!(file.try_exists(), Ok(false)) && !store.list()?.is_empty() {
        let vanished = Vanished {
            what: "the journal",
            path: file,
            trace: "packages that it received are in the store".into(),
            cost: "to begin with an empty swarm, which removes them",
        };
        vanished.unless(config.accept_new)?;
    }
    let journal = journal::open(&config.journal, &config.state_dir, &own, config.accept_new)?;
    let (engine, engine_task) = Engine::start(journal, config.core_policy(), clock).await?;
    let receiving = Receiving::new(incoming, store.clone(), entries.clone(), key, limits);
    let notifier = Notifier::open(engine.clone(), &config.notify, &config.state_dir.join("notify.json"))
        .map_err(StartError::Notify)?;
    let app = Arc::new(App {
        notifier,
        audited: Audited::default(),
        checks: Checks::default(),
        passes: Arc::new(Passes::new(engine.clone())),
        engine,
        admin: Digest::of(admin_token.expose().as_bytes()),
        admin_token,
        metrics_token: Digest::of(metrics_token.expose().as_bytes()),
        tls: reached,
        store,
        entries,
        receiving: Arc::new(receiving),
        snapshots,
        images,
        logs,
        binhosts,
        small_files: Arc::default(),
        published: Arc::default(),
        places: Places::new(&config.limits),
        stopping: CancellationToken::new(),
        live: watch::Sender::new(Arc::new(config.clone())),
        config,
    });
    let lane = Lane::start(&app).map_err(StartError::Threads)?;
    Ok(Server { app, entrances, lane, address, engine_task, first_start, _state_dir: state_dir })
}

/// Where others reach this orchestrator, as far as it knows itself.
fn own_address(bound: SocketAddr, reached: Option<&Reached>) -> String {
    match (reached, bound.ip()) {
        (Some(tls), _) => format!("https://{}:{}", tls.name, tls.address.port()),
        (None, ip) if ip.is_unspecified() => {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            format!("http://{name}:{}", bound.port())
        }
        (None, _) => format!("http://{bound}"),
    }
}

/// The token in a file, and whether it was made just now. A credential of the file's name
/// goes before it.
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

fn signing_key(config: &Config) -> Result<Option<OpenPgpKey>, StartError> {
    if !config.signing.enabled {
        return Ok(None);
    }
    let (path, trace) = (config.key_file(), config.key_fingerprint_file());
    if matches!(path.try_exists(), Ok(false)) && trace.exists() {
        let vanished = Vanished {
            what: "the signing key",
            path: path.clone(),
            trace: format!("{} says that it signed", trace.display()),
            cost: "to have another made, which every workstation must then be told to trust",
        };
        vanished.unless(config.accept_new)?;
    }
    let (key, made) = OpenPgpKey::load_or_create(&path, &config.signing.user_id)?;
    if let Some(before) = vanished::note(&trace, &key.fingerprint())? {
        let now = key.fingerprint();
        tracing::warn!(
            before,
            now,
            "the signing key is another one: workstations have to be told to trust it"
        );
    }
    if made {
        tracing::info!(file = %path.display(), fingerprint = %key.fingerprint(), "a signing key was made; keep a copy");
    }
    Ok(Some(key))
}

impl Server {
    /// The address that it listens on for plain HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What handlers and passes share.
    #[must_use]
    pub fn app(&self) -> Arc<App> {
        self.app.clone()
    }

    /// Whether the admin's token was made just now.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.first_start
    }

    /// Serves until `stop`, lets open requests end, and closes the journal.
    ///
    /// # Errors
    /// A defect ended the engine, or another orchestrator took over. Living on would look
    /// alive to a supervisor and do nothing for anybody.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { app, entrances, lane, engine_task, .. } = self;
        let stopping = app.stopping.clone();
        let publisher = Publisher::new(
            app.engine.clone(),
            app.published.clone(),
            app.passes.clone(),
            app.binhosts.clone(),
            app.store.clone(),
            app.entries.clone(),
        );
        let publisher =
            app.passes.spawn("publisher", when_leading(app.clone(), publisher.run(stopping.clone())));
        let healer = Healer::new(app.engine.clone(), app.passes.clone(), app.live.subscribe());
        let healer = app.passes.spawn("healer", when_leading(app.clone(), healer.run(stopping.clone())));
        let leftovers =
            app.passes.spawn("leftovers", when_leading(app.clone(), pass_leftovers::run(app.clone())));
        let scrub = app.passes.spawn("scrub", when_leading(app.clone(), pass_scrub::run(app.clone())));
        let schedule = app.passes.spawn("schedule", when_leading(app.clone(), calendar::run(app.clone())));
        let notifier =
            app.passes.spawn("notifier", when_leading(app.clone(), notify::pass::run(app.clone())));
        let checks = app.passes.spawn(checks::NAME, checks::run(app.clone()));
        let limits = app.config.limits;
        let router = http::router(app.clone());
        let (places, trusted) = (app.places.clone(), &app.config.trusted_proxies);
        let connections =
            connection::serve(entrances, router, lane, limits, places, trusted, stopping.clone());
        let stopper = async {
            let told = tokio::select! {
                () = stop => Ok(()),
                () = app.engine.broken() => Err(ServeError::EngineBroke),
            };
            tracing::info!("stopping: no new requests, open ones may end");
            stopping.cancel();
            told
        };
        let served = async { tokio::join!(connections, stopper).1 };
        let told = tokio::select! {
            told = served => told,
            // At once: whatever is still open here would only be told what no longer counts.
            by = app.engine.deposed() => {
                stopping.cancel();
                return Err(ServeError::Deposed(by));
            }
        };
        let passes = [
            ("publisher", publisher),
            ("healer", healer),
            ("leftovers", leftovers),
            ("scrub", scrub),
            ("schedule", schedule),
            ("notifier", notifier),
            (checks::NAME, checks),
        ];
        for (name, task) in passes {
            if let Err(error) = task.await {
                tracing::error!(name, %error, "a pass broke off");
            }
        }
        drop(app);
        engine_task.stop().await;
        told
    }
}

/// A pass works where commands are taken: it begins when this orchestrator leads.
async fn when_leading(app: Arc<App>, pass: impl Future<Output = ()>) {
    tokio::select! {
        () = app.engine.leading() => pass.await,
        () = app.stopping.cancelled() => {}
    }
}
