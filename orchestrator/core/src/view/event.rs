//! The API view of events. What the journal needs besides, such as plans and digests of credentials,
//! is left out.

use crate::{
    event::{Event, Record},
    state::DueOutcome,
};
use swarm_common::{
    name::Name,
    wire::{
        channel::ChannelName,
        event::{EventFacts, EventKind as Kind, EventView},
    },
};

/// An event of the journal; `None` for what the journal does not store.
#[must_use]
pub fn event(record: &Record) -> Option<EventView> {
    Some(EventView { seq: record.seq, at: record.at, event: facts(&record.event)? })
}

fn facts(event: &Event) -> Option<EventFacts> {
    let of = EventFacts::of;
    Some(match event {
        Event::OrchestratorStarted => of(Kind::OrchestratorStarted),
        Event::IdsSkipped { .. } => of(Kind::IdsSkipped),
        Event::CommandAnswered { .. } => of(Kind::CommandAnswered),
        Event::EnrolTokenIssued { expires_at, approved, .. } => {
            of(Kind::EnrolTokenIssued).until(*expires_at).approved(*approved)
        }
        Event::EnrolTokenExpired { .. } => of(Kind::EnrolTokenExpired),
        Event::PauseBegun { until, reason } => of(Kind::PauseBegun).until(*until).reason(reason.clone()),
        Event::PauseEnded { reason } => of(Kind::PauseEnded).reason(reason.clone()),
        Event::CollisionsFound { collisions } => of(Kind::CollisionsFound).packages(collisions.len() as u64),
        Event::ClockSet { by_ms, .. } => of(Kind::ClockSet).by_ms(*by_ms),
        _ => of_drone(event)
            .or_else(|| of_base(event))
            .or_else(|| of_profile(event))
            .or_else(|| of_run(event))
            .or_else(|| of_package(event))
            .or_else(|| of_attempt(event))?,
    })
}

fn of_drone(event: &Event) -> Option<EventFacts> {
    let of = |kind, drone| EventFacts::of(kind).drone(drone);
    Some(match event {
        Event::DroneEnrolled { drone, name, approved, .. } => {
            of(Kind::DroneEnrolled, *drone).name(name.clone()).approved(*approved)
        }
        Event::DroneApproved { drone } => of(Kind::DroneApproved, *drone),
        Event::DroneDrained { drone, reason } => of(Kind::DroneDrained, *drone).reason(reason.clone()),
        Event::DroneResumed { drone } => of(Kind::DroneResumed, *drone),
        Event::DroneRemoved { drone } => of(Kind::DroneRemoved, *drone),
        Event::DroneWentOffline { drone, reason, .. } => {
            of(Kind::DroneWentOffline, *drone).reason(reason.clone())
        }
        Event::DroneReturned { drone } => of(Kind::DroneReturned, *drone),
        Event::DroneRebooted { drone, .. } => of(Kind::DroneRebooted, *drone),
        Event::DroneFactsChanged { drone, .. } => of(Kind::DroneFactsChanged, *drone),
        Event::DroneStruck { drone, attempt, reason } => {
            of(Kind::DroneStruck, *drone).attempt(*attempt).reason(reason.clone())
        }
        Event::StrikesForgiven { drone, reason, .. } => {
            of(Kind::StrikesForgiven, *drone).reason(reason.clone())
        }
        Event::DroneGrounded { drone, until, reason } => {
            of(Kind::DroneGrounded, *drone).until(*until).reason(reason.clone())
        }
        Event::DroneUngrounded { drone } => of(Kind::DroneUngrounded, *drone),
        Event::DroneLost { drone, reason } => of(Kind::DroneLost, *drone).reason(reason.clone()),
        Event::DroneHealed { drone } => of(Kind::DroneHealed, *drone),
        Event::DroneProtected { drone, protected } => of(Kind::DroneProtected, *drone).protected(*protected),
        Event::HealStepBegan { drone, step } => of(Kind::HealStepBegan, *drone).step(*step),
        Event::HealStepEnded { drone, step, outcome, detail } => {
            of(Kind::HealStepEnded, *drone).step(*step).outcome(*outcome).reason(detail.clone())
        }
        Event::RebootWanted { drone, reason } => of(Kind::RebootWanted, *drone).reason(reason.clone()),
        Event::RebootConfirmed { drone } => of(Kind::RebootConfirmed, *drone),
        _ => return None,
    })
}

