//! Requests of an admin. Every change takes an [`IdempotencyKey`]: retry a change with the same key.

use super::{Client, ClientError, IdempotencyKey, call::Call, drone::file_size};
use reqwest::{Method, StatusCode};
use std::path::Path;
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    wire::{
        admin::*,
        base::{BaseRequest, BaseView, FollowRequest},
        channel::{ChannelView, PinRequest, PromoteRequest, RollbackRequest},
        view::ProfileView,
    },
};

impl Client {
    /// Creates a token with which one machine can enrol.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn make_enrol_token(
        &self,
        request: &EnrolTokenRequest,
        key: &IdempotencyKey,
    ) -> Result<EnrolTokenReply, ClientError> {
        self.json(Call::post(&["enrol-tokens"]).json(request).once(key)).await
    }

    /// Starts a run.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the profile is unknown or already has a run in progress.
    pub async fn start_run(
        &self,
        request: &StartRunRequest,
        key: &IdempotencyKey,
    ) -> Result<StartRunReply, ClientError> {
        self.json(Call::post(&["runs"]).json(request).once(key)).await
    }

    /// Cancels a run.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the run has already ended.
    pub async fn cancel_run(&self, run: RunId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::post(&["runs", &run.to_string(), "cancel"]).once(key)).await
    }

    /// Requests another attempt at a package.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the package's state does not allow it.
    pub async fn retry(&self, package: PackageId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::post(&["packages", &package.to_string(), "retry"]).once(key)).await
    }

    /// Makes the next run rebuild a package even if its inputs have not changed.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the package has never been built.
    pub async fn rebuild(
        &self,
        package: PackageId,
        request: &RebuildRequest,
        key: &IdempotencyKey,
    ) -> Result<RebuildReply, ClientError> {
        let call = Call::post(&["packages", &package.to_string(), "rebuild"]);
        self.json(call.json(request).once(key)).await
    }

    /// Releases a package from quarantine so that it is tried again.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the package is not quarantined.
    pub async fn release(&self, package: PackageId, key: &IdempotencyKey) -> Result<(), ClientError> {
        let call = Call::post(&["packages", &package.to_string(), "release"]);
        self.done(call.json(&ReleaseRequest { verdict: Verdict::Retry }).once(key)).await
    }

    /// Approves an enrolled drone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn approve_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "approve", key).await
    }

    /// Drains a drone: it finishes its current work and gets no more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drain_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "drain", key).await
    }

    /// Resumes a drained, grounded or lost drone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "resume", key).await
    }

    /// Protects a drone's machine from reboots.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn protect_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "protect", key).await
    }

    /// Allows the healer to reboot a drone's machine again.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the configuration protects the drone.
    pub async fn unprotect_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "unprotect", key).await
    }

    /// Confirms that the healer may reboot the machine of a silent drone once the gentler steps
    /// have failed.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the drone is responding, is protected or cannot be rebooted.
    pub async fn confirm_reboot(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "confirm-reboot", key).await
    }

    /// Removes a drone and revokes its credential.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["drones", &drone.to_string()]).once(key)).await
    }

    async fn drone_verb(&self, drone: DroneId, verb: &str, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::post(&["drones", &drone.to_string(), verb]).once(key)).await
    }

    /// Creates a profile, or pins it to another snapshot.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the orchestrator does not have the snapshot.
    pub async fn put_profile(
        &self,
        name: &Name,
        request: &ProfileRequest,
        key: &IdempotencyKey,
    ) -> Result<ProfileView, ClientError> {
        let call = Call::new(Method::PUT, &["profiles", name.as_str()]);
        self.json(call.json(request).once(key)).await
    }

    /// Lets the next run of a Nix profile try a snapshot.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the orchestrator does not have the snapshot.
    pub async fn offer_candidate(
        &self,
        profile: &Name,
        request: &CandidateRequest,
        key: &IdempotencyKey,
    ) -> Result<ProfileView, ClientError> {
        let call = Call::new(Method::PUT, &["profiles", profile.as_str(), "candidate"]);
        self.json(call.json(request).once(key)).await
    }

    /// Reports that no snapshot to try could be made.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn report_no_candidate(
        &self,
        profile: &Name,
        request: &CandidateFailure,
        key: &IdempotencyKey,
    ) -> Result<(), ClientError> {
        self.done(Call::post(&["profiles", profile.as_str(), "candidate", "failure"]).json(request).once(key))
            .await
    }

    /// Removes a profile.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the profile has a run in progress.
    pub async fn remove_profile(&self, name: &Name, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["profiles", name.as_str()]).once(key)).await
    }

    /// Publishes in a profile's stable channel what its newest runs built, or the content of a generation of
    /// its staging channel.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the generation is not kept, or if the stable channel follows the runs
    /// and a generation is given.
    pub async fn promote(
        &self,
        profile: &Name,
        request: PromoteRequest,
        key: &IdempotencyKey,
    ) -> Result<ChannelView, ClientError> {
        self.json(Call::post(&["channels", profile.as_str(), "promote"]).json(&request).once(key)).await
    }

    /// Publishes the content of an earlier generation of a profile's stable channel, and holds the channel
    /// there until a promotion.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the generation is not kept.
    pub async fn roll_back(
        &self,
        profile: &Name,
        request: RollbackRequest,
        key: &IdempotencyKey,
    ) -> Result<ChannelView, ClientError> {
        self.json(Call::post(&["channels", profile.as_str(), "rollback"]).json(&request).once(key)).await
    }

    /// Keeps a generation of a profile's stable channel until it is unpinned.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if clients have not seen the generation, or it is no longer kept.
    pub async fn pin(
        &self,
        profile: &Name,
        generation: u64,
        request: &PinRequest,
        key: &IdempotencyKey,
    ) -> Result<ChannelView, ClientError> {
        let path = ["channels", profile.as_str(), "generations", &generation.to_string(), "pin"];
        self.json(Call::new(Method::PUT, &path).json(request).once(key)).await
    }

    /// Keeps a generation no longer than others. It may be dropped at once.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the generation is not pinned.
    pub async fn unpin(
        &self,
        profile: &Name,
        generation: u64,
        key: &IdempotencyKey,
    ) -> Result<ChannelView, ClientError> {
        let path = ["channels", profile.as_str(), "generations", &generation.to_string(), "pin"];
        self.json(Call::new(Method::DELETE, &path).once(key)).await
    }

    /// Creates a base, or a new generation of one.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the orchestrator does not have the image.
    pub async fn put_base(
        &self,
        name: &Name,
        request: &BaseRequest,
        key: &IdempotencyKey,
    ) -> Result<BaseView, ClientError> {
        self.json(Call::new(Method::PUT, &["bases", name.as_str()]).json(request).once(key)).await
    }

    /// Rolls a base back to its previous generation.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if there is no previous generation.
    pub async fn roll_back_base(&self, name: &Name, key: &IdempotencyKey) -> Result<BaseView, ClientError> {
        self.json(Call::post(&["bases", name.as_str(), "rollback"]).once(key)).await
    }

    /// Sets whether a base follows the ebuild tree.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn follow_base(
        &self,
        name: &Name,
        request: FollowRequest,
        key: &IdempotencyKey,
    ) -> Result<BaseView, ClientError> {
        self.json(Call::new(Method::PUT, &["bases", name.as_str(), "follow"]).json(&request).once(key)).await
    }

    /// Removes a base.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if a profile builds in the base.
    pub async fn remove_base(&self, name: &Name, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["bases", name.as_str()]).once(key)).await
    }

    /// Whether the orchestrator has the image of a base.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn has_image(&self, digest: Digest) -> Result<bool, ClientError> {
        self.has(&["images", &digest.to_string()]).await
    }

    /// Uploads the compressed image of a base, made by `swarm_formats::image`.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the file is not an image or has another digest.
    pub async fn put_image(&self, digest: Digest, archive: &Path) -> Result<(), ClientError> {
        let size = file_size(archive).await?;
        let call = Call::new(Method::PUT, &["images", &digest.to_string()]);
        self.done(call.file(archive.to_owned(), 0, size)).await
    }

    /// Whether the orchestrator has a snapshot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn has_snapshot(&self, digest: Digest) -> Result<bool, ClientError> {
        self.has(&["snapshots", &digest.to_string()]).await
    }

    async fn has(&self, path: &[&str]) -> Result<bool, ClientError> {
        let call = Call::new(Method::HEAD, path);
        let response = self.answer(&call).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => super::answer::success(response).await.map(|_| true),
        }
    }

    /// Uploads the compressed archive of a snapshot, made by `swarm_formats::snapshot`.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the content has another digest.
    pub async fn put_snapshot(&self, digest: Digest, archive: &Path) -> Result<(), ClientError> {
        let size = file_size(archive).await?;
        let call = Call::new(Method::PUT, &["snapshots", &digest.to_string()]);
        self.done(call.file(archive.to_owned(), 0, size)).await
    }
}
