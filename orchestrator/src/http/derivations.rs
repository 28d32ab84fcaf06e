//! The derivations of a Nix plan. The drone that makes the plan uploads them in one archive before it reports the
//! plan; the drones that build get the archive like a package file.

use super::problem::ApiError;
use crate::{
    app::App,
    intake::upload::Allowance,
    store::{ArtifactStore, StoreError, disk::DiskError},
};
use std::{
    fs::File,
    io::{BufReader, Seek as _},
    sync::Arc,
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    wire::{
        drone::{UploadRequest, UploadStatus},
        nix::DerivationArchive,
    },
};
use swarm_core::{
    Refusal,
    fence::{Fence, fence},
    state::Job,
};
use swarm_formats::nix::derivations;
use tokio::task::spawn_blocking;

/// How many archives an attempt may announce: one, plus one if the drone planned again.
const TRIES: usize = 2;

/// Whether this is an attempt at a plan that was not reported yet.
pub(super) fn are_expected(app: &App, drone: DroneId, attempt: AttemptId) -> Result<bool, Refusal> {
    app.engine.read(|swarm| {
        let job = swarm.attempts.get(&attempt).map(|attempt| attempt.job);
        Ok(matches!(job, Some(Job::Plan(_))) && fence(swarm, drone, attempt)? == Fence::Open)
    })
}

/// Announces an archive, or continues its upload.
pub(super) async fn begin(
    app: &Arc<App>,
    attempt: AttemptId,
    request: UploadRequest,
) -> Result<UploadStatus, ApiError> {
    let UploadRequest { digest, size, target } = request;
    if target != DerivationArchive::TARGET {
        let target = target.chars().take(300).collect::<String>();
        return Err(ApiError::Unprocessable(format!("a plan has no file `{}`", target.escape_debug())));
    }
    let allowed = Allowance { files: TRIES, bytes: app.config.limits.attempt_size.bytes() };
    let shared = app.clone();
    let offset = blocking(move || match shared.store.size(digest) {
        Ok(stored) if stored == size => Ok(None),
        Ok(_) | Err(StoreError::Absent(_)) => {
            Ok(Some(shared.intake.incoming().begin(attempt, digest, size, allowed)?))
        }
        Err(error) => Err(error.into()),
    });
    match offset.await? {
        None => Ok(UploadStatus { offset: size, verified: true }),
        Some(offset) if offset < size => Ok(UploadStatus { offset, verified: false }),
        Some(offset) => keep(app, attempt, digest).await.map(|()| UploadStatus { offset, verified: true }),
    }
}

/// Verifies a complete archive and stores it.
pub(super) async fn keep(app: &Arc<App>, attempt: AttemptId, digest: Digest) -> Result<(), ApiError> {
    let _turn = app.intake.turn(attempt).await;
    let shared = app.clone();
    let kept = blocking(move || {
        let incoming = shared.intake.incoming();
        let upload = incoming.status(attempt, digest)?;
        let reading = |error| DiskError::new("read", &upload.path, error);
        let mut file = File::open(&upload.path).map_err(reading)?;
        let (found, size) = Digest::of_all(&file).map_err(reading)?;
        file.rewind().map_err(reading)?;
        let wrong = match derivations::read(BufReader::new(file), |_, _| ()) {
            Ok(()) if found == digest => {
                shared.store.take_over(&upload.path, size, None, &[], digest)?;
                return Ok(());
            }
            Ok(()) => format!("its digest is {found}"),
            Err(error) => error.to_string(),
        };
        incoming.remove(attempt, digest)?;
        Err(ApiError::Unprocessable(format!("the derivations were rejected: {wrong}")))
    });
    kept.await
}

/// Removes the archive from a plan if it is not stored. The drones then evaluate the snapshot.
pub(super) fn check(
    store: &dyn ArtifactStore,
    archive: &mut Option<Box<DerivationArchive>>,
) -> Result<(), StoreError> {
    let Some(&DerivationArchive { digest, size }) = archive.as_deref() else { return Ok(()) };
    match store.size(digest) {
        Ok(stored) if stored == size => {}
        Ok(_) | Err(StoreError::Absent(_)) => {
            tracing::warn!(%digest, "the derivations of a plan are not stored; its drones evaluate the snapshot");
            *archive = None;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))?
}
