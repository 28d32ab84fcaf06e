//! Records of builds: who built an artifact, when, from what and at what cost, and all attempts at a package.

use super::{drone::Usage, known, plan::Toolchain};
use crate::{digest::Digest, id::*, name::Name, state::*, time::TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A build whose result was accepted. It is known for as long as one of its artifacts is stored, even after
/// its run is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuildView {
    /// The attempt, as its artifacts name it.
    pub attempt: AttemptId,
    /// The run that it was built for.
    pub run: RunId,
    /// The profile of that run.
    pub profile: Name,
    /// The drone that built it.
    pub drone: DroneId,
    /// The drone's name at that time.
    pub drone_name: Name,
    /// Digest of everything that decided, by the profile's rule, whether it was to be built again.
    pub build_key: Digest,
    /// Digest of everything that it was made from and built with.
    pub strict_key: Digest,
    /// The snapshot that it was built from.
    pub snapshot: Digest,
    /// Digest of the base that it was built in.
    pub base: Digest,
    /// Digest of the image of that base, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// The drone's toolchain, if it was built in the drone's own system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<Toolchain>,
    /// When it was assigned.
    pub started_at: TimeMs,
    /// When its result was accepted.
    pub received_at: TimeMs,
    /// When each phase began, as far as the drone reported it.
    #[serde(default)]
    pub phases: BTreeMap<Phase, TimeMs>,
    /// Resources used.
    #[serde(default)]
    pub usage: Option<Usage>,
}

impl BuildView {
    /// The duration of each phase in milliseconds, in order. The last phase ends when the result is received.
    pub fn durations(&self) -> impl Iterator<Item = (Phase, u64)> {
        let ends = self.phases.values().skip(1).copied().chain([self.received_at]);
        self.phases.iter().zip(ends).map(|((&phase, &began), end)| (phase, end.since(began)))
    }
}

/// An attempt at a package, of a kept or a forgotten run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptRow {
    /// The package's name without the version: `dev-libs/icu`, `hello`.
    pub name: String,
    /// The version; empty if it has none.
    pub version: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// The run that it was for.
    pub run: RunId,
    /// The profile of that run.
    pub profile: Name,
    /// The drone that had it.
    pub drone: DroneId,
    /// The drone's name at that time.
    pub drone_name: Name,
    /// When it was assigned.
    pub started_at: TimeMs,
    /// When it ended; missing while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<TimeMs>,
    /// How it ended; missing while it is under way.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AttemptOutcome>,
    /// The class of the failure, if it failed.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// The first error, normalised for comparison, or the kind of the rejection. For a forgotten run, it is
    /// shortened to 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_lasts_until_the_next_one_and_the_last_until_the_result_was_accepted() {
        let digest = Digest::of(b"");
        let build = BuildView {
            attempt: AttemptId(1),
            run: RunId(1),
            profile: "desk".parse().unwrap(),
            drone: DroneId(1),
            drone_name: "oak".parse().unwrap(),
            build_key: digest,
            strict_key: digest,
            snapshot: digest,
            base: digest,
            image: None,
            toolchain: None,
            started_at: TimeMs(1000),
            received_at: TimeMs(9000),
            phases: [(Phase::Assigned, TimeMs(1000)), (Phase::Building, TimeMs(3000))].into(),
            usage: None,
        };
        let durations: Vec<_> = build.durations().collect();
        assert_eq!(durations, [(Phase::Assigned, 2000), (Phase::Building, 6000)]);
    }
}
