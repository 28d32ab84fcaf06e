//! A whole orchestrator in this process, on a port of its own, spoken to by the real
//! client: what the API tests stand on.
//!
//! Its journal, its disks and its signatures are real. Only drones are played: they say
//! what a drone says, and bring packages that real Portage built once
//! (`formats/tests/data/binhost`).

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

/// The profile that the tests build for.
pub const PROFILE: &str = "desk";

/// An orchestrator that runs in this process, and its admin.
pub struct Swarm {
    /// The admin's client.
    pub admin: Client,
    /// Where it listens.
    pub address: SocketAddr,
    /// What its handlers share, for looking behind the API.
    pub app: Arc<App>,
    config: Config,
    clock: Option<Arc<dyn Clock>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
    dir: TempDir,
}

impl Swarm {
    /// A fresh one.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// A fresh one with a changed configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::start_at(None, change).await
    }

    /// A fresh one with another clock and a changed configuration.
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
        // No test should wait out a grace time that is meant for a house full of machines.
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
            // A test that is over without stopping drops the sender, which stops it too.
            let _told = stopped.await;
        }));
        Ok(Self { admin, address, app, config, clock, stop: Some(stop), served, dir })
    }

    /// Stops it as a supervisor would, and waits until it has.
    ///
    /// # Errors
    /// It broke off.
    pub async fn stop(mut self) -> Result<(TempDir, Config)> {
        drop(self.stop.take());
        drop(self.app);
        self.served.await.context("the server broke off")??;
        Ok((self.dir, self.config))
    }

    /// Waits until it ends without being told to.
    ///
    /// # Errors
    /// It broke off; inside, why it ended.
    pub async fn ended(self) -> Result<Result<(), ServeError>> {
        let Self { served, stop, .. } = self;
        let ended = served.await.context("the server broke off");
        drop(stop);
        ended
    }

    /// Stops it and starts it on the same state, at another port.
    ///
    /// # Errors
    /// It broke off or does not start.
    pub async fn restart(self) -> Result<Self> {
        self.restart_after(|_| {}).await
    }

    /// As [`Swarm::restart`], with something done to its disk or its configuration in between.
    ///
    /// # Errors
    /// It broke off or does not start.
    pub async fn restart_after(self, between: impl FnOnce(&mut Config)) -> Result<Self> {
        let clock = self.clock.clone();
        let (dir, mut config) = self.stop().await?;
        between(&mut config);
        Self::serve(dir, config, clock).await
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.config.state_dir.clone()
    }

    /// A client without any credential.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn nobody(&self) -> Result<Client> {
        Ok(Client::new(&[self.admin.address().clone()], None)?)
    }

    /// Where it speaks TLS, and whom to believe there, if its configuration has it do so.
    ///
    /// # Errors
    /// It does not.
    pub fn over_tls(&self) -> Result<(Url, Trust)> {
        let tls = self.app.tls.as_ref().context("it speaks no TLS")?;
        let url = parse_address(&format!("https://{}", tls.address)).map_err(anyhow::Error::msg)?;
        Ok((url, Trust { pins: Pins(vec![tls.shown.fingerprint()]), ca: None }))
    }

    /// A drone that is enrolled and approved.
    ///
    /// # Errors
    /// Something on the way is refused.
    pub async fn drone(&self, name: &str) -> Result<FakeDrone> {
        self.enrol(name, true).await
    }

    /// A drone that is enrolled.
    ///
    /// # Errors
    /// Something on the way is refused.
    pub async fn enrol(&self, name: &str, approved: bool) -> Result<FakeDrone> {
        self.enrol_with(name, approved, facts()).await
    }

    /// A drone that is enrolled, on another machine.
    ///
    /// # Errors
    /// Something on the way is refused.
    pub async fn enrol_with(&self, name: &str, approved: bool, facts: DroneFacts) -> Result<FakeDrone> {
        let request = EnrolTokenRequest { valid_ms: 60_000, approved };
        let token = self.admin.make_enrol_token(&request, &IdempotencyKey::random()?).await?.token;
        FakeDrone::enrol_with(&self.nobody()?, &token, name, facts).await
    }

    /// A profile that is pinned to a small snapshot. Gives the snapshot's digest.
    ///
    /// # Errors
    /// Something on the way is refused.
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
    /// It is refused.
    pub async fn run(&self) -> Result<RunId> {
        let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Interactive };
        Ok(self.admin.start_run(&request, &IdempotencyKey::random()?).await?.run)
    }

    /// A profile, and a run of it whose plan `drone` has brought: `pebble` alone.
    ///
    /// # Errors
    /// Something on the way is refused.
    pub async fn planned(&self, drone: &FakeDrone) -> Result<RunId> {
        self.profile().await?;
        let run = self.run().await?;
        drone.bring_plan(plan_of(&[pebble()])).await?;
        Ok(run)
    }

    /// A raw connection to it.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn raw(&self) -> Result<Raw> {
        Raw::connect(self.address).await
    }

    /// The admin's token, for raw requests.
    #[must_use]
    pub fn admin_token(&self) -> String {
        self.app.admin_token.expose().to_owned()
    }
}
