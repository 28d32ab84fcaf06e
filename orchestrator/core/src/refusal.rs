//! Why a command was refused. Each kind has one HTTP status, given where HTTP is known.

use swarm_common::{id::*, name::Name, state::*};

/// Why a command was refused. A refused command has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such drone.
    #[error("there is no drone {0}: `swarmctl drone list` shows those that are enrolled")]
    UnknownDrone(DroneId),
    /// No such profile.
    #[error("there is no profile `{0}`: make it with `swarmctl profile add {0} --from DIR`")]
    UnknownProfile(Name),
    /// No such base.
    #[error(
        "there is no base `{0}`: make it with `swarmctl base add {0} --from FILE`, or see `swarmctl base list`"
    )]
    UnknownBase(Name),
    /// The profile has no schedule.
    #[error("`{0}` has no schedule: make one with `swarmctl schedule set {0} \"30 3 * * *\"`")]
    UnknownSchedule(Name),
    /// No such run.
    #[error("there is no run {0}: `swarmctl run list` shows those that are kept")]
    UnknownRun(RunId),
    /// No such package.
    #[error("there is no package {0} in any run that is kept")]
    UnknownPackage(PackageId),
    /// No such attempt.
    #[error("there is no attempt {0}; it may belong to a run that is no longer kept")]
    UnknownAttempt(AttemptId),
    /// The token was never issued, is used up or ran out.
    #[error("the enrolment token is unknown, used up or expired: make a new one with `swarmctl drone token`")]
    BadEnrolToken,
    /// The name is taken.
    #[error(
        "a drone named `{0}` is enrolled already: remove it with `swarmctl drone remove {0}`, or take another name"
    )]
    NameTaken(Name),
    /// Another machine uses a drone's credential.
    #[error(
        "this credential is that of drone `{name}`, which is another machine ({what}): remove it here and enrol \
         this machine with a token of its own; if it takes the place of {name}, `swarmctl drone remove {name}` first"
    )]
    OtherMachine {
        /// The drone whose credential it is.
        name: Name,
        /// How that is known.
        what: String,
    },
    /// A drone named an attempt of another drone.
    #[error("attempt {attempt} was not delegated to drone {drone}")]
    NotYours {
        /// The attempt it named.
        attempt: AttemptId,
        /// Who it is.
        drone: DroneId,
    },
    /// The attempt has ended, and its result is not wanted.
    #[error("attempt {attempt} is over: {reason}")]
    StaleAttempt {
        /// The attempt.
        attempt: AttemptId,
        /// How it ended.
        reason: String,
    },
    /// The drone may not have work now.
    #[error("drone {drone} is {state} and gets no work")]
    NotWorking {
        /// Which.
        drone: DroneId,
        /// Its state.
        state: DroneState,
    },
    /// The thing is in a state in which this cannot be done.
    #[error("{what} is {state}: {hint}")]
    WrongState {
        /// What.
        what: String,
        /// Its state.
        state: String,
        /// What to do.
        hint: String,
    },
    /// The profile has a run under way.
    #[error(
        "run {run} of `{profile}` is under way: wait for it, or stop it with `swarmctl run cancel {run}`"
    )]
    RunUnderWay {
        /// The run.
        run: RunId,
        /// Its profile.
        profile: Name,
    },
    /// What was sent contradicts itself.
    #[error("{0}")]
    Invalid(String),
}
