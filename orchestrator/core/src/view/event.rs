//! The API view of events. It omits what only the journal needs, such as plans and digests of credentials.

use crate::{
    event::{Event, Record},
    state::DueOutcome,
    text,
};
use swarm_common::{
    name::Name,
    wire::{
        channel::ChannelName,
        concern::Offline,
        event::{EventFacts, EventKind as Kind, EventView},
    },
};

/// The API view of a journaled event. `None` for transient events.
#[must_use]
pub fn event(record: &Record) -> Option<EventView> {
    let facts = facts(&record.event)?;
    let event = match record.event.reason() {
        Some(why) => facts.reason(text::reason(why)).cause(why.cause().map(str::to_owned)),
        None => facts,
    };
    Some(EventView { seq: record.seq, at: record.at, event })
}

/// The facts of an event, without its [`Event::reason`]. Every kind is listed, so that a new kind does not compile until it is decided what
/// users see of it.
fn facts(event: &Event) -> Option<EventFacts> {
    let of = EventFacts::of;
    let of_drone = |kind, drone| of(kind).drone(drone);
    let of_base = |kind, name: &Name| of(kind).base(name.clone());
    let of_profile = |kind, profile: &Name| of(kind).profile(profile.clone());
    let of_run = |kind, run| of(kind).run(run);
    let of_package = |kind, package| of(kind).package(package);
    let of_attempt = |kind, attempt| of(kind).attempt(attempt);
    Some(match event {
        Event::OrchestratorStarted => of(Kind::OrchestratorStarted),
        Event::IdsSkipped { .. } => of(Kind::IdsSkipped),
        Event::CommandAnswered { .. } => of(Kind::CommandAnswered),
        Event::EnrolTokenIssued { expires_at, approved, .. } => {
            of(Kind::EnrolTokenIssued).until(*expires_at).approved(*approved)
        }
        Event::EnrolTokenExpired { .. } => of(Kind::EnrolTokenExpired),
        Event::PauseBegun { until, .. } => of(Kind::PauseBegun).until(*until).reason(String::new()),
        Event::PauseEnded { .. } => of(Kind::PauseEnded),
        Event::CollisionsFound { collisions } => of(Kind::CollisionsFound).packages(collisions.len() as u64),
        Event::ClockSet { by_ms, .. } => of(Kind::ClockSet).by_ms(*by_ms),

        Event::DroneEnrolled { drone, name, approved, .. } => {
            of_drone(Kind::DroneEnrolled, *drone).name(name.clone()).approved(*approved)
        }
        Event::DroneApproved { drone } => of_drone(Kind::DroneApproved, *drone),
        Event::DroneDrained { drone, .. } => of_drone(Kind::DroneDrained, *drone),
        Event::DroneResumed { drone } => of_drone(Kind::DroneResumed, *drone),
        Event::DroneRemoved { drone } => of_drone(Kind::DroneRemoved, *drone),
        Event::DroneWentOffline { drone, words, why } => {
            let words = why.as_ref().map(text::offline).or_else(|| words.clone());
            let cause = why.as_ref().map(|why| match why {
                Offline::SignedOff(_) => "signed-off".to_owned(),
                Offline::Silent { .. } => "silent".to_owned(),
            });
            of_drone(Kind::DroneWentOffline, *drone).reason(words).cause(cause)
        }
        Event::DroneReturned { drone } => of_drone(Kind::DroneReturned, *drone),
        Event::DroneRebooted { drone, .. } => of_drone(Kind::DroneRebooted, *drone),
        Event::DroneFactsChanged { drone, .. } => of_drone(Kind::DroneFactsChanged, *drone),
        Event::DroneStruck { drone, attempt, .. } => of_drone(Kind::DroneStruck, *drone).attempt(*attempt),
        Event::StrikesForgiven { drone, .. } => of_drone(Kind::StrikesForgiven, *drone),
        Event::DroneGrounded { drone, until, .. } => of_drone(Kind::DroneGrounded, *drone).until(*until),
        Event::DroneUngrounded { drone } => of_drone(Kind::DroneUngrounded, *drone),
        Event::DroneLost { drone, .. } => of_drone(Kind::DroneLost, *drone),
        Event::DroneHealed { drone } => of_drone(Kind::DroneHealed, *drone),
        Event::DroneProtected { drone, protected } => {
            of_drone(Kind::DroneProtected, *drone).protected(*protected)
        }
        Event::HealStepBegan { drone, step } => of_drone(Kind::HealStepBegan, *drone).step(*step),
        Event::HealStepEnded { drone, step, outcome, .. } => {
            of_drone(Kind::HealStepEnded, *drone).step(*step).outcome(*outcome).reason(String::new())
        }
        Event::RebootWanted { drone, .. } => of_drone(Kind::RebootWanted, *drone),
        Event::RebootConfirmed { drone } => of_drone(Kind::RebootConfirmed, *drone),

        Event::BasePut { name, generation } => of_base(Kind::BasePut, name).generation(generation.number),
        Event::BaseRolledBack { name, to, .. } => of_base(Kind::BaseRolledBack, name).generation(*to),
        Event::BaseRemoved { name } => of_base(Kind::BaseRemoved, name),
        Event::BaseFollowSet { name, follow } => of_base(Kind::BaseFollowSet, name).follow(*follow),
        Event::BaseFollowBegan { name, run, installed } => {
            of_base(Kind::BaseFollowBegan, name).run(*run).packages(installed.len() as u64)
        }
        Event::BaseDelegated { run, attempt, drone, .. } => {
            of(Kind::BaseDelegated).run(*run).attempt(*attempt).drone(*drone)
        }
        Event::BaseNeeded { run, not_before, .. } => of(Kind::BaseNeeded).run(*run).not_before(*not_before),
        Event::BaseReceived { name, attempt, generation, usage } => {
            of_base(Kind::BaseReceived, name).attempt(*attempt).generation(generation.number).usage(*usage)
        }
        Event::BaseFollowEnded { name, .. } => of_base(Kind::BaseFollowEnded, name),

        Event::ProfilePut { name, request } => of_profile(Kind::ProfilePut, name).snapshot(request.snapshot),
        Event::CandidateOffered { profile, candidate } => {
            of_profile(Kind::CandidateOffered, profile).snapshot(candidate.snapshot)
        }
        Event::CandidateTaken { profile, run } => of_profile(Kind::CandidateTaken, profile).run(*run),
        Event::CandidateRefused { profile, run, .. } => of_profile(Kind::CandidateRefused, profile).run(*run),
        Event::TimerRan { profile, .. } => of_profile(Kind::TimerRan, profile),
        Event::TimerRemoved { profile } => of_profile(Kind::TimerRemoved, profile),
        Event::ProfileRemoved { name } => of_profile(Kind::ProfileRemoved, name),
        Event::GenerationMade { profile, generation, like } => of_profile(Kind::GenerationMade, profile)
            .channel(ChannelName::Stable)
            .generation(*generation)
            .like(*like),
        Event::GenerationStaged { profile, generation, like } => of_profile(Kind::GenerationStaged, profile)
            .channel(ChannelName::Staging)
            .generation(*generation)
            .like(*like),
        Event::GenerationPublished { profile, run, generation, packages, channel } => {
            of_profile(Kind::GenerationPublished, profile)
                .channel(*channel)
                .generation(*generation)
                .run(*run)
                .packages(*packages)
        }
        Event::GenerationForgotten { profile, generation } => {
            of_profile(Kind::GenerationForgotten, profile).generation(*generation)
        }
        Event::GenerationPinned { profile, generation, note } => {
            let note = Some(note.clone()).filter(|note| !note.is_empty());
            of_profile(Kind::GenerationPinned, profile).generation(*generation).note(note)
        }
        Event::GenerationUnpinned { profile, generation } => {
            of_profile(Kind::GenerationUnpinned, profile).generation(*generation)
        }
        Event::GenerationsSkipped { profile, last, channel } => {
            of_profile(Kind::GenerationsSkipped, profile).channel(*channel).generation(*last)
        }
        Event::ChannelHeld { profile } => of_profile(Kind::ChannelHeld, profile),
        Event::ChannelReleased { profile } => of_profile(Kind::ChannelReleased, profile),
        Event::SchedulePut { profile, forecast, .. } => {
            of_profile(Kind::SchedulePut, profile).due(forecast.next)
        }
        Event::ScheduleRemoved { profile } => of_profile(Kind::ScheduleRemoved, profile),
        Event::ScheduleForeseen { profile, forecast } => {
            of_profile(Kind::ScheduleForeseen, profile).due(forecast.next)
        }
        Event::DueHandled { profile, due, outcome, .. } => {
            let handled = of_profile(Kind::DueHandled, profile).due(*due);
            match outcome {
                DueOutcome::Started(run) => handled.run(*run),
                DueOutcome::Skipped(_) => handled,
            }
        }

        Event::RunStarted { run, profile, class, snapshot, .. } => {
            of_run(Kind::RunStarted, *run).profile(profile.clone()).class(*class).snapshot(*snapshot)
        }
        Event::PlanDelegated { run, attempt, drone, .. } => {
            of_run(Kind::PlanDelegated, *run).attempt(*attempt).drone(*drone)
        }
        Event::PlanReceived { run, attempt, plan, usage, .. } => of_run(Kind::PlanReceived, *run)
            .attempt(*attempt)
            .packages(plan.packages.len() as u64)
            .usage(*usage),
        Event::PlanNeeded { run, not_before, .. } => of_run(Kind::PlanNeeded, *run).not_before(*not_before),
        Event::RunEnded { run, state, .. } => {
            of_run(Kind::RunEnded, *run).state(*state).reason(String::new())
        }
        Event::RunStandsStill { run, received } => of_run(Kind::RunStandsStill, *run).packages(*received),
        Event::RunReopened { run } => of_run(Kind::RunReopened, *run),
        Event::RunForgotten { run } => of_run(Kind::RunForgotten, *run),

        Event::PackageReused { package, artifacts } => {
            of_package(Kind::PackageReused, *package).artifacts(artifacts)
        }
        Event::PackageDelegated { package, attempt, drone, duplicate_of, .. } => {
            of_package(Kind::PackageDelegated, *package)
                .attempt(*attempt)
                .drone(*drone)
                .duplicate_of(*duplicate_of)
        }
        Event::PackageNeeded { package, not_before, .. } => {
            of_package(Kind::PackageNeeded, *package).not_before(*not_before)
        }
        Event::PackageReceived { package, attempt, artifacts, usage } => {
            of_package(Kind::PackageReceived, *package).attempt(*attempt).artifacts(artifacts).usage(*usage)
        }
        Event::PackageQuarantined { package, lasting, .. } => {
            of_package(Kind::PackageQuarantined, *package).lasting(*lasting)
        }
        Event::PackageHeld { package, .. } => of_package(Kind::PackageHeld, *package),
        Event::PackageReleased { package } => of_package(Kind::PackageReleased, *package),
        Event::RebuildWanted { packages, .. } => {
            of(Kind::RebuildWanted).packages(packages.len() as u64).reason(String::new())
        }

        Event::AttemptPhaseReached { attempt, phase } => {
            of_attempt(Kind::AttemptPhaseReached, *attempt).phase(*phase)
        }
        Event::AttemptFailed { attempt, failure, usage } => {
            of_attempt(Kind::AttemptFailed, *attempt).failure(failure.clone()).usage(*usage)
        }
        Event::AttemptRejected { attempt, rejection } => of_attempt(Kind::AttemptRejected, *attempt)
            .rejection(rejection.kind.clone())
            .reason(rejection.reason.clone()),
        Event::AttemptHandedBack { attempt, .. } => of_attempt(Kind::AttemptHandedBack, *attempt),
        Event::AttemptLost { attempt, .. } => of_attempt(Kind::AttemptLost, *attempt),
        Event::AttemptRevived { attempt } => of_attempt(Kind::AttemptRevived, *attempt),

        // The journal does not store these.
        Event::RollbackFound { .. }
        | Event::StoodStill { .. }
        | Event::DroneSeen { .. }
        | Event::LeasesRenewed { .. }
        | Event::DroneWaits { .. }
        | Event::DroneCloned { .. } => return None,
    })
}
