//! Why a command was refused. The HTTP layer maps each kind to one status; the texts are in
//! [`crate::text`].

use swarm_common::{id::*, name::Name, state::*};

/// Why a command was refused. A refused command has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such drone.
    UnknownDrone(DroneId),
    /// No such profile.
    UnknownProfile(Name),
    /// No such base.
    UnknownBase(Name),
    /// The profile has no such generation, or none but the current one.
    UnknownGeneration {
        /// The profile.
        profile: Name,
        /// Its number, if one was named.
        generation: Option<u64>,
    },
    /// The profile has no schedule.
    UnknownSchedule(Name),
    /// No such run.
    UnknownRun(RunId),
    /// No such package.
    UnknownPackage(PackageId),
    /// No such attempt.
    UnknownAttempt(AttemptId),
    /// The token was never issued, has been used, or has expired.
    BadEnrolToken,
    /// The name is taken.
    NameTaken(Name),
    /// A drone's credential is used by another machine.
    OtherMachine {
        /// The drone whose credential it is.
        name: Name,
        /// How it was detected.
        what: String,
    },
    /// A drone's credential is used with an earlier boot id, by another machine or by its own that
    /// returned to an earlier state.
    EarlierBoot {
        /// The drone whose credential it is.
        name: Name,
        /// How it was detected.
        what: String,
        /// Milliseconds until it is taken back, unless the current boot is heard again.
        wait_ms: u64,
    },
    /// A drone named an attempt of another drone.
    NotYours {
        /// The attempt.
        attempt: AttemptId,
        /// The drone that named it.
        drone: DroneId,
    },
    /// The attempt has ended, and its result is not wanted.
    StaleAttempt {
        /// The attempt.
        attempt: AttemptId,
        /// How it ended.
        reason: String,
    },
    /// The drone may not work now.
    NotWorking {
        /// The drone.
        drone: DroneId,
        /// Its state.
        state: DroneState,
    },
    /// The object is in a state that does not allow this.
    WrongState {
        /// The object.
        what: String,
        /// Its state.
        state: String,
        /// What to do instead.
        hint: String,
    },
    /// The profile has an active run.
    RunUnderWay {
        /// The run.
        run: RunId,
        /// Its profile.
        profile: Name,
    },
    /// The request is invalid or inconsistent.
    Invalid(String),
}
