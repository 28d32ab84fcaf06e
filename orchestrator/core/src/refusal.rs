//! Why a command was refused. The HTTP layer maps each kind to a status code; the texts are in
//! [`crate::text`].

use serde::{Deserialize, Serialize};
use swarm_common::{id::*, name::Name, state::*};

/// Why a command was refused. A refused command has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    UnknownDrone(DroneId),
    UnknownProfile(Name),
    UnknownBase(Name),
    /// The profile has no such generation, or none but the current one.
    UnknownGeneration {
        profile: Name,
        /// The number, if the request named one.
        generation: Option<u64>,
        /// The numbers of the generations that the request could have named.
        kept: Vec<u64>,
    },
    /// The generation is kept, but not pinned.
    NotPinned {
        profile: Name,
        generation: u64,
        /// The numbers of the pinned ones.
        pinned: Vec<u64>,
    },
    UnknownSchedule(Name),
    UnknownRun(RunId),
    UnknownPackage(PackageId),
    UnknownAttempt(AttemptId),
    /// The token was never issued, has been used, or has expired.
    BadEnrolToken,
    NameTaken(Name),
    /// Another machine uses a drone's credential.
    OtherMachine {
        /// The drone whose credential it is.
        name: Name,
        sign: CloneSign,
    },
    /// A drone's credential is used with an earlier boot id: by another machine, or by the drone's own, which
    /// returned to an earlier state.
    EarlierBoot {
        name: Name,
        sign: CloneSign,
        /// Milliseconds until the drone is taken back, unless the current boot is heard again.
        wait_ms: u64,
    },
    /// A drone named an attempt of another drone.
    NotYours {
        attempt: AttemptId,
        /// The drone that named the attempt.
        drone: DroneId,
    },
    /// The attempt has ended, and its result is not wanted.
    StaleAttempt {
        attempt: AttemptId,
        /// How the attempt ended.
        reason: String,
    },
    /// The drone may not work now.
    NotWorking {
        drone: DroneId,
        state: DroneState,
    },
    /// The named object is in a state that does not allow the command.
    WrongState {
        what: String,
        state: String,
        /// What to do instead, as a sentence fragment for people.
        hint: String,
    },
    RunUnderWay {
        run: RunId,
        profile: Name,
    },
    /// The request is invalid or inconsistent.
    Invalid(String),
}

/// How it was detected that another machine uses a drone's credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneSign {
    /// It has another machine id than the drone's.
    MachineId { own: String, reported: String },
    /// It has a boot id that the drone's machine had before.
    EarlierBoot,
}