fn of_base(event: &Event) -> Option<EventFacts> {
    let of = |kind, name: &Name| EventFacts::of(kind).base(name.clone());
    Some(match event {
        Event::BasePut { name, generation } => of(Kind::BasePut, name).generation(generation.number),
        Event::BaseRolledBack { name, to, .. } => of(Kind::BaseRolledBack, name).generation(*to),
        Event::BaseRemoved { name } => of(Kind::BaseRemoved, name),
        Event::BaseFollowSet { name, follow } => of(Kind::BaseFollowSet, name).follow(*follow),
        Event::BaseFollowBegan { name, run, installed } => {
            of(Kind::BaseFollowBegan, name).run(*run).packages(installed.len() as u64)
        }
        Event::BaseDelegated { run, attempt, drone, .. } => {
            EventFacts::of(Kind::BaseDelegated).run(*run).attempt(*attempt).drone(*drone)
        }
        Event::BaseNeeded { run, not_before, reason } => {
            EventFacts::of(Kind::BaseNeeded).run(*run).not_before(*not_before).reason(reason.clone())
        }
        Event::BaseReceived { name, attempt, generation, usage } => {
            of(Kind::BaseReceived, name).attempt(*attempt).generation(generation.number).usage(*usage)
        }
        Event::BaseFollowEnded { name, reason } => of(Kind::BaseFollowEnded, name).reason(reason.clone()),
        _ => return None,
    })
}

fn of_profile(event: &Event) -> Option<EventFacts> {
    let of = |kind, profile: &Name| EventFacts::of(kind).profile(profile.clone());
    Some(match event {
        Event::ProfilePut { name, request } => of(Kind::ProfilePut, name).snapshot(request.snapshot),
        Event::CandidateOffered { profile, candidate } => {
            of(Kind::CandidateOffered, profile).snapshot(candidate.snapshot)
        }
        Event::CandidateTaken { profile, run } => of(Kind::CandidateTaken, profile).run(*run),
        Event::CandidateRefused { profile, run, why, .. } => {
            of(Kind::CandidateRefused, profile).run(*run).reason(why.clone())
        }
        Event::TimerRan { profile, .. } => of(Kind::TimerRan, profile),
        Event::TimerRemoved { profile } => of(Kind::TimerRemoved, profile),
        Event::ProfileRemoved { name } => of(Kind::ProfileRemoved, name),
        Event::GenerationMade { profile, generation, like } => {
            of(Kind::GenerationMade, profile).channel(ChannelName::Stable).generation(*generation).like(*like)
        }
        Event::GenerationStaged { profile, generation, like } => of(Kind::GenerationStaged, profile)
            .channel(ChannelName::Staging)
            .generation(*generation)
            .like(*like),
        Event::GenerationPublished { profile, run, generation, packages, channel } => {
            of(Kind::GenerationPublished, profile)
                .channel(*channel)
                .generation(*generation)
                .run(*run)
                .packages(*packages)
        }
        Event::GenerationForgotten { profile, generation } => {
            of(Kind::GenerationForgotten, profile).generation(*generation)
        }
        Event::GenerationsSkipped { profile, last, channel } => {
            of(Kind::GenerationsSkipped, profile).channel(*channel).generation(*last)
        }
        Event::ChannelHeld { profile } => of(Kind::ChannelHeld, profile),
        Event::ChannelReleased { profile } => of(Kind::ChannelReleased, profile),
        Event::SchedulePut { profile, forecast, .. } => of(Kind::SchedulePut, profile).due(forecast.next),
        Event::ScheduleRemoved { profile } => of(Kind::ScheduleRemoved, profile),
        Event::ScheduleForeseen { profile, forecast } => {
            of(Kind::ScheduleForeseen, profile).due(forecast.next)
        }
        Event::DueHandled { profile, due, outcome, .. } => {
            let handled = of(Kind::DueHandled, profile).due(*due);
            match outcome {
                DueOutcome::Started(run) => handled.run(*run),
                DueOutcome::Skipped(reason) => handled.reason(reason.clone()),
            }
        }
        _ => return None,
    })
}

