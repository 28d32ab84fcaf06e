//! The facts of reasons that have several.

use super::Reason;
use serde::{Deserialize, Serialize};
use swarm_common::{
    id::{AttemptId, RunId},
    name::Name,
    state::{FailureClass, HealOutcome, HealStep, Phase},
};

/// Whether the field has the value that a missing one stands for.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$of_field])* pub $field: $type,)*
        }
    )*};
}

facts! {
    /// A drone that shut down.
    SignedOff {
        drone: Name,
        /// The reason that it gave.
        text: String,
    }

    /// An attempt that was lost.
    LostAttempt {
        attempt: AttemptId,
        drone: Name,
        why: Reason,
    }

    /// A delivery that the intake refused.
    Rejected {
        /// A stable identifier such as `wrong-slot`.
        kind: String,
        /// What the intake found.
        text: String,
    }

    /// Two packages that failed on one drone.
    DifferentPackages {
        package: String,
        error: String,
        /// The package that failed before.
        before: String,
    }

    /// A package that failed on a drone and was built by another.
    BuiltElsewhere {
        package: String,
        /// The drone that built it, if it is still known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Name>,
    }

    /// A failed attempt at a package.
    FailedBuild {
        phase: Phase,
        drone: Name,
        error: String,
    }

    /// Two attempts that failed alike.
    SameError {
        drone: Name,
        /// The other drone; `None` if both attempts were on the only drone that can build the package.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other: Option<Name>,
        error: String,
    }

    /// A failure like the one for which the package was quarantined.
    SameErrorAgain {
        drone: Name,
        /// How long ago the package was quarantined, in milliseconds.
        ago_ms: u64,
        error: String,
    }

    /// Failures that are a package's own fault.
    BuildFailures {
        count: u64,
        /// The only drone that tried, if others could have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only_on: Option<Name>,
        last: FailedBuild,
    }

    /// Attempts that used up what is allowed.
    TriesUsedUp {
        limit: Limit,
        last: Reason,
    }

    /// A build that was killed for its memory use although it had only one job.
    OutOfMemory {
        drone: Name,
        /// The memory that it had, in bytes.
        had_bytes: u64,
    }

    /// A source file that no drone could fetch.
    SourcesMissing {
        error: String,
        /// Number of attempts, if there will be no other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempts: Option<u64>,
    }

    /// What the drones of a profile lack for a package.
    MissingCapability {
        profile: Name,
        /// The system that the package is for; empty if every system builds it.
        #[serde(default, skip_serializing_if = "is_default")]
        system: String,
        /// The features that are lacking; empty if no drone is of that system.
        #[serde(default, skip_serializing_if = "is_default")]
        features: Vec<String>,
    }

    /// An earlier judgement about a package that still holds.
    Unchanged {
        /// The run in which it was made.
        since: RunId,
        before: Reason,
    }

    /// A plan that could not be made.
    PlanFailed {
        class: FailureClass,
        error: String,
        /// Number of attempts, if there will be no other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempts: Option<u64>,
    }

    /// How many packages a run does not provide.
    Shortfall {
        #[serde(default, skip_serializing_if = "is_default")]
        quarantined: u64,
        #[serde(default, skip_serializing_if = "is_default")]
        blocked: u64,
        /// Refused by the resolver.
        #[serde(default, skip_serializing_if = "is_default")]
        refused: u64,
        /// Attributes that Nix could not evaluate.
        #[serde(default, skip_serializing_if = "is_default")]
        not_evaluated: u64,
        /// Not published, since they install files of others.
        #[serde(default, skip_serializing_if = "is_default")]
        colliding: u64,
        /// Not published, since they lack a soname that others need.
        #[serde(default, skip_serializing_if = "is_default")]
        outdated: u64,
    }

    /// A part of the toolchain of a plan that every drone has changed.
    ToolchainGone {
        part: String,
        planned: String,
        now: String,
    }

    /// An attempt at a base that failed.
    BaseFailed {
        class: FailureClass,
        error: String,
    }

    /// A base that does not work.
    BaseUnusable {
        run: RunId,
        attempt: AttemptId,
        error: String,
    }

    /// An attribute that cannot be evaluated.
    NotEvaluated {
        attribute: String,
        error: String,
    }

    /// An attribute that cannot be built.
    NotBuilt {
        attribute: String,
        /// The package that is not built.
        package: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Reason>,
    }

    /// The last step of healing.
    LastStep {
        step: HealStep,
        outcome: HealOutcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Reason>,
    }

    /// A machine that was not reached.
    Unreachable {
        times: u64,
        last: LastStep,
    }

    /// A drone that healing did not bring back.
    StillSilent {
        after: Exhausted,
        last: LastStep,
    }
}

/// What limits the number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The package had this many failed attempts.
    Package(u64),
    /// Its run had as many failed attempts as it may have.
    Run(u64),
    /// The records of the package no longer exist.
    RecordsGone,
}

/// What healing has done without success, or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// It took as many steps as it may.
    AllSteps,
    /// It restarted the service and rebooted the machine.
    Reboot,
    /// It restarted the service, and the machine is protected from reboots.
    Protected,
    /// It restarted the service, and the configuration forbids reboots.
    RebootForbidden,
    /// It restarted the service, and a reboot must be confirmed.
    RebootUnconfirmed,
}
