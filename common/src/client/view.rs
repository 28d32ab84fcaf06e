//! The reading routes.

use super::{
    Client, ClientError,
    call::{Call, Wait},
    stream::{ByteStream, EventStream},
};
use crate::{
    id::*,
    name::Name,
    state::PackageState,
    wire::{
        artifact::Artifact,
        base::BaseView,
        notify::{SinkTestView, SinkView},
        view::*,
    },
};
use std::time::Duration;

/// How long a stream may take to begin.
const HEAD: Duration = Duration::from_secs(30);
/// Comparing every artifact with its digest takes its time.
const AUDIT: Duration = Duration::from_secs(3600);

/// Which packages to list; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageFilter {
    /// Of this run.
    pub run: Option<RunId>,
    /// In this state.
    pub state: Option<PackageState>,
    /// With this in their title.
    pub name: Option<String>,
}

impl Client {
    /// The swarm on one screen.
    ///
    /// # Errors
    /// As every request.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.json(Call::get(&["status"])).await
    }

    /// Every run, newest first.
    ///
    /// # Errors
    /// As every request.
    pub async fn runs(&self) -> Result<Vec<RunView>, ClientError> {
        self.json(Call::get(&["runs"])).await
    }

    /// One run.
    ///
    /// # Errors
    /// As every request.
    pub async fn run(&self, run: RunId) -> Result<RunView, ClientError> {
        self.json(Call::get(&["runs", &run.to_string()])).await
    }

    /// The packages that the filter lets through.
    ///
    /// # Errors
    /// As every request.
    pub async fn packages(&self, filter: &PackageFilter) -> Result<Vec<PackageRow>, ClientError> {
        let call = Call::get(&["packages"])
            .query("run", filter.run)
            .query("state", filter.state)
            .query("name", filter.name.as_ref());
        self.json(call).await
    }

    /// One package.
    ///
    /// # Errors
    /// As every request.
    pub async fn package(&self, package: PackageId) -> Result<PackageView, ClientError> {
        self.json(Call::get(&["packages", &package.to_string()])).await
    }

    /// A package's log: of the given attempt or the newest, to its present end, or, if
    /// followed, until the attempt ends.
    ///
    /// # Errors
    /// As every request; there may be no log yet.
    pub async fn package_log(
        &self,
        package: PackageId,
        attempt: Option<AttemptId>,
        follow: bool,
    ) -> Result<ByteStream, ClientError> {
        self.log(Call::get(&["packages", &package.to_string(), "log"]), attempt, follow).await
    }

    /// The log of a run's plan, as [`Self::package_log`].
    ///
    /// # Errors
    /// As every request; there may be no log yet.
    pub async fn plan_log(
        &self,
        run: RunId,
        attempt: Option<AttemptId>,
        follow: bool,
    ) -> Result<ByteStream, ClientError> {
        self.log(Call::get(&["runs", &run.to_string(), "log"]), attempt, follow).await
    }

    async fn log(
        &self,
        call: Call,
        attempt: Option<AttemptId>,
        follow: bool,
    ) -> Result<ByteStream, ClientError> {
        let call =
            call.query("attempt", attempt).query("follow", follow.then_some(true)).wait(Wait::Head(HEAD));
        // A build may be silent for long; a dead peer is found by TCP keep-alive.
        let idle = (!follow).then_some(HEAD);
        Ok(ByteStream::new(self.send(&call).await?, idle))
    }

    /// Why a package is in the state that it is in. The query is a package's id, its
    /// name, `category/name` or `category/name-version`.
    ///
    /// # Errors
    /// As every request; it may be unknown or mean several packages.
    pub async fn why(&self, query: &str) -> Result<WhyView, ClientError> {
        self.json(Call::get(&["why", query])).await
    }

    /// Every drone.
    ///
    /// # Errors
    /// As every request.
    pub async fn drones(&self) -> Result<Vec<DroneView>, ClientError> {
        self.json(Call::get(&["drones"])).await
    }

    /// Every profile.
    ///
    /// # Errors
    /// As every request.
    pub async fn profiles(&self) -> Result<Vec<ProfileView>, ClientError> {
        self.json(Call::get(&["profiles"])).await
    }

    /// One profile.
    ///
    /// # Errors
    /// As every request.
    pub async fn profile(&self, name: &Name) -> Result<ProfileView, ClientError> {
        self.json(Call::get(&["profiles", name.as_str()])).await
    }

    /// Every base.
    ///
    /// # Errors
    /// As every request.
    pub async fn bases(&self) -> Result<Vec<BaseView>, ClientError> {
        self.json(Call::get(&["bases"])).await
    }

    /// One base.
    ///
    /// # Errors
    /// As every request.
    pub async fn base(&self, name: &Name) -> Result<BaseView, ClientError> {
        self.json(Call::get(&["bases", name.as_str()])).await
    }

    /// The stored package files, of one profile or of all.
    ///
    /// # Errors
    /// As every request.
    pub async fn artifacts(&self, profile: Option<&Name>) -> Result<Vec<Artifact>, ClientError> {
        self.json(Call::get(&["artifacts"]).query("profile", profile)).await
    }

    /// The journal's events after the number `after`, or from now on, as they happen.
    ///
    /// # Errors
    /// As every request.
    pub async fn events(&self, after: Option<u64>) -> Result<EventStream, ClientError> {
        let mut call = Call::get(&["events"]).header("accept", "text/event-stream").wait(Wait::Head(HEAD));
        if let Some(seq) = after {
            call = call.header("last-event-id", seq);
        }
        Ok(EventStream::new(ByteStream::new(self.send(&call).await?, None)))
    }

    /// Checks the journal's hash chain and every artifact.
    ///
    /// # Errors
    /// As every request.
    pub async fn audit(&self) -> Result<AuditView, ClientError> {
        self.json(Call::get(&["audit"]).wait(Wait::Whole(AUDIT))).await
    }

    /// The key that signs the packages.
    ///
    /// # Errors
    /// As every request; signing may be off.
    pub async fn key(&self) -> Result<KeyView, ClientError> {
        self.json(Call::get(&["key"])).await
    }

    /// Every notification sink and how it does.
    ///
    /// # Errors
    /// As every request.
    pub async fn notification_sinks(&self) -> Result<Vec<SinkView>, ClientError> {
        self.json(Call::get(&["notify"])).await
    }

    /// Sends a test to every notification sink, and waits for them.
    ///
    /// # Errors
    /// As every request; that a sink cannot be reached is none.
    pub async fn test_notifications(&self) -> Result<Vec<SinkTestView>, ClientError> {
        self.json(Call::post(&["notify", "test"]).unrepeatable()).await
    }
}
