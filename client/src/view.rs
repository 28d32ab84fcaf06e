//! Read-only requests.

use super::{
    Client, ClientError,
    call::{Call, Wait},
    stream::{ByteStream, EventStream},
};
use std::time::Duration;
use swarm_common::{
    id::*,
    name::Name,
    state::PackageState,
    wire::{
        artifact::Artifact,
        base::BaseView,
        build::AttemptRow,
        channel::{ChannelView, GenerationContents},
        notify::{SinkTestView, SinkView},
        view::*,
    },
};

/// Time limit for the response headers of a stream.
const HEAD: Duration = Duration::from_secs(30);
/// Time limit of an audit, which verifies the digest of every artifact.
const AUDIT: Duration = Duration::from_secs(3600);

/// Which packages to list. `None` matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageFilter {
    /// Only packages of this run.
    pub run: Option<RunId>,
    /// Only packages in this state.
    pub state: Option<PackageState>,
    /// Only packages with this text in their title.
    pub name: Option<String>,
}

impl Client {
    /// A summary of the whole swarm.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.json(Call::get(&["status"])).await
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn runs(&self) -> Result<Vec<RunView>, ClientError> {
        self.json(Call::get(&["runs"])).await
    }

    /// One run.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn run(&self, run: RunId) -> Result<RunView, ClientError> {
        self.json(Call::get(&["runs", &run.to_string()])).await
    }

    /// The packages that match the filter.
    ///
    /// # Errors
    /// See [`ClientError`].
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
    /// See [`ClientError`].
    pub async fn package(&self, package: PackageId) -> Result<PackageView, ClientError> {
        self.json(Call::get(&["packages", &package.to_string()])).await
    }

    /// The log of a package's latest attempt, or of the given one: up to its current end or, with `follow`,
    /// until the attempt ends.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if there is no log yet.
    pub async fn package_log(
        &self,
        package: PackageId,
        attempt: Option<AttemptId>,
        follow: bool,
    ) -> Result<ByteStream, ClientError> {
        self.log(Call::get(&["packages", &package.to_string(), "log"]), attempt, follow).await
    }

    /// The log of a run's plan, like [`Self::package_log`].
    ///
    /// # Errors
    /// See [`ClientError`]; refused if there is no log yet.
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
        // A build may print nothing for a long time; TCP keep-alive detects a dead peer.
        let idle = (!follow).then_some(HEAD);
        Ok(ByteStream::new(self.send(&call).await?, idle))
    }

    /// Explains a package's state. The query is a package id, a name, `category/name` or
    /// `category/name-version`; with `profile`, only that profile's runs are searched.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the query matches no package or several.
    pub async fn why(&self, query: &str, profile: Option<&Name>) -> Result<WhyView, ClientError> {
        self.json(Call::get(&["why", query]).query("profile", profile)).await
    }

    /// All known attempts at a package, including those of forgotten runs, newest first. The query is a
    /// package id, a name, `category/name` or `category/name-version`.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if no attempt is known.
    pub async fn history(&self, query: &str) -> Result<Vec<AttemptRow>, ClientError> {
        self.json(Call::get(&["history", query])).await
    }

    /// All drones.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drones(&self) -> Result<Vec<DroneView>, ClientError> {
        self.json(Call::get(&["drones"])).await
    }

    /// All profiles.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn profiles(&self) -> Result<Vec<ProfileView>, ClientError> {
        self.json(Call::get(&["profiles"])).await
    }

    /// One profile.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn profile(&self, name: &Name) -> Result<ProfileView, ClientError> {
        self.json(Call::get(&["profiles", name.as_str()])).await
    }

    /// The channels of all profiles.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn channels(&self) -> Result<Vec<ChannelView>, ClientError> {
        self.json(Call::get(&["channels"])).await
    }

    /// The channels of a profile.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn channel(&self, profile: &Name) -> Result<ChannelView, ClientError> {
        self.json(Call::get(&["channels", profile.as_str()])).await
    }

    /// The content of a kept generation of a profile's channels.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn generation(&self, profile: &Name, number: u64) -> Result<GenerationContents, ClientError> {
        self.json(Call::get(&["channels", profile.as_str(), "generations", &number.to_string()])).await
    }

    /// All bases.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bases(&self) -> Result<Vec<BaseView>, ClientError> {
        self.json(Call::get(&["bases"])).await
    }

    /// One base.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn base(&self, name: &Name) -> Result<BaseView, ClientError> {
        self.json(Call::get(&["bases", name.as_str()])).await
    }

    /// The stored package files of one profile, or of all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn artifacts(&self, profile: Option<&Name>) -> Result<Vec<Artifact>, ClientError> {
        self.json(Call::get(&["artifacts"]).query("profile", profile)).await
    }

    /// The journal's events as they happen: those after number `after`, or only new ones.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, after: Option<u64>) -> Result<EventStream, ClientError> {
        let mut call = Call::get(&["events"]).header("accept", "text/event-stream").wait(Wait::Head(HEAD));
        if let Some(seq) = after {
            call = call.header("last-event-id", seq);
        }
        Ok(EventStream::new(ByteStream::new(self.send(&call).await?, None)))
    }

    /// Verifies the journal's hash chain and every artifact.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit(&self) -> Result<AuditView, ClientError> {
        self.json(Call::get(&["audit"]).wait(Wait::Whole(AUDIT))).await
    }

    /// The public keys of the package signatures.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if signing is off.
    pub async fn key(&self) -> Result<KeyView, ClientError> {
        self.json(Call::get(&["key"])).await
    }

    /// The notification sinks and whether they work.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn notification_sinks(&self) -> Result<Vec<SinkView>, ClientError> {
        self.json(Call::get(&["notify"])).await
    }

    /// Sends a test notification to every sink and waits for the results.
    ///
    /// # Errors
    /// See [`ClientError`]. An unreachable sink is part of the result and not an error.
    pub async fn test_notifications(&self) -> Result<Vec<SinkTestView>, ClientError> {
        self.json(Call::post(&["notify", "test"]).unrepeatable()).await
    }
}
