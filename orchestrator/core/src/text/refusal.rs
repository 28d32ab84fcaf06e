//! Texts of refusals: what is wrong, and what to do.

use crate::refusal::{CloneSign, Refusal};
use std::fmt;
use swarm_common::name::Name;

/// How it was detected that another machine uses the credential of drone `name`.
#[must_use]
pub fn clone_sign(name: &Name, sign: &CloneSign) -> String {
    match sign {
        CloneSign::MachineId { own, reported } => {
            format!("the machine ID of {name} is {own}, that of this one is {reported}")
        }
        CloneSign::EarlierBoot => {
            format!("{name} has rebooted since, but this one still has the old boot ID")
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownDrone(id) => {
                write!(f, "no drone {id}: `swarmctl drone list` shows the enrolled drones")
            }
            Self::UnknownProfile(name) => {
                write!(f, "no profile `{name}`: create it with `swarmctl profile add {name} --from DIR`")
            }
            Self::UnknownBase(name) => write!(
                f,
                "no base `{name}`: create it with `swarmctl base add {name} --from FILE`, or see `swarmctl \
                 base list`"
            ),
            Self::UnknownGeneration { profile, generation: Some(number), kept } => {
                write!(f, "no generation {number} of `{profile}` is kept")?;
                if !kept.is_empty() {
                    write!(f, ", only {}", super::numbers(kept))?;
                }
                write!(f, ": see `swarmctl channel show {profile}`")
            }
            Self::NotPinned { profile, generation, pinned } => {
                write!(f, "generation {generation} of `{profile}` is not pinned: ")?;
                match &pinned[..] {
                    [] => f.write_str("no generation of it is"),
                    pinned => write!(f, "pinned are {}", super::numbers(pinned)),
                }
            }
            Self::UnknownGeneration { profile, generation: None, .. } => write!(
                f,
                "no earlier generation of `{profile}` with other content is kept: see `swarmctl channel show {profile}`"
            ),
            Self::UnknownSchedule(name) => write!(
                f,
                "profile `{name}` has no schedule: set one with `swarmctl schedule set {name} \"30 3 * * \
                 *\"`"
            ),
            Self::UnknownRun(id) => {
                write!(f, "no run {id}: `swarmctl run list` shows the kept runs")
            }
            Self::UnknownPackage(id) => write!(f, "no package {id} in any kept run"),
            Self::UnknownAttempt(id) => {
                write!(
                    f,
                    "no attempt {id}: its run is no longer kept, or the journal was restored; its package is rebuilt \
                     if it is still needed"
                )
            }
            Self::BadEnrolToken => f.write_str(
                "the enrolment token is unknown, used or expired: create a new one with `swarmctl drone \
                 token`",
            ),
            Self::NameTaken(name) => write!(
                f,
                "a drone named `{name}` is already enrolled: remove it with `swarmctl drone remove \
                 {name}`, or choose another name"
            ),
            Self::OtherMachine { name, sign } => write!(
                f,
                "this credential belongs to drone `{name}`, which is another machine ({what}): remove it \
                 here and enrol this machine with its own token; if this machine replaces {name}, run \
                 `swarmctl drone remove {name}` first",
                what = clone_sign(name, sign)
            ),
            Self::EarlierBoot { name, sign, wait_ms } => write!(
                f,
                "this credential belongs to drone `{name}` ({what}): if its machine returned to an earlier \
                 state, it is taken back after {} in which the newer one stays silent; if this is a copy, \
                 remove the credential here and enrol this machine with its own token",
                super::span(*wait_ms),
                what = clone_sign(name, sign)
            ),
            Self::NotYours { attempt, drone } => {
                write!(f, "attempt {attempt} does not belong to drone {drone}")
            }
            Self::StaleAttempt { attempt, reason } => write!(f, "attempt {attempt} is over: {reason}"),
            Self::NotWorking { drone, state } => write!(
                f,
                "drone {drone} is {state} and not eligible for \
                 work"
            ),
            Self::WrongState { what, state, hint } => write!(f, "{what} is {state}: {hint}"),
            Self::RunUnderWay { run, profile } => write!(
                f,
                "run {run} of `{profile}` is under way: wait for it, or stop it with `swarmctl run cancel {run}`"
            ),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}
