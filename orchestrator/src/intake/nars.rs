//! Archives between their upload and the report of their attempt.

use crate::nix::archive::NarFile;
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::AttemptId, wire::artifact::Artifact};

/// Archives that were not reported to the engine yet.
#[derive(Debug, Default)]
pub(super) struct Nars {
    /// Verified uploads. After a restart they are verified again.
    pub(super) verified: BTreeMap<(AttemptId, Digest), NarFile>,
    /// Stored outputs, by store path.
    pub(super) stored: BTreeMap<(AttemptId, String), Artifact>,
}

impl Nars {
    /// Forgets archives of attempts that are not `open`.
    pub(super) fn retain(&mut self, open: impl Fn(AttemptId) -> bool) {
        self.verified.retain(|(attempt, _), _| open(*attempt));
        self.stored.retain(|(attempt, _), _| open(*attempt));
    }

    pub(super) fn has_verified(&self, attempt: AttemptId, digest: Digest) -> bool {
        let is = |(key, artifact): (&(AttemptId, String), &Artifact)| {
            key.0 == attempt && artifact.uploaded_digest == digest
        };
        self.verified.contains_key(&(attempt, digest)) || self.stored.iter().any(is)
    }
}
