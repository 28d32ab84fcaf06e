//! Restores which files were accepted before a restart.

use super::AcceptedUpload;
use crate::{
    intake::upload::Incoming,
    store::{ArtifactStore, sealed},
};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::AttemptId};

/// Reads the notes beside the uploads; skips those whose artifact is not in the store.
pub(super) fn noted(
    incoming: &Incoming,
    store: &dyn ArtifactStore,
) -> BTreeMap<(AttemptId, Digest), AcceptedUpload> {
    let uploads = incoming.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the list of received files; drones must upload them again");
        Vec::new()
    });
    let mut taken = BTreeMap::new();
    for upload in uploads.into_iter().filter(|upload| upload.is_note) {
        let content = std::fs::read(&upload.path).unwrap_or_default();
        let note = sealed::open(&content).and_then(|text| serde_json::from_str::<AcceptedUpload>(text).ok());
        match note {
            Some(note) if store.size(note.accepted.digest).is_ok_and(|size| size == note.accepted.size) => {
                taken.insert((upload.attempt, upload.digest), note);
            }
            _ => tracing::warn!(note = %upload.path.display(), "a received file must be uploaded again"),
        }
    }
    taken
}
