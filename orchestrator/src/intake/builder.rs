//! The interface for accepting files, implemented for each kind of builder.

use super::{ReceiveError, expected_upload::ExpectedUpload};
use crate::store::disk::DiskError;
use futures_util::future::BoxFuture;
use std::{any::Any, collections::BTreeSet, io::Read, sync::Arc, time::SystemTime};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{artifact::Artifact, drone::Failure},
};
use swarm_core::state::Collision;

/// The result of examining a file. Only the builder that examined it knows the type.
pub type Examined = Box<dyn Any + Send>;

/// Examines a file while it arrives.
pub type Examination = Box<dyn FnOnce(&mut dyn Read) -> Examined + Send>;

/// Result of comparing artifacts with those with which they will be published.
#[derive(Debug, Default)]
pub struct Fit {
    /// Why the artifacts cannot be published; `None` if they can.
    pub failure: Option<Failure>,
    /// Other packages that install the same paths.
    pub collisions: Vec<Collision>,
}

/// Accepts the files that one kind of builder makes.
pub trait Builder: Send + Sync {
    /// An examination of one of the `expected` files; `None` if it can only be examined once it is complete.
    /// `build_time` is as in [`Builder::accept`].
    fn examination(&self, expected: &ExpectedUpload, build_time: TimeMs) -> Option<Examination>;

    /// Whether this file of an attempt has been accepted.
    fn is_accepted(&self, attempt: AttemptId, digest: Digest) -> bool;

    /// Accepts a complete upload, which must be one of the `expected` files. `examined` is the result of
    /// examining it while it arrived; without one it is examined now and gets `build_time`.
    ///
    /// # Errors
    /// The file is incomplete, is not expected, or the disk fails. A rejected file is removed.
    fn accept(
        self: Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        expected: ExpectedUpload,
        examined: Option<Examined>,
        build_time: TimeMs,
    ) -> BoxFuture<'static, Result<(), ReceiveError>>;

    /// The artifacts for these files of an attempt, in the order of the targets in `expected`.
    ///
    /// # Errors
    /// A file is missing or is not its target, or the disk fails.
    fn artifacts(
        self: Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        digests: Vec<Digest>,
        expected: ExpectedUpload,
        build_time: TimeMs,
    ) -> BoxFuture<'static, Result<Vec<Artifact>, ReceiveError>>;

    /// Compares the artifacts of an attempt with those with which they will be published.
    ///
    /// # Errors
    /// A stored package cannot be read.
    fn fit(
        self: Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        artifacts: Vec<Artifact>,
    ) -> BoxFuture<'static, Result<Fit, ReceiveError>>;

    /// Stored artifacts that were not reported to the engine yet.
    fn unreported_artifacts(&self) -> BTreeSet<Digest>;

    /// Forgets accepted files of attempts that are not `open` and so can no longer report them.
    fn retain(&self, open: &dyn Fn(AttemptId) -> bool);

    /// Removes files older than `before` that are derived from other artifacts than these. They can be made
    /// again. Returns the number of removed files.
    ///
    /// # Errors
    /// The disk fails; the rest is removed next time.
    fn retain_derived(&self, artifacts: &[Artifact], before: SystemTime) -> Result<usize, DiskError>;
}
