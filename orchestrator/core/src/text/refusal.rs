//! Texts of refusals: what is wrong, and what to do.

use crate::refusal::Refusal;
use std::fmt;

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownDrone(id) => {
                write!(f, "there is no drone {id}: `swarmctl drone list` shows those that are enrolled")
            }
            Self::UnknownProfile(name) => {
                write!(
                    f,
                    "there is no profile `{name}`: make it with `swarmctl profile add {name} --from DIR`"
                )
            }
            Self::UnknownBase(name) => write!(
                f,
                "there is no base `{name}`: make it with `swarmctl base add {name} --from FILE`, or see \
                 `swarmctl base list`"
            ),
            Self::UnknownSchedule(name) => write!(
                f,
                "`{name}` has no schedule: make one with `swarmctl schedule set {name} \"30 3 * * *\"`"
            ),
            Self::UnknownRun(id) => {
                write!(f, "there is no run {id}: `swarmctl run list` shows those that are kept")
            }
            Self::UnknownPackage(id) => write!(f, "there is no package {id} in any run that is kept"),
            Self::UnknownAttempt(id) => {
                write!(f, "there is no attempt {id}; it may belong to a run that is no longer kept")
            }
            Self::BadEnrolToken => f.write_str(
                "the enrolment token is unknown, used up or expired: make a new one with `swarmctl drone token`",
            ),
            Self::NameTaken(name) => write!(
                f,
                "a drone named `{name}` is enrolled already: remove it with `swarmctl drone remove {name}`, or \
                 take another name"
            ),
            Self::OtherMachine { name, what } => write!(
                f,
                "this credential is that of drone `{name}`, which is another machine ({what}): remove it here and \
                 enrol this machine with a token of its own; if it takes the place of {name}, `swarmctl drone \
                 remove {name}` first"
            ),
            Self::NotYours { attempt, drone } => {
                write!(f, "attempt {attempt} was not delegated to drone {drone}")
            }
            Self::StaleAttempt { attempt, reason } => write!(f, "attempt {attempt} is over: {reason}"),
            Self::NotWorking { drone, state } => write!(f, "drone {drone} is {state} and gets no work"),
            Self::WrongState { what, state, hint } => write!(f, "{what} is {state}: {hint}"),
            Self::RunUnderWay { run, profile } => write!(
                f,
                "run {run} of `{profile}` is under way: wait for it, or stop it with `swarmctl run cancel {run}`"
            ),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}
