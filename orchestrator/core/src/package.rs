//! A package: one buildable node of a run's plan, and the table of its states.

use serde::{Deserialize, Serialize};
use swarm_common::{
    digest::Digest,
    id::*,
    state::PackageState,
    time::TimeMs,
    wire::{artifact::Artifact, drone::Target, plan::PlanStage},
};

/// One buildable node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Its run.
    pub run: RunId,
    /// By which it is known whether it was built already, by its profile's rule.
    pub build_key: Digest,
    /// By everything that it is made from and built with.
    pub strict_key: Digest,
    /// The files it consists of. Their build ids are 0 here; each attempt has its own.
    pub targets: Vec<Target>,
    /// For a cycle: the order of building.
    pub stages: Vec<PlanStage>,
    /// Where it stands.
    pub state: PackageState,
    /// Why it is needed again, or quarantined. Empty where the state says it all.
    pub reason: String,
    /// Since when it is needed, if it is or was.
    #[serde(default)]
    pub needed_since: TimeMs,
    /// Not to be claimed before.
    pub not_before: TimeMs,
    /// What must be installed while it is built.
    pub build_deps: Vec<PackageId>,
    /// What must be installed for it to work.
    pub runtime_deps: Vec<PackageId>,
    /// The base of its run has a package of its name.
    #[serde(default)]
    pub in_base: bool,
    /// The bundle it becomes installable with ([`crate::graph`]).
    pub bundle: u32,
    /// Bundles it needs for its build that are not installable yet.
    pub unmet: u32,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptId>,
    /// How many of them an admin has forgiven.
    pub forgiven: usize,
    /// Whether it is quarantined without a try, for what an earlier run found.
    #[serde(default)]
    pub held: bool,
    /// What was received.
    pub artifacts: Vec<Artifact>,
    /// Whether what was received had been built by an earlier run.
    pub reused: bool,
    /// Predicted work in milliseconds on a drone of speed 1.
    pub predicted_ms: u64,
    /// It was never built; the prediction is a guess.
    pub guessed: bool,
    /// The most memory it took in bytes, 0 if that is not known.
    pub peak_memory_bytes: u64,
    /// With how many processors it took that.
    pub peak_cores: u32,
    /// Length of the longest chain of work that waits for it, itself included.
    pub rank_ms: u64,
}

impl Package {
    /// What people call it: its version, or those of a cycle's members.
    #[must_use]
    pub fn title(&self) -> String {
        let names: Vec<_> = self.targets.iter().map(|t| t.cpv.as_str()).collect();
        names.join(" + ")
    }

    /// The memory it takes with so many processors, in bytes: what builds in parallel takes
    /// it for each, but never less than a quarter of what it took.
    #[must_use]
    pub fn memory_on(&self, cores: u32) -> u64 {
        let (cores, seen) = (u64::from(cores.max(1)), u64::from(self.peak_cores.max(1)));
        let share = (self.peak_memory_bytes / seen).saturating_mul(cores.min(seen));
        share.max(self.peak_memory_bytes / 4)
    }
}

/// What can happen to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The last thing that its build needs became installable.
    Unblock,
    /// A drone gets it.
    Delegate,
    /// Another drone gets it as well, because the first is late.
    Duplicate,
    /// Its attempt ended without a result.
    Return,
    /// A result was verified and stored, or an earlier run's is taken.
    Receive,
    /// It is judged broken.
    Quarantine,
    /// An earlier run has judged it broken.
    Hold,
    /// Its run is stopped.
    Cancel,
    /// An admin wants it tried again.
    Release,
    /// An admin wants it tried, and it has to wait for a dependency.
    Wait,
}

impl Step {
    /// Every step.
    pub const ALL: &'static [Self] = &[
        Self::Unblock,
        Self::Delegate,
        Self::Duplicate,
        Self::Return,
        Self::Receive,
        Self::Quarantine,
        Self::Hold,
        Self::Cancel,
        Self::Release,
        Self::Wait,
    ];
}

/// The table: where a step leads from a state, or `None` if it may not happen there.
///
/// `Receive` is allowed from `Blocked` (reuse needs no dependency) and from `Needed` (a
/// drone that was thought lost delivers). Nothing but an admin leads out of
/// `Quarantined`, and nothing at all out of `Received`.
#[must_use]
pub fn next(state: PackageState, step: Step) -> Option<PackageState> {
    use PackageState::*;
    match (state, step) {
        (Blocked, Step::Unblock) => Some(Needed),
        (Needed, Step::Delegate) => Some(Delegated),
        (Delegated, Step::Duplicate) => Some(Delegated),
        (Delegated, Step::Return) => Some(Needed),
        (Blocked | Needed | Delegated, Step::Receive) => Some(Received),
        (Needed | Delegated, Step::Quarantine) => Some(Quarantined),
        (Blocked | Needed, Step::Hold) => Some(Quarantined),
        (Blocked | Needed | Delegated, Step::Cancel) => Some(Cancelled),
        (Quarantined, Step::Release) => Some(Needed),
        (Quarantined, Step::Wait) => Some(Blocked),
        // An admin's retry of a package that waits for its backoff.
        (Needed, Step::Release) => Some(Needed),
        (Received | Quarantined | Cancelled, _) => None,
        (Blocked | Needed | Delegated, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PackageState::*;

    #[test]
    fn the_table_allows_exactly_these_steps() {
        let allowed = [
            (Blocked, Step::Unblock, Needed),
            (Blocked, Step::Receive, Received),
            (Blocked, Step::Hold, Quarantined),
            (Blocked, Step::Cancel, Cancelled),
            (Needed, Step::Delegate, Delegated),
            (Needed, Step::Receive, Received),
            (Needed, Step::Quarantine, Quarantined),
            (Needed, Step::Hold, Quarantined),
            (Needed, Step::Cancel, Cancelled),
            (Needed, Step::Release, Needed),
            (Delegated, Step::Duplicate, Delegated),
            (Delegated, Step::Return, Needed),
            (Delegated, Step::Receive, Received),
            (Delegated, Step::Quarantine, Quarantined),
            (Delegated, Step::Cancel, Cancelled),
            (Quarantined, Step::Release, Needed),
            (Quarantined, Step::Wait, Blocked),
        ];
        for &state in PackageState::ALL {
            for &step in Step::ALL {
                let expected = allowed.iter().find(|a| (a.0, a.1) == (state, step)).map(|a| a.2);
                assert_eq!(next(state, step), expected, "{state} {step:?}");
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_received() {
        assert!(Step::ALL.iter().all(|&step| next(Received, step).is_none()));
    }
}
