//! Applies events. Total: it never fails, and reads only the state and the event.
//!
//! An event that does not fit the state can only come from a damaged journal, since
//! [`crate::decide`] checks the fit. It leaves the state unchanged rather than stop the program;
//! [`crate::invariants`] detects the damage.

mod attempt;
mod base;
mod build;
mod calendar;
mod candidate;
mod clock;
mod heal;
mod package;
mod run;

use crate::{
    event::{Event, Record},
    legacy,
    reply::Reply,
    state::{Drone, Ending, EnrolToken, Grounding, Job, Live, Profile, Rollback, Run, Swarm},
};
use std::collections::BTreeMap;
use swarm_common::{id::*, name::Name, state::*, time::TimeMs, wire::channel::ChannelName};

/// Number of answers kept for repeated commands.
const ANSWERS_KEPT: usize = 1024;

/// Number of strikes kept of a drone that cannot be grounded, as a multiple of those that ground a drone.
const STRIKES_KEPT: usize = 4;

impl Swarm {
    pub fn apply(&mut self, record: &Record) {
        self.apply_like(record, None);
    }

    /// Like [`Swarm::apply`], but shares large parts with `other` where both are equal, to save memory.
    /// `other` is a copy of the state that has the event already.
    pub fn apply_like(&mut self, record: &Record, other: Option<&Self>) {
        if record.event.is_durable() {
            self.seq = record.seq;
            self.at = record.at;
        }
        self.keep_calendar(record.at, &record.event);
        self.apply_event(record.at, &record.event, other);
        self.keep_candidates(&record.event);
        if let Some(other) = other {
            self.share_subjects(&record.event, other);
        }
    }

    /// Shares what the event has changed and is the same in `other` again.
    fn share_subjects(&mut self, event: &Event, other: &Self) {
        let (package, attempt) = event.subjects();
        let mut job = package.map(Job::Build);
        if let Some(id) = attempt
            && let (Some(attempt), Some(theirs)) = (self.attempts.get_mut(&id), other.attempts.get(&id))
        {
            attempt.merge(theirs);
            job.get_or_insert(attempt.job);
        }
        if let Some(Job::Build(id)) = job
            && let (Some(package), Some(theirs)) = (self.packages.get_mut(&id), other.packages.get(&id))
        {
            package.merge(theirs);
        }
    }

