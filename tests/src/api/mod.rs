//! A complete orchestrator in this process with its own port, used through the real client: the basis of the
//! API tests.
//!
//! Journal, disk and signatures are real. Only the drones are fake: they send the same requests as real ones,
//! and upload packages that the real Portage built (`formats/tests/data/binhost`).

mod clock;
mod drone;
mod forged;
mod line;
mod mailbox;
pub mod mold;
mod network;
pub mod nix;
mod openapi;
mod parts;
mod raw;
mod receiver;
mod restore;
mod wait;

pub use clock::TestClock;
pub use drone::{FakeDrone, nothing_free};
pub(crate) use forged::forge;
pub use forged::{identity, package_for, package_with};
pub use line::Line;
pub use mailbox::{Mail, Mailbox};
pub use network::in_a_network_of_its_own;
pub use openapi::{Content, Document, Operation};
pub use parts::{facts, fixture, limit_plan, name, package_file, pebble, pebble_at, plan_of, snapshot};
pub use raw::{Answer, Raw};
pub use receiver::{Post, Receiver};
pub use restore::{again, copy, restored};
pub use wait::until;

use anyhow::{Context, Result};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use swarm_client::{Client, IdempotencyKey, Trust, Url, parse_address};
use swarm_common::{
    digest::Digest,
    fingerprint::Pins,
    id::RunId,
    state::RunClass,
    wire::{
        admin::{BuilderKind, EnrolTokenRequest, ProfileRequest, StartRunRequest},
        drone::DroneFacts,
    },
};
use swarm_daemon::config::{Span, secret::read_secret};
use swarm_orchestrator::{
    app::App,
    config::Config,
    engine::{Clock, SystemClock},
    server::{self, ServeError},
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

pub const PROFILE: &str = "desk";

/// An orchestrator running in this process, and its admin.
pub struct Swarm {
    pub admin: Client,
    /// The address it listens on.
    pub address: SocketAddr,
    /// The state that its handlers share, for tests that look behind the API.
    pub app: Arc<App>,
    config: Config,
    clock: Option<Arc<dyn Clock>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
    dir: TempDir,
}

impl Swarm {
    /// Starts a new orchestrator.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// Starts a new orchestrator with a changed configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::start_at(None, change).await
    }

    /// Starts a new orchestrator with another clock and a changed configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_at(clock: Option<Arc<dyn Clock>>, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state_dir: dir.path().join("state"),
            ..Config::default()
        };
        // Tests must not wait out a grace time that is meant for many real machines.
        config.policy.startup_grace = Some(Span::default());
        config.first_cleaning = Span::default();
        config.policy.backoff = Some(Span::from_millis(1));
        config.policy.backoff_max = Some(Span::from_millis(1));
        change(&mut config);
        Self::serve(dir, config, clock).await
    }

    async fn serve(dir: TempDir, config: Config, clock: Option<Arc<dyn Clock>>) -> Result<Self> {
        let now = clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let server = server::build_with(config.clone(), now).await?;
        let (address, app) = (server.address(), server.app());
        let token = read_secret(&config.admin_token_file())?;
        let url = parse_address(&format!("http://{address}")).map_err(anyhow::Error::msg)?;
        let admin = Client::new(&[url], Some(token))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(async move {
            // A test that ends without stopping drops the sender, which stops the orchestrator too.
            let _told = stopped.await;
        }));
        Ok(Self { admin, address, app, config, clock, stop: Some(stop), served, dir })
    }

    /// Stops the orchestrator as a supervisor would, and waits for its end.
    ///
    /// # Errors
    /// It did not stop cleanly.
    pub async fn stop(mut self) -> Result<(TempDir, Config)> {
        drop(self.stop.take());
        drop(self.app);
        self.served.await.context("the server broke off")??;
        Ok((self.dir, self.config))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It did not end cleanly. The inner error is the reason why it ended.
    pub async fn ended(self) -> Result<Result<(), ServeError>> {
        let Self { served, stop, .. } = self;
        let ended = served.await.context("the server broke off");
        drop(stop);
        ended
    }

    /// Restarts it with the same state, on another port.
    ///
    /// # Errors
    /// It did not stop cleanly, or does not start.
    pub async fn restart(self) -> Result<Self> {
        self.restart_after(|_| {}).await
    }

    /// Like [`Swarm::restart`], but calls `between` to change its disk or configuration before it starts
    /// again.
    ///
    /// # Errors
    /// It did not stop cleanly, or does not start.
    pub async fn restart_after(self, between: impl FnOnce(&mut Config)) -> Result<Self> {
        let clock = self.clock.clone();
        let (dir, mut config) = self.stop().await?;
        between(&mut config);
        Self::serve(dir, config, clock).await
    }

    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.config.state_dir.clone()
    }

    /// A client without a credential.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn nobody(&self) -> Result<Client> {
        Ok(Client::new(&[self.admin.address().clone()], None)?)
    }

    /// The HTTPS address, and how to verify the certificate.
    ///
    /// # Errors
    /// HTTPS is not configured.
    pub fn over_tls(&self) -> Result<(Url, Trust)> {
        let tls = self.app.tls.as_ref().context("it speaks no TLS")?;
        let url = parse_address(&format!("https://{}", tls.address)).map_err(anyhow::Error::msg)?;
        Ok((url, Trust { pins: Pins(vec![tls.shown.fingerprint()]), ca: None }))
    }

    /// Enrols and approves a drone.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn drone(&self, name: &str) -> Result<FakeDrone> {
        self.enrol(name, true).await
    }

    /// Enrols a drone.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn enrol(&self, name: &str, approved: bool) -> Result<FakeDrone> {
        self.enrol_with(name, approved, facts()).await
    }

    /// Enrols a drone on a machine with these facts.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn enrol_with(&self, name: &str, approved: bool, facts: DroneFacts) -> Result<FakeDrone> {
        let request = EnrolTokenRequest { valid_ms: 60_000, approved };
        let token = self.admin.make_enrol_token(&request, &IdempotencyKey::random()?).await?.token;
        FakeDrone::enrol_with(&self.nobody()?, &token, name, facts).await
    }

    /// Creates a profile pinned to a small snapshot. Returns the snapshot's digest.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn profile(&self) -> Result<Digest> {
        let (digest, archive) = snapshot(&self.dir.path().join("snapshot.tar.zst"))?;
        self.admin.put_snapshot(digest, &archive).await?;
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: digest,
            source: "test".to_owned(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        self.admin.put_profile(&name(PROFILE), &request, &IdempotencyKey::random()?).await?;
        Ok(digest)
    }

    /// Starts a run of the profile.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn run(&self) -> Result<RunId> {
        let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Interactive };
        Ok(self.admin.start_run(&request, &IdempotencyKey::random()?).await?.run)
    }

    /// Creates a profile and starts a run of it. `drone` reports a plan with only the package `pebble`.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn planned(&self, drone: &FakeDrone) -> Result<RunId> {
        self.profile().await?;
        let run = self.run().await?;
        drone.bring_plan(plan_of(&[pebble()])).await?;
        Ok(run)
    }

    /// Opens a raw connection to it.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn raw(&self) -> Result<Raw> {
        Raw::connect(self.address).await
    }

    /// The admin token, for raw requests.
    #[must_use]
    pub fn admin_token(&self) -> String {
        self.app.admin_token.expose().to_owned()
    }
}
