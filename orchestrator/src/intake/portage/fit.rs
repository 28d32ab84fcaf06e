//! Compares arrived packages with those with which they will be published: the libraries they need, the size
//! of the index, and the paths they install.

use super::{AcceptedUpload, Portage, collisions, lost, sonames};
use crate::{
    intake::{AcceptError, ReceiveError, builder::Fit},
    store::{disk::DiskError, entries::EntriesError},
};
use std::{collections::BTreeSet, sync::Arc};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    state::{FailureCause, FailureClass, Phase},
    wire::{artifact::Artifact, base::UsrMerge, drone::Failure},
};
use swarm_core::{
    base, channel,
    closure::{self, LinkEnvironment},
    retention,
    state::{Collision, Job},
};

/// The failure of a valid package that cannot be published.
fn unfit(cause: Option<FailureCause>, signature: String, message: String) -> Fit {
    let class = FailureClass::Package;
    let failure = Failure { class, cause, phase: Phase::Verifying, signature, message };
    Fit { failure: Some(failure), ..Fit::default() }
}

impl Portage {
    pub(super) async fn compare(
        self: &Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        arrived: &[Artifact],
    ) -> Result<Fit, ReceiveError> {
        let (around, beside, usr) =
            self.engine.read(|swarm| match swarm.attempts.get(&attempt).map(|a| a.job) {
                Some(Job::Build(id)) => (
                    closure::link_environment(swarm, id),
                    channel::retained_beside(swarm, id),
                    base::usr(swarm, id, drone),
                ),
                _ => (LinkEnvironment::default(), BTreeSet::new(), UsrMerge::default()),
            });
        if let Some(message) = self.unprovided(arrived, around).await? {
            return Ok(unfit(Some(FailureCause::SonameMissing), message.clone(), message));
        }
        if let Some(message) = self.breaks_index(arrived, beside).await? {
            // A fixed text, so that the signature does not depend on the sizes.
            let signature = "its metadata does not fit into the index of its profile".to_owned();
            return Ok(unfit(None, signature, message));
        }
        Ok(Fit { failure: None, collisions: self.collisions(drone, arrived, usr).await? })
    }

    /// Stored packages that collide with `arrived`; `usr` says where `/usr` is merged. The engine is asked
    /// last, and stored files that it does not know yet are compared too, so that of two packages that arrive
    /// together, the later one sees the earlier.
    async fn collisions(
        self: &Arc<Self>,
        drone: DroneId,
        arrived: &[Artifact],
        usr: UsrMerge,
    ) -> Result<Vec<Collision>, ReceiveError> {
        let failed = |error: EntriesError| AcceptError::Failed(error.to_string());
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let find = move || {
            let concerns = lost::concerns(&this.entries, &arrived)?;
            let suspects = this.entries.suspects(&arrived)?;
            let is_suspect = this.entries.is_suspect(&suspects);
            let mut others = this.stored(drone, &|other| is_suspect(other.digest) || concerns(other));
            let related: Vec<Artifact> = others.iter().filter(|other| concerns(other)).cloned().collect();
            others.retain(|other| is_suspect(other.digest));
            drop(is_suspect);
            let mut found = collisions::find(&this.entries, &arrived, others, usr)?;
            found.extend(lost::find(&this.entries, &arrived, &related, || this.stored(drone, &|_| true))?);
            Ok(found)
        };
        Ok(tokio::task::spawn_blocking(find).await?.map_err(failed)?)
    }

    /// The stored packages for which `asked_for` returns true.
    fn stored(&self, drone: DroneId, asked_for: &dyn Fn(&Artifact) -> bool) -> Vec<Artifact> {
        // Only the packages matter here, not the drone.
        let as_artifact = |(&(attempt, digest), taken): (&_, &AcceptedUpload)| {
            taken.clone().artifact(attempt, drone, digest)
        };
        let unreported: Vec<Artifact> = self.unreported().iter().map(as_artifact).filter(asked_for).collect();
        let mut stored = self.engine.read(|swarm| retention::artifacts_among(swarm, asked_for));
        let is_known: BTreeSet<Digest> = stored.iter().map(|other| other.digest).collect();
        stored.extend(unreported.into_iter().filter(|other| !is_known.contains(&other.digest)));
        stored
    }

    /// The libraries that these packages, built by one attempt, need at run time but nothing provides, in one
    /// line.
    async fn unprovided(
        self: &Arc<Self>,
        arrived: &[Artifact],
        around: LinkEnvironment,
    ) -> Result<Option<String>, ReceiveError> {
        let prebuilt = arrived.iter().any(|artifact| {
            let taken = self.find(artifact.attempt, artifact.uploaded_digest);
            taken.is_some_and(|taken| taken.accepted.prebuilt)
        });
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let found = tokio::task::spawn_blocking(move || {
            sonames::unprovided(&this.entries, &arrived, prebuilt, &around)
        });
        found.await?.map_err(|error| AcceptError::Failed(error.to_string()).into())
    }

    /// Why these artifacts do not fit into an index that already contains `others`, in one line; `None` if
    /// they fit.
    async fn breaks_index(
        self: &Arc<Self>,
        arrived: &[Artifact],
        others: BTreeSet<Digest>,
    ) -> Result<Option<String>, ReceiveError> {
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let sizes = tokio::task::spawn_blocking(move || {
            let own: BTreeSet<Digest> = arrived.iter().map(|artifact| artifact.digest).collect();
            let others = this.entries.size(others.difference(&own).copied())?;
            Ok::<_, DiskError>((this.entries.size(own)?, others))
        });
        let (own, others) = sizes.await?.map_err(AcceptError::from)?;
        let limit = self.index_bytes;
        Ok((own + others > limit).then(|| {
            format!(
                "its {own} bytes of metadata do not fit into the index of its profile, which uses {others} \
                 of {limit} bytes (`index_size` in `[limits]`)"
            )
        }))
    }
}
