//! The seam between kinds of builders: what becomes of the files that each makes.

use super::{ReceiveError, wanted::Wanted};
use crate::{nix::archive::NarFile, rejection::ExamineError};
use futures_util::future::BoxFuture;
use std::{collections::BTreeSet, io::Read, sync::Arc};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{artifact::Artifact, drone::Failure},
};
use swarm_core::state::Collision;
use swarm_formats::portage::gpkg::Gpkg;

/// An examined file.
#[derive(Debug)]
pub enum Examined {
    /// A Portage package.
    Gpkg(Box<Result<Gpkg, ExamineError>>),
    /// A Nix archive.
    Nar(Box<Result<NarFile, ExamineError>>),
}

/// Examines a file while it arrives.
pub type Examination = Box<dyn FnOnce(&mut dyn Read) -> Examined + Send>;

/// What was found when artifacts were compared with what they are to be published with.
#[derive(Debug, Default)]
pub struct Fit {
    /// Why they cannot be published.
    pub failure: Option<Failure>,
    /// Other packages that install the same paths.
    pub collisions: Vec<Collision>,
}

/// Takes in the files that one kind of builder makes.
pub trait Builder: Send + Sync {
    /// An examination of one of the files `wanted`; `None` if it can only be examined once complete.
    /// `build_time` is as in [`Builder::take`].
    fn examination(&self, wanted: &Wanted, build_time: TimeMs) -> Option<Examination>;

    /// Whether this file of an attempt has been accepted.
    fn has_taken(&self, attempt: AttemptId, digest: Digest) -> bool;

    /// Accepts a complete upload, which must be one of those `wanted`. `examined` is the result of examining it
    /// while it arrived; without one it is examined now and gets `build_time`.
    ///
    /// # Errors
    /// The file is incomplete, is none of those wanted, or the disk fails. A rejected file is removed.
    fn take(
        self: Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        wanted: Wanted,
        examined: Option<Examined>,
        build_time: TimeMs,
    ) -> BoxFuture<'static, Result<(), ReceiveError>>;

    /// The artifacts that these files of an attempt become, in the order of the targets `wanted`.
    ///
    /// # Errors
    /// A file is missing or is not its target, or the disk fails.
    fn artifacts(
        self: Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        digests: Vec<Digest>,
        wanted: Wanted,
        build_time: TimeMs,
    ) -> BoxFuture<'static, Result<Vec<Artifact>, ReceiveError>>;

    /// Compares the artifacts of an attempt with those that they are to be published with.
    ///
    /// # Errors
    /// A stored package cannot be read.
    fn fit(
        self: Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        artifacts: Vec<Artifact>,
    ) -> BoxFuture<'static, Result<Fit, ReceiveError>>;

    /// Stored artifacts that the engine does not know yet.
    fn untold(&self) -> BTreeSet<Digest>;

    /// Forgets accepted files of attempts that are not `open`, so cannot report them any more.
    fn retain(&self, open: &dyn Fn(AttemptId) -> bool);
}
