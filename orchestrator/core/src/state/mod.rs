//! The data that a [`Swarm`] is made of: plain data, and what follows from a single value.
//!
//! No rule is imported here. [`Swarm`] imports the other types, and none of them imports it: whatever needs
//! the whole swarm to be decided is a rule, and belongs to the module of that rule.

mod attempt;
mod base;
mod build;
mod calendar;
mod candidate;
mod channel;
mod collision;
mod drone;
mod healing;
mod inputs;
mod live;
mod package;
mod past;
mod profile;
mod quarantine;
mod run;
mod swarm;

pub(crate) use attempt::sent_build_ids;
pub use attempt::{Attempt, Ending, Job, blames_package};
pub use base::{FollowFailure, Following, NamedBase};
pub use build::{BuildRecord, Builds, RunRecord};
pub use calendar::{Due, DueOutcome, Forecast, Pause, Schedule, Timer};
pub use candidate::{Candidates, Refused, Trial};
pub use channel::{Channel, ChannelArtifact, ChannelRoot, Generation, History};
pub use collision::{Collision, Collisions, Conflict, Exclusion, SharedPaths};
pub use drone::{Drone, Grounding, Removed};
pub use healing::{HealAction, HealAttempt, HealInProgress, HealingState};
pub use inputs::{Fields, Inputs};
pub use live::{Live, Rollback};
pub use package::{Needs, Package};
pub use past::{PastAttempt, PastAttempts};
pub use profile::Profile;
pub use quarantine::{Broken, Quarantine};
pub use run::Run;
pub use swarm::{Built, EnrolToken, LastIds, RequestedRebuild, Swarm};
