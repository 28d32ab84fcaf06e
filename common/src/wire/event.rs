//! Events of the journal, as `GET /events` streams them.

use super::{
    artifact::Artifact,
    channel::ChannelName,
    drone::{Failure, Usage},
    known,
};
use crate::{
    digest::Digest,
    id::*,
    name::Name,
    state::{HealOutcome, HealStep, Phase, RunClass, RunState, words},
    time::TimeMs,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One event of the journal, as `GET /events` streams it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventView {
    /// Its number; `Last-Event-ID` resumes after it.
    pub seq: u64,
    /// When it happened.
    pub at: TimeMs,
    /// What happened.
    pub event: EventFacts,
}

/// A kind of event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AnyEventKind {
    /// A kind that this version knows.
    Known(EventKind),
    /// The name of a kind that only a newer version knows.
    Newer(String),
}

impl fmt::Display for AnyEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(kind) => kind.fmt(f),
            Self::Newer(name) => f.pad(name),
        }
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident: $type:ident,)+) => {
        /// What happened. An event has only some of the fields; the others are absent. A field with a
        /// form that this version does not know counts as absent.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct EventFacts {
            /// The kind of event.
            #[serde(rename = "event")]
            pub kind: AnyEventKind,
            $(
                $(#[$doc])*
                #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )+
            /// The artifacts that were received or reused.
            #[serde(default, deserialize_with = "known", skip_serializing_if = "Vec::is_empty")]
            pub artifacts: Vec<Artifact>,
        }

        impl EventFacts {
            /// An event with only a kind.
            #[must_use]
            pub fn of(kind: EventKind) -> Self {
                Self { kind: AnyEventKind::Known(kind), $($name: None,)+ artifacts: Vec::new() }
            }

            /// Sets the artifacts.
            #[must_use]
            pub fn artifacts(self, artifacts: &[Artifact]) -> Self {
                Self { artifacts: artifacts.to_vec(), ..self }
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(self, $name: impl Into<Option<$type>>) -> Self {
                    Self { $name: $name.into(), ..self }
                }
            )+
        }
    };
}

facts! {
    /// The run.
    run: RunId,
    /// The package.
    package: PackageId,
    /// The attempt.
    attempt: AttemptId,
    /// The late attempt that this one duplicates.
    duplicate_of: AttemptId,
    /// The drone.
    drone: DroneId,
    /// The name with which the drone enrolled.
    name: Name,
    /// The profile.
    profile: Name,
    /// The base.
    base: Name,
    /// The channel.
    channel: ChannelName,
    /// Number of the generation of a channel or a base.
    generation: u64,
    /// The earlier generation whose content it has.
    like: u64,
    /// The admin's note on a pinned generation.
    note: String,
    /// The snapshot.
    snapshot: Digest,
    /// The priority of the run.
    class: RunClass,
    /// The state in which the run ended.
    state: RunState,
    /// Number of packages concerned.
    packages: u64,
    /// The phase that the attempt reached.
    phase: Phase,
    /// The step of healing.
    step: HealStep,
    /// How that step ended.
    outcome: HealOutcome,
    /// Whether an admin need not approve the drone.
    approved: bool,
    /// Whether the machine is protected from reboots.
    protected: bool,
    /// Whether the base follows the tree.
    follow: bool,
    /// Whether later runs do not try the package again until one of its inputs changes.
    lasting: bool,
    /// The due time that was handled, or the next one.
    due: TimeMs,
    /// When it ends.
    until: TimeMs,
    /// The earliest time of the next attempt.
    not_before: TimeMs,
    /// By how much the clock was set, in milliseconds.
    by_ms: i64,
    /// Why the attempt failed.
    failure: Failure,
    /// Why the result was rejected: a stable identifier such as `wrong-slot`.
    rejection: String,
    /// Resources that the attempt used.
    usage: Usage,
    /// The reason, in one line.
    reason: String,
    /// What kind of reason it is: a stable identifier such as `lease-expired`. Newer versions may add others.
    /// Absent if no reason was given, or only a sentence was recorded, as by older versions.
    cause: String,
}