fn of_run(event: &Event) -> Option<EventFacts> {
    let of = |kind, run| EventFacts::of(kind).run(run);
    Some(match event {
        Event::RunStarted { run, profile, class, snapshot, .. } => {
            of(Kind::RunStarted, *run).profile(profile.clone()).class(*class).snapshot(*snapshot)
        }
        Event::PlanDelegated { run, attempt, drone, .. } => {
            of(Kind::PlanDelegated, *run).attempt(*attempt).drone(*drone)
        }
        Event::PlanReceived { run, attempt, plan, usage, .. } => {
            of(Kind::PlanReceived, *run).attempt(*attempt).packages(plan.packages.len() as u64).usage(*usage)
        }
        Event::PlanNeeded { run, not_before, reason } => {
            of(Kind::PlanNeeded, *run).not_before(*not_before).reason(reason.clone())
        }
        Event::RunEnded { run, state, reason } => {
            of(Kind::RunEnded, *run).state(*state).reason(reason.clone())
        }
        Event::RunStandsStill { run, received } => of(Kind::RunStandsStill, *run).packages(*received),
        Event::RunReopened { run } => of(Kind::RunReopened, *run),
        Event::RunForgotten { run } => of(Kind::RunForgotten, *run),
        _ => return None,
    })
}

fn of_package(event: &Event) -> Option<EventFacts> {
    let of = |kind, package| EventFacts::of(kind).package(package);
    Some(match event {
        Event::PackageReused { package, artifacts } => of(Kind::PackageReused, *package).artifacts(artifacts),
        Event::PackageDelegated { package, attempt, drone, duplicate_of, .. } => {
            of(Kind::PackageDelegated, *package).attempt(*attempt).drone(*drone).duplicate_of(*duplicate_of)
        }
        Event::PackageNeeded { package, not_before, reason } => {
            of(Kind::PackageNeeded, *package).not_before(*not_before).reason(reason.clone())
        }
        Event::PackageReceived { package, attempt, artifacts, usage } => {
            of(Kind::PackageReceived, *package).attempt(*attempt).artifacts(artifacts).usage(*usage)
        }
        Event::PackageQuarantined { package, reason, lasting } => {
            of(Kind::PackageQuarantined, *package).lasting(*lasting).reason(reason.clone())
        }
        Event::PackageHeld { package, reason } => of(Kind::PackageHeld, *package).reason(reason.clone()),
        Event::PackageReleased { package } => of(Kind::PackageReleased, *package),
        Event::RebuildWanted { packages, reason } => {
            EventFacts::of(Kind::RebuildWanted).packages(packages.len() as u64).reason(reason.clone())
        }
        _ => return None,
    })
}

fn of_attempt(event: &Event) -> Option<EventFacts> {
    let of = |kind, attempt| EventFacts::of(kind).attempt(attempt);
    Some(match event {
        Event::AttemptPhaseReached { attempt, phase } => {
            of(Kind::AttemptPhaseReached, *attempt).phase(*phase)
        }
        Event::AttemptFailed { attempt, failure, usage } => {
            of(Kind::AttemptFailed, *attempt).failure(failure.clone()).usage(*usage)
        }
        Event::AttemptRejected { attempt, rejection } => of(Kind::AttemptRejected, *attempt)
            .rejection(rejection.kind.clone())
            .reason(rejection.reason.clone()),
        Event::AttemptHandedBack { attempt, reason } => {
            of(Kind::AttemptHandedBack, *attempt).reason(reason.clone())
        }
        Event::AttemptLost { attempt, reason } => of(Kind::AttemptLost, *attempt).reason(reason.clone()),
        Event::AttemptRevived { attempt } => of(Kind::AttemptRevived, *attempt),
        _ => return None,
    })
}
