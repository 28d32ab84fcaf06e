//! The state of a package: a buildable node of a run's plan.

use crate::{
    reason::{self, Reason},
    shared::Shared,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use swarm_common::{
    digest::Digest,
    id::*,
    state::PackageState,
    time::TimeMs,
    wire::{
        artifact::Artifact,
        drone::Target,
        nix::NixPackage,
        plan::{PlanPackage, PlanStage},
    },
};

/// A buildable node of a run's plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    pub run: RunId,
    /// The key that decides, by the rule of the package's profile, whether the package was built before.
    pub build_key: Digest,
    /// The key of everything that goes into the build.
    pub strict_key: Digest,
    /// The files to build. Their build ids are 0 here; each attempt has its own.
    #[serde(with = "crate::record")]
    pub targets: Shared<Vec<Target>>,
    /// What a machine must provide to build the package, beyond what the run requires. `None` in older
    /// journals and for packages that every drone of the run can build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Box<Needs>>,
    /// For a cycle: the order in which to build the members.
    #[serde(with = "crate::record")]
    pub stages: Shared<Vec<PlanStage>>,
    pub state: PackageState,
    /// Why the package is needed again or quarantined. `None` if the state needs no explanation.
    #[serde(with = "reason::optional")]
    pub reason: Option<Reason>,
    /// Since when the package has been needed, or when it last became so.
    #[serde(default)]
    pub needed_since: TimeMs,
    /// Earliest time of the next attempt.
    pub not_before: TimeMs,
    /// Packages that must be installed while it is built.
    pub build_deps: Shared<Vec<PackageId>>,
    /// Packages that must be installed for it to work.
    pub runtime_deps: Shared<Vec<PackageId>>,
    /// Run-time dependencies that the base satisfies during the run, so that the package can be built before
    /// them ([`crate::tangle`]). Clients do not have the base: a channel offers the package only with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_deps: Vec<PackageId>,
    /// Whether the base of the run has a package of the same name.
    #[serde(default)]
    pub in_base: bool,
    /// The bundle with which the package becomes installable ([`crate::graph`]).
    pub bundle: u32,
    /// Number of bundles that the build needs and that are not installable yet.
    pub unmet: u32,
    /// All attempts, oldest first.
    pub attempts: Vec<AttemptId>,
    /// Number of attempts that an admin has forgiven.
    pub forgiven: usize,
    /// Whether the package was quarantined without an attempt because of an earlier run.
    #[serde(default)]
    pub held: bool,
    #[serde(with = "crate::record")]
    pub artifacts: Shared<Vec<Artifact>>,
    /// Whether the artifacts were built by an earlier run.
    pub reused: bool,
    /// Predicted work in milliseconds on a drone of speed 1.
    pub predicted_ms: u64,
    /// Whether the prediction is a guess because the package was never built.
    pub guessed: bool,
    /// The highest peak memory of a build of the package in bytes; 0 if unknown.
    pub peak_memory_bytes: u64,
    /// Number of cores of the drone where that was measured.
    pub peak_cores: u32,
    /// Length of the longest chain of work that waits for the package, including its own, in milliseconds.
    pub rank_ms: u64,
}

impl Package {
    /// The name shown to people: the version, or those of a cycle's members.
    #[must_use]
    pub fn title(&self) -> String {
        let mut names: Vec<_> = self.targets.iter().map(Target::title).collect();
        // The outputs of a derivation share its name.
        names.dedup();
        names.join(" + ")
    }

    /// Whether it is a source of Nix, which is uploaded without a build.
    #[must_use]
    pub fn is_source(&self) -> bool {
        self.targets.iter().any(|target| target.nix().is_some_and(|target| target.drv.is_none()))
    }

    /// The targets with these build ids. Targets without one keep theirs.
    #[must_use]
    pub fn targets_with(&self, build_ids: &[u32]) -> Vec<Target> {
        let ids = build_ids.iter().copied().map(Some).chain(std::iter::repeat(None));
        let targets = self.targets.iter().cloned().zip(ids);
        targets
            .map(|(target, id)| match id {
                Some(id) => target.with_build_id(id),
                None => target,
            })
            .collect()
    }

    /// Expected memory use in bytes with `cores` cores. Parallel jobs use memory in proportion to
    /// the cores, but at least a quarter of the measured value is assumed.
    #[must_use]
    pub fn memory_on(&self, cores: u32) -> u64 {
        let (cores, seen) = (u64::from(cores.max(1)), u64::from(self.peak_cores.max(1)));
        let share = (self.peak_memory_bytes / seen).saturating_mul(cores.min(seen));
        share.max(self.peak_memory_bytes / 4)
    }
}

/// What a machine must provide to build a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The system that the package is for, such as `aarch64-linux`. Empty if every system builds it.
    pub system: String,
    /// The required features, such as `kvm`.
    pub features: BTreeSet<String>,
}

impl Needs {
    /// The needs of a package in a plan. `None` if every drone of its run can build it.
    pub(crate) fn of(package: &PlanPackage) -> Option<Box<Self>> {
        let NixPackage { system, features, .. } = package.nix()?;
        let needs = Self { system: system.clone(), features: features.iter().cloned().collect() };
        (!system.is_empty() || !features.is_empty()).then(|| Box::new(needs))
    }
}
