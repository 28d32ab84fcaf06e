//! Concerns about candidates.

use crate::{state::Swarm, text};
use swarm_common::wire::concern::ConcernKind;

/// The candidates that were refused.
pub(super) fn concerns(swarm: &Swarm) -> impl Iterator<Item = ConcernKind> {
    swarm.profiles.iter().filter_map(|(name, profile)| {
        let refused = profile.candidates.refused.as_ref()?;
        Some(ConcernKind::CandidateRefused {
            profile: name.clone(),
            run: refused.trial.as_ref().map(|trial| trial.run),
            source: refused.source.clone(),
            stays: profile.request.source.clone(),
            why: text::reason(&refused.why),
        })
    })
}
