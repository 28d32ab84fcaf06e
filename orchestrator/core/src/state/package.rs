//! The state of a package: a buildable node of a run's plan.

use crate::shared::Shared;
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

/// A buildable node of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// The run it belongs to.
    pub run: RunId,
    /// The key that decides, by its profile's rule, whether it was built before.
    pub build_key: Digest,
    /// The key of everything that it is made from and built with.
    pub strict_key: Digest,
    /// The files it consists of. Their build ids are 0 here; each attempt has its own.
    #[serde(with = "crate::record")]
    pub targets: Shared<Vec<Target>>,
    /// What a drone's machine must be for it, if that is not decided by its run. Journals from before there
    /// was this have none: the package is then for every drone of its run, as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Box<Needs>>,
    /// For a cycle: the order in which to build its members.
    #[serde(with = "crate::record")]
    pub stages: Vec<PlanStage>,
    /// Its state.
    pub state: PackageState,
    /// Why it is needed again, or quarantined. Empty if the state needs no explanation.
    pub reason: String,
    /// Since when it has been needed, or was last.
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
    /// Whether the base of its run has a package of the same name.
    #[serde(default)]
    pub in_base: bool,
    /// The bundle with which it becomes installable ([`crate::graph`]).
    pub bundle: u32,
    /// Number of bundles its build needs that are not installable yet.
    pub unmet: u32,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptId>,
    /// Number of its attempts that an admin has forgiven.
    pub forgiven: usize,
    /// Whether it was quarantined without an attempt because of an earlier run.
    #[serde(default)]
    pub held: bool,
    /// The artifacts received.
    #[serde(with = "crate::record")]
    pub artifacts: Shared<Vec<Artifact>>,
    /// Whether the artifacts were built by an earlier run.
    pub reused: bool,
    /// Predicted work in milliseconds on a drone of speed 1.
    pub predicted_ms: u64,
    /// Whether the prediction is a guess because it was never built.
    pub guessed: bool,
    /// The most memory that a build of it used in bytes; 0 if unknown.
    pub peak_memory_bytes: u64,
    /// Number of cores with which it used that memory.
    pub peak_cores: u32,
    /// Length of the longest chain of work that waits for it, including its own, in milliseconds.
    pub rank_ms: u64,
}

impl Package {
    /// Its name for people: its version, or those of a cycle's members.
    #[must_use]
    pub fn title(&self) -> String {
        let mut names: Vec<_> = self.targets.iter().map(Target::title).collect();
        // The outputs of a derivation share its name.
        names.dedup();
        names.join(" + ")
    }

    /// Its targets with these build ids, as far as there are any.
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

/// What a machine must be for a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The system that it is for, such as `aarch64-linux`. Empty if every system builds it.
    pub system: String,
    /// The features that are required, such as `kvm`.
    pub features: BTreeSet<String>,
}

impl Needs {
    /// The needs of a package of a plan; `None` if every drone of its run can build it.
    pub(crate) fn of(package: &PlanPackage) -> Option<Box<Self>> {
        let NixPackage { system, features, .. } = package.nix()?;
        let needs = Self { system: system.clone(), features: features.iter().cloned().collect() };
        (!system.is_empty() || !features.is_empty()).then(|| Box::new(needs))
    }
}
