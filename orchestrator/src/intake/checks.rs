//! Compares arrived Portage packages with others. Nix store paths share no files with others and
//! have no index.

use super::{Intake, ReceiveError, Taken};
use crate::{
    intake::{accept::AcceptError, collisions, sonames},
    store::{disk::DiskError, entries::EntriesError},
};
use std::{collections::BTreeSet, sync::Arc};
use swarm_common::{
    digest::Digest,
    id::DroneId,
    wire::{artifact::Artifact, base::UsrMerge},
};
use swarm_core::{closure::Surroundings, state::Collision};

impl Intake {
    /// Stored packages that install the same paths as `arrived`, where `/usr` is merged as `usr` says. `known` returns the artifacts that
    /// the engine knows, filtered by digest. It is called last, and files that the engine does not
    /// know yet are compared too, so that of two packages that arrive together the later one sees
    /// the earlier.
    ///
    /// # Errors
    /// An arrived package cannot be read.
    pub async fn collisions(
        self: &Arc<Self>,
        drone: DroneId,
        arrived: &[Artifact],
        usr: UsrMerge,
        known: impl FnOnce(&dyn Fn(Digest) -> bool) -> Vec<Artifact>,
    ) -> Result<Vec<Collision>, ReceiveError> {
        let failed = |error: EntriesError| AcceptError::Failed(error.to_string());
        let (this, own) = (self.clone(), arrived.to_vec());
        let suspects = tokio::task::spawn_blocking(move || this.entries.suspects(&this.store, &own));
        let suspects = suspects.await?.map_err(failed)?;
        let is_suspect = |digest| self.entries.is_suspect(&suspects, digest);
        // The drone of the other artifacts does not matter here.
        let untold =
            |(&(attempt, digest), taken): (&_, &Taken)| taken.clone().artifact(attempt, drone, digest);
        let untold: Vec<Artifact> =
            self.taken().iter().map(untold).filter(|a| is_suspect(a.digest)).collect();
        let mut others = known(&is_suspect);
        let is_known: BTreeSet<Digest> = others.iter().map(|other| other.digest).collect();
        others.extend(untold.into_iter().filter(|other| !is_known.contains(&other.digest)));
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let find = move || collisions::find(&this.entries, &this.store, &arrived, others, usr);
        Ok(tokio::task::spawn_blocking(find).await?.map_err(failed)?)
    }

    /// The libraries that these packages, built by one attempt, need at run time and that nothing
    /// provides, in one line.
    ///
    /// # Errors
    /// A stored package cannot be read.
    pub async fn unprovided(
        self: &Arc<Self>,
        arrived: &[Artifact],
        around: Surroundings,
    ) -> Result<Option<String>, ReceiveError> {
        let prebuilt = arrived.iter().any(|artifact| {
            let taken = self.find(artifact.attempt, artifact.uploaded_digest);
            taken.is_some_and(|taken| taken.accepted.prebuilt)
        });
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let found = tokio::task::spawn_blocking(move || {
            sonames::unprovided(&this.entries, &this.store, &arrived, prebuilt, &around)
        });
        found.await?.map_err(|error| AcceptError::Failed(error.to_string()).into())
    }

    /// Why these artifacts do not fit into an index of at most `limit` bytes that already has
    /// `others`, in one line; `None` if they fit.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn breaks_index(
        self: &Arc<Self>,
        arrived: &[Artifact],
        others: BTreeSet<Digest>,
        limit: u64,
    ) -> Result<Option<String>, ReceiveError> {
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let sizes = tokio::task::spawn_blocking(move || {
            let own: BTreeSet<Digest> = arrived.iter().map(|artifact| artifact.digest).collect();
            let others = this.entries.size(others.difference(&own).copied())?;
            Ok::<_, DiskError>((this.entries.size(own)?, others))
        });
        let (own, others) = sizes.await?.map_err(AcceptError::from)?;
        Ok((own + others > limit).then(|| {
            format!(
                "its {own} bytes of metadata do not fit into the index of its profile, which uses {others} \
                 of {limit} bytes (`index_size` in `[limits]`)"
            )
        }))
    }
}