words! {
    /// The kinds of events that this version knows.
    EventKind {
        /// The orchestrator started.
        OrchestratorStarted = "orchestrator_started",
        /// Numbers were left out, because a restored journal does not know whether they were used.
        IdsSkipped = "ids_skipped",
        /// A request that may be repeated was answered.
        CommandAnswered = "command_answered",
        /// A one-time token for the enrolment of a drone is valid.
        EnrolTokenIssued = "enrol_token_issued",
        /// A token expired unused.
        EnrolTokenExpired = "enrol_token_expired",
        /// A machine became a drone.
        DroneEnrolled = "drone_enrolled",
        /// An admin approved a drone.
        DroneApproved = "drone_approved",
        /// The drone gets no more work.
        DroneDrained = "drone_drained",
        /// A drained, grounded or lost drone may work again.
        DroneResumed = "drone_resumed",
        /// The drone was removed.
        DroneRemoved = "drone_removed",
        /// The drone is silent or signed off.
        DroneWentOffline = "drone_went_offline",
        /// The drone was heard again.
        DroneReturned = "drone_returned",
        /// Its machine has rebooted.
        DroneRebooted = "drone_rebooted",
        /// Its machine or configuration has changed.
        DroneFactsChanged = "drone_facts_changed",
        /// A failure counts against the drone.
        DroneStruck = "drone_struck",
        /// Failures no longer count against the drone.
        StrikesForgiven = "strikes_forgiven",
        /// The drone gets no work until its grounding ends.
        DroneGrounded = "drone_grounded",
        /// Its grounding ended.
        DroneUngrounded = "drone_ungrounded",
        /// Healing gave the drone up.
        DroneLost = "drone_lost",
        /// The drone has worked long enough since it was healed.
        DroneHealed = "drone_healed",
        /// Whether its machine is protected from reboots was set.
        DroneProtected = "drone_protected",
        /// A step of healing begins.
        HealStepBegan = "heal_step_began",
        /// A step of healing ended.
        HealStepEnded = "heal_step_ended",
        /// A reboot needs an admin's confirmation.
        RebootWanted = "reboot_wanted",
        /// An admin confirmed the reboot.
        RebootConfirmed = "reboot_confirmed",
        /// A base was created or has a new generation.
        BasePut = "base_put",
        /// An earlier generation of a base is current again.
        BaseRolledBack = "base_rolled_back",
        /// A base was removed.
        BaseRemoved = "base_removed",
        /// Whether a base follows the tree was set.
        BaseFollowSet = "base_follow_set",
        /// What a run built is to be installed on its base.
        BaseFollowBegan = "base_follow_began",
        /// A drone was assigned the next generation of a base.
        BaseDelegated = "base_delegated",
        /// The base is to be tried again.
        BaseNeeded = "base_needed",
        /// The next generation of a base is current.
        BaseReceived = "base_received",
        /// A base stopped following a run.
        BaseFollowEnded = "base_follow_ended",
        /// A profile was created or changed.
        ProfilePut = "profile_put",
        /// The next run of a profile tries other content.
        CandidateOffered = "candidate_offered",
        /// The profile has the content that a run tried.
        CandidateTaken = "candidate_taken",
        /// The profile keeps its content.
        CandidateRefused = "candidate_refused",
        /// The timer that updates a profile ran.
        TimerRan = "timer_ran",
        /// No timer updates a profile any more.
        TimerRemoved = "timer_removed",
        /// A profile was removed.
        ProfileRemoved = "profile_removed",
        /// A stable channel has a new generation to publish.
        GenerationMade = "generation_made",
        /// A staging channel has a new generation to publish.
        GenerationStaged = "generation_staged",
        /// Clients see a new generation.
        GenerationPublished = "generation_published",
        /// An old generation is dropped.
        GenerationForgotten = "generation_forgotten",
        /// A generation is kept until it is unpinned.
        GenerationPinned = "generation_pinned",
        /// A generation is no longer pinned.
        GenerationUnpinned = "generation_unpinned",
        /// Generations were found that a restored journal does not know.
        GenerationsSkipped = "generations_skipped",
        /// A stable channel stays as it is.
        ChannelHeld = "channel_held",
        /// A stable channel follows its runs again.
        ChannelReleased = "channel_released",
        /// A schedule was set or changed.
        SchedulePut = "schedule_put",
        /// A schedule was removed.
        ScheduleRemoved = "schedule_removed",
        /// The next due time has changed.
        ScheduleForeseen = "schedule_foreseen",
        /// A due time was handled: a run started, or the reason why none did.
        DueHandled = "due_handled",
        /// No work is assigned for a while.
        PauseBegun = "pause_begun",
        /// Work is assigned again.
        PauseEnded = "pause_ended",
        /// A run began.
        RunStarted = "run_started",
        /// A drone was assigned the run's plan.
        PlanDelegated = "plan_delegated",
        /// The run has its plan.
        PlanReceived = "plan_received",
        /// The plan is to be tried again.
        PlanNeeded = "plan_needed",
        /// The run has ended.
        RunEnded = "run_ended",
        /// The run is stalled for now; received packages are published.
        RunStandsStill = "run_stands_still",
        /// A retry reopened the run.
        RunReopened = "run_reopened",
        /// The records of an old run are dropped.
        RunForgotten = "run_forgotten",
        /// The package was built before, unchanged.
        PackageReused = "package_reused",
        /// A drone was assigned the package.
        PackageDelegated = "package_delegated",
        /// The package is to be tried again.
        PackageNeeded = "package_needed",
        /// The package was verified and stored.
        PackageReceived = "package_received",
        /// Stored packages cannot be installed together.
        CollisionsFound = "collisions_found",
        /// The package was judged broken or untrustworthy.
        PackageQuarantined = "package_quarantined",
        /// The package is not tried, because an earlier run judged it broken.
        PackageHeld = "package_held",
        /// An admin asked for another try.
        PackageReleased = "package_released",
        /// An admin asked for packages to be rebuilt.
        RebuildWanted = "rebuild_wanted",
        /// An attempt reached a phase.
        AttemptPhaseReached = "attempt_phase_reached",
        /// An attempt failed.
        AttemptFailed = "attempt_failed",
        /// An attempt delivered something that was rejected.
        AttemptRejected = "attempt_rejected",
        /// A drone returned an attempt.
        AttemptHandedBack = "attempt_handed_back",
        /// The lease of an attempt was not renewed.
        AttemptLost = "attempt_lost",
        /// The drone of a lost attempt is back and still working on it.
        AttemptRevived = "attempt_revived",
        /// The machine's clock was set.
        ClockSet = "clock_set",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_of_another_version_is_read_as_far_as_it_is_known() {
        let newer = json!({ "seq": 7, "at": 1, "event": {
            "event": "drone_dreamt", "drone": "d1", "phase": "dreaming", "sheep": [1], "reason": "night",
        } });
        let read: EventView = serde_json::from_value(newer).unwrap();
        let facts = EventFacts::of(EventKind::DroneLost).drone(DroneId(1)).reason("night".to_owned());
        let facts = EventFacts { kind: AnyEventKind::Newer("drone_dreamt".into()), ..facts };
        assert_eq!(read.event, facts);
        // Versions up to 0.1 streamed events as they are in the journal.
        let older = json!({ "seq": 8, "at": 1, "event": {
            "event": "run_started", "run": "r1", "profile": "desk", "class": "nightly",
            "snapshot": Digest::of(b"s"), "base": { "kind": "host" },
        } });
        let read: EventView = serde_json::from_value(older).unwrap();
        let facts = EventFacts::of(EventKind::RunStarted).run(RunId(1)).class(RunClass::Nightly);
        assert_eq!(read.event, facts.profile("desk".parse::<Name>().unwrap()).snapshot(Digest::of(b"s")));
    }
}
