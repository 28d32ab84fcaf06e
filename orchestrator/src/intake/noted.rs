//! What was accepted before a restart.

use super::Taken;
use crate::{intake::upload::Incoming, store::Store};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::AttemptId};

/// Reads the notes beside the uploads, without those whose artifact is not in the store.
pub(super) fn noted(incoming: &Incoming, store: &Store) -> BTreeMap<(AttemptId, Digest), Taken> {
    let uploads = incoming.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the list of received files; drones must upload them again");
        Vec::new()
    });
    let mut taken = BTreeMap::new();
    for upload in uploads.into_iter().filter(|upload| upload.taken) {
        let text = std::fs::read_to_string(&upload.path).unwrap_or_default();
        match serde_json::from_str::<Taken>(&text) {
            Ok(note) if store.size(note.accepted.digest).ok().flatten() == Some(note.accepted.size) => {
                taken.insert((upload.attempt, upload.digest), note);
            }
            _ => tracing::warn!(note = %upload.path.display(), "a received file must be uploaded again"),
        }
    }
    taken
}
