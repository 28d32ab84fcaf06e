//! What an admin sends. Every change takes an [`IdempotencyKey`], which is to be kept
//! while the same change is tried again.

use super::{Client, ClientError, IdempotencyKey, call::Call, drone::file_size};
use crate::{
    digest::Digest,
    id::*,
    name::Name,
    wire::{
        admin::*,
        base::{BaseRequest, BaseView, FollowRequest},
        view::ProfileView,
    },
};
use reqwest::{Method, StatusCode};
use std::path::Path;

impl Client {
    /// Makes a token with which one machine may enrol.
    ///
    /// # Errors
    /// As every request.
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
    /// As every request; the profile may be unknown or have a run under way.
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
    /// As every request; it may be over already.
    pub async fn cancel_run(&self, run: RunId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::post(&["runs", &run.to_string(), "cancel"]).once(key)).await
    }

    /// Lets a package be tried again.
    ///
    /// # Errors
    /// As every request; its state may not allow it.
    pub async fn retry(&self, package: PackageId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::post(&["packages", &package.to_string(), "retry"]).once(key)).await
    }

    /// Has the next run rebuild a package, whether or not its inputs have changed.
    ///
    /// # Errors
    /// As every request; it may not have been built yet.
    pub async fn rebuild(
        &self,
        package: PackageId,
        request: &RebuildRequest,
        key: &IdempotencyKey,
    ) -> Result<RebuildReply, ClientError> {
        let call = Call::post(&["packages", &package.to_string(), "rebuild"]);
        self.json(call.json(request).once(key)).await
    }

    /// Takes a package out of quarantine, to be tried again.
    ///
    /// # Errors
    /// As every request; it may not be quarantined.
    pub async fn release(&self, package: PackageId, key: &IdempotencyKey) -> Result<(), ClientError> {
        let call = Call::post(&["packages", &package.to_string(), "release"]);
        self.done(call.json(&ReleaseRequest { verdict: Verdict::Retry }).once(key)).await
    }

    /// Lets an enrolled machine work.
    ///
    /// # Errors
    /// As every request.
    pub async fn approve_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "approve", key).await
    }

    /// Gives a drone nothing more once it has finished what it has.
    ///
    /// # Errors
    /// As every request.
    pub async fn drain_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "drain", key).await
    }

    /// Gives a drained, grounded or lost drone work again.
    ///
    /// # Errors
    /// As every request.
    pub async fn resume_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "resume", key).await
    }

    /// Keeps a drone's machine from reboots.
    ///
    /// # Errors
    /// As every request.
    pub async fn protect_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "protect", key).await
    }

    /// Lets healing reboot a drone's machine again.
    ///
    /// # Errors
    /// As every request; the configuration may protect it.
    pub async fn unprotect_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "unprotect", key).await
    }

    /// Lets healing reboot the machine of a silent drone, once the gentler steps failed.
    ///
    /// # Errors
    /// As every request; the drone may be heard, protected, or not to be rebooted.
    pub async fn confirm_reboot(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.drone_verb(drone, "confirm-reboot", key).await
    }

    /// Forgets a drone and revokes its credential.
    ///
    /// # Errors
    /// As every request.
    pub async fn remove_drone(&self, drone: DroneId, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["drones", &drone.to_string()]).once(key)).await
    }

    async fn drone_verb(&self, drone: DroneId, verb: &str, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::post(&["drones", &drone.to_string(), verb]).once(key)).await
    }

    /// Makes a profile or pins it to another snapshot.
    ///
    /// # Errors
    /// As every request; the snapshot may not be there.
    pub async fn put_profile(
        &self,
        name: &Name,
        request: &ProfileRequest,
        key: &IdempotencyKey,
    ) -> Result<ProfileView, ClientError> {
        let call = Call::new(Method::PUT, &["profiles", name.as_str()]);
        self.json(call.json(request).once(key)).await
    }

    /// Removes a profile.
    ///
    /// # Errors
    /// As every request; it may have a run under way.
    pub async fn remove_profile(&self, name: &Name, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["profiles", name.as_str()]).once(key)).await
    }

    /// Makes a base, or a new generation of one.
    ///
    /// # Errors
    /// As every request; the image may not be there.
    pub async fn put_base(
        &self,
        name: &Name,
        request: &BaseRequest,
        key: &IdempotencyKey,
    ) -> Result<BaseView, ClientError> {
        self.json(Call::new(Method::PUT, &["bases", name.as_str()]).json(request).once(key)).await
    }

    /// Uses the generation of a base before the last one again.
    ///
    /// # Errors
    /// As every request; there may be none.
    pub async fn roll_back_base(&self, name: &Name, key: &IdempotencyKey) -> Result<BaseView, ClientError> {
        self.json(Call::post(&["bases", name.as_str(), "rollback"]).once(key)).await
    }

    /// Has a base follow the tree, or stay as it is.
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
    /// As every request; a profile may build in it.
    pub async fn remove_base(&self, name: &Name, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["bases", name.as_str()]).once(key)).await
    }

    /// Whether the orchestrator has the image of a base.
    ///
    /// # Errors
    /// As every request.
    pub async fn has_image(&self, digest: Digest) -> Result<bool, ClientError> {
        self.has(&["images", &digest.to_string()]).await
    }

    /// Sends the compressed image of a base, made by `format::image`.
    ///
    /// # Errors
    /// As every request; what is no image, or has another digest, is refused.
    pub async fn put_image(&self, digest: Digest, archive: &Path) -> Result<(), ClientError> {
        let size = file_size(archive).await?;
        let call = Call::new(Method::PUT, &["images", &digest.to_string()]);
        self.done(call.file(archive.to_owned(), 0, size)).await
    }

    /// Whether the orchestrator has a snapshot.
    ///
    /// # Errors
    /// As every request.
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

    /// Sends a snapshot's compressed archive, made by `format::snapshot`.
    ///
    /// # Errors
    /// As every request; content that does not have the digest is refused.
    pub async fn put_snapshot(&self, digest: Digest, archive: &Path) -> Result<(), ClientError> {
        let size = file_size(archive).await?;
        let call = Call::new(Method::PUT, &["snapshots", &digest.to_string()]);
        self.done(call.file(archive.to_owned(), 0, size)).await
    }
}