    fn apply_event(&mut self, at: TimeMs, event: &Event, other: Option<&Self>) {
        match event {
            Event::OrchestratorStarted => self.start(at),
            Event::IdsSkipped { last, build_id } => {
                (self.last, self.build_ids_skipped) = (*last, *build_id);
                self.restored_at = Some(at);
            }
            Event::RollbackFound { drone, seen, last } => {
                self.live.rolled_back = Some(Rollback { drone: *drone, seen: *seen, last: *last });
            }
            Event::CommandAnswered { key, reply } => self.keep_answer(key, reply),
            Event::EnrolTokenIssued { token_hash, expires_at, approved } => {
                self.tokens.insert(*token_hash, EnrolToken { expires_at: *expires_at, approved: *approved });
            }
            Event::EnrolTokenExpired { token_hash } => {
                self.tokens.remove(token_hash);
            }
            Event::DroneEnrolled { drone, name, token_hash, credential_hash, facts, approved, returned } => {
                self.tokens.remove(token_hash);
                self.last.drone = drone.0;
                self.live.seen.insert(*drone, at);
                let new = Drone::new(at, name.clone(), *credential_hash, facts.clone(), *approved);
                let enrolled = Drone { returned: *returned, ..new };
                self.drones.insert(*drone, enrolled);
            }
            Event::DroneApproved { drone } => self.drone(*drone, |d| d.approved = true),
            Event::DroneDrained { drone, reason } => {
                self.drone(*drone, |d| d.draining = Some(reason.clone()))
            }
            Event::DroneResumed { drone } => self.drone(*drone, |d| {
                (d.draining, d.grounded, d.lost) = (None, None, None);
                d.strikes.clear();
                d.groundings = 0;
                d.healing.reset();
            }),
            Event::DroneRemoved { drone } => {
                if let Some(removed) = self.drones.remove(drone) {
                    self.removed.note(at, removed);
                }
                self.at_work.remove(drone);
                self.live.seen.remove(drone);
                self.live.beaten.remove(drone);
                self.live.vitals.remove(drone);
                self.live.stuck.remove(drone);
                self.forget_wait(*drone);
                self.live.draining.remove(drone);
                self.live.cloned.remove(drone);
                self.live.changed.remove(drone);
            }
            Event::DroneWentOffline { drone, words, why } => {
                self.forget_wait(*drone);
                self.drone(*drone, |d| {
                    let old = || legacy::offline(words.as_deref().unwrap_or_default());
                    d.offline = Some(why.clone().unwrap_or_else(old));
                    d.healing.fell_silent(at);
                });
            }
            Event::DroneReturned { drone } => {
                self.live.returned.insert(*drone, at);
                self.drone(*drone, |d| {
                    (d.offline, d.lost) = (None, None);
                    d.healing.returned(at);
                });
            }
            Event::DroneRebooted { drone, boot_id } => {
                self.live.cloned.remove(drone);
                self.live.changed.insert(*drone, at);
                self.drone(*drone, |d| d.rebooted(boot_id));
            }
            Event::DroneFactsChanged { drone, facts } => {
                self.live.changed.insert(*drone, at);
                self.drone(*drone, |d| d.set_facts(facts));
            }
            Event::DroneStruck { drone, attempt, reason } => {
                let most = self.policy.strikes_to_ground as usize * STRIKES_KEPT;
                self.drone(*drone, |d| {
                    d.strikes.insert(*attempt, reason.clone());
                    while d.strikes.len() > most.max(1) {
                        d.strikes.pop_first();
                    }
                });
            }
            Event::StrikesForgiven { drone, attempts, .. } => {
                self.drone(*drone, |d| d.strikes.retain(|attempt, _| !attempts.contains(attempt)));
            }
            Event::DroneGrounded { drone, until, reason } => self.drone(*drone, |d| {
                d.grounded = Some(Grounding { until: *until, reason: reason.clone() });
                d.strikes.clear();
                d.groundings += 1;
            }),
            Event::DroneUngrounded { drone } => self.drone(*drone, |d| d.grounded = None),
            Event::DroneLost { .. }
            | Event::DroneHealed { .. }
            | Event::DroneProtected { .. }
            | Event::HealStepBegan { .. }
            | Event::HealStepEnded { .. }
            | Event::RebootWanted { .. }
            | Event::RebootConfirmed { .. } => self.heal(at, event),

            Event::BasePut { .. }
            | Event::BaseRolledBack { .. }
            | Event::BaseRemoved { .. }
            | Event::BaseFollowSet { .. }
            | Event::BaseFollowBegan { .. }
            | Event::BaseDelegated { .. }
            | Event::BaseNeeded { .. }
            | Event::BaseReceived { .. }
            | Event::BaseFollowEnded { .. } => self.keep_bases(at, event),
            Event::ProfilePut { name, request } => {
                let fresh = || Profile {
                    request: request.clone(),
                    generation: 0,
                    published_packages: 0,
                    build_ids: BTreeMap::new(),
                    channel: Default::default(),
                    stable: Default::default(),
                    staging: Default::default(),
                    staging_generation: 0,
                    pins: Default::default(),
                    candidates: Default::default(),
                    timer: None,
                };
                self.profiles.entry(name.clone()).or_insert_with(fresh).request = request.clone();
            }
            Event::CandidateOffered { .. }
            | Event::CandidateTaken { .. }
            | Event::CandidateRefused { .. }
            | Event::TimerRan { .. }
            | Event::TimerRemoved { .. }
            | Event::SchedulePut { .. }
            | Event::ScheduleRemoved { .. }
            | Event::ScheduleForeseen { .. }
            | Event::DueHandled { .. }
            | Event::PauseBegun { .. }
            | Event::PauseEnded { .. } => {}
            Event::ProfileRemoved { name } => {
                self.profiles.remove(name);
                self.drop_builds();
            }
            Event::GenerationPublished { profile, generation, packages, channel, .. } => {
                self.profile(profile, |p| p.record(*channel, *generation, *packages));
            }
            Event::GenerationMade { profile, generation, like } => {
                self.profile(profile, |p| p.make(ChannelName::Stable, *generation, at, *like));
            }
            Event::GenerationStaged { profile, generation, like } => {
                self.profile(profile, |p| p.make(ChannelName::Staging, *generation, at, *like));
            }
            Event::GenerationForgotten { profile, generation } => {
                self.profile(profile, |p| p.forget(*generation));
                self.drop_builds();
            }
            Event::GenerationPinned { profile, generation, note } => {
                self.profile(profile, |p| _ = p.pins.insert(*generation, note.clone()));
            }
            Event::GenerationUnpinned { profile, generation } => {
                self.profile(profile, |p| _ = p.pins.remove(generation));
            }
            Event::GenerationsSkipped { profile, last, channel } => {
                self.profile(profile, |p| p.skip(*channel, *last));
            }
            Event::ChannelHeld { profile } => self.profile(profile, |p| p.stable.held = true),
            Event::ChannelReleased { profile } => self.profile(profile, |p| p.stable.held = false),

            Event::RunStarted { run, profile, class, snapshot, base } => {
                self.last.run = run.0;
                let mut new = Run::new(profile.clone(), *class, *snapshot, base.clone(), at);
                new.cpu = self.profiles.get(profile).map(|p| p.request.cpu.clone()).unwrap_or_default();
                self.runs.insert(*run, new);
            }
            Event::PlanDelegated { run, attempt, drone, key } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.plan_attempts.push(*attempt);
                }
                self.delegate(at, *attempt, Job::Plan(*run), *drone, key);
            }
            Event::PlanReceived { run, attempt, first_package, plan, usage } => {
                self.end(at, *attempt, Ending::Accepted, Some(*usage));
                self.supersede(at, Job::Plan(*run));
                self.take_plan(*run, *first_package, plan, other);
                self.keep_toolchain(*run, *attempt);
            }
            Event::PlanNeeded { run, not_before, reason } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.plan_not_before = *not_before;
                    run.reason = Some(reason.clone());
                }
            }
            Event::RunEnded { run, state, reason } => self.end_run(at, *run, *state, reason.as_ref()),
            Event::RunStandsStill { run, received } => {
                if let Some(record) = self.runs.get_mut(run) {
                    record.stood_still_at = Some(*received);
                }
                self.publish(*run);
            }
            Event::RunReopened { run } => {
                *self.live.reopened.entry(*run).or_default() += 1;
                if let Some(run) = self.runs.get_mut(run) {
                    // Packages received before the standstill are already published.
                    run.stood_still_at = Some(run.count(PackageState::Received));
                    (run.state, run.ended_at) = (RunState::Building, None);
                    run.reason = None;
                }
            }
            Event::RunForgotten { run } => {
                self.forget_run(*run);
                if let Some(other) = other {
                    self.builds.share(&other.builds);
                    self.past.share(&other.past);
                }
            }

            Event::PackageReused { .. }
            | Event::PackageDelegated { .. }
            | Event::PackageNeeded { .. }
            | Event::PackageReceived { .. }
            | Event::PackageQuarantined { .. }
            | Event::PackageHeld { .. }
            | Event::PackageReleased { .. }
            | Event::RebuildWanted { .. } => self.package(at, event),
            Event::CollisionsFound { collisions } => {
                collisions.iter().for_each(|collision| self.collisions.note(at, collision));
            }

            Event::AttemptPhaseReached { attempt, phase } => {
                if *phase >= Phase::Uploading {
                    self.note_sharing(at, *attempt);
                }
                if let Some(attempt) = self.attempts.get_mut(attempt) {
                    attempt.phases.entry(*phase).or_insert(at);
                }
            }
            Event::AttemptFailed { attempt, failure, usage } => {
                self.end(at, *attempt, Ending::Failed(failure.clone()), Some(*usage));
            }
            Event::AttemptRejected { attempt, rejection } => {
                self.end(at, *attempt, Ending::Rejected(rejection.clone()), None);
            }
            Event::AttemptHandedBack { attempt, reason } => {
                self.end(at, *attempt, Ending::HandedBack(reason.clone()), None);
            }
            Event::AttemptLost { attempt, reason } => {
                self.end(at, *attempt, Ending::Lost(reason.clone()), None);
            }
            Event::AttemptRevived { attempt } => self.revive(at, *attempt),

            Event::DroneSeen { drone, vitals, draining, stuck } => {
                self.live.seen.insert(*drone, at);
                if *draining {
                    self.live.draining.insert(*drone);
                } else {
                    self.live.draining.remove(drone);
                }
                // A claim carries neither vitals nor stuck deliveries.
                if let Some(vitals) = vitals {
                    self.live.beaten.insert(*drone, at);
                    self.live.vitals.insert(*drone, *vitals);
                    self.live.stuck.remove(drone);
                    if !stuck.is_empty() {
                        self.live.stuck.insert(*drone, stuck.clone());
                    }
                }
            }
            Event::DroneCloned { drone, sign } => {
                self.live.cloned.insert(*drone, (at, sign.clone()));
            }
            Event::ClockSet { since, by_ms } => self.set_clock(at, *since, *by_ms),
            Event::StoodStill { for_ms } => {
                self.live.seen.values_mut().for_each(|seen| *seen = (*seen + *for_ms).min(at));
                self.live.leases.values_mut().for_each(|until| *until = *until + *for_ms);
                // No drone could be given work during the standstill.
                self.live.ready_since = self.drones.keys().map(|&drone| (drone, at)).collect();
                self.live.stood_still_ms = self.live.stood_still_ms.saturating_add(*for_ms);
            }
            Event::LeasesRenewed { attempts, until } => {
                for attempt in attempts {
                    self.live.leases.insert(*attempt, *until);
                }
            }
            Event::DroneWaits { drone, until } => {
                self.live.waiting.insert(*drone, *until);
            }
        }
    }

    fn drone(&mut self, id: DroneId, change: impl FnOnce(&mut Drone)) {
        if let Some(drone) = self.drones.get_mut(&id) {
            change(drone);
        }
    }

    fn profile(&mut self, name: &Name, change: impl FnOnce(&mut Profile)) {
        if let Some(profile) = self.profiles.get_mut(name) {
            change(profile);
        }
    }

    /// Gives every live attempt a full lease, counted from the end of the grace time.
    fn start(&mut self, at: TimeMs) {
        let until = at + self.policy.startup_grace_ms + self.policy.lease_ms;
        let live = self.at_work.values().flatten().map(|&attempt| (attempt, until));
        self.live = Live {
            started_at: at,
            seen: self.drones.keys().map(|&drone| (drone, at)).collect(),
            leases: live.collect(),
            ..Live::default()
        };
    }

    fn keep_answer(&mut self, key: &str, reply: &Reply) {
        self.answers.insert(key.to_owned(), (self.seq, reply.clone()));
        if self.answers.len() > ANSWERS_KEPT {
            let oldest = self.answers.iter().min_by_key(|(_, (seq, _))| *seq).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.answers.remove(&oldest);
            }
        }
    }
}
