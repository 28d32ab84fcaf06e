//! Turns a command into events or a refusal. Nothing here changes the state, so a refused command
//! leaves no partial effect.
//!
//! - [`admin`], [`rebuild`] and [`calendar`]: requests of admins and the scheduler
//! - [`enrol`]: how machines become drones
//! - [`drone`]: heartbeats and sign-offs
//! - [`heal`]: bringing silent drones back
//! - [`result`]: what drones deliver
//! - [`returned`]: what drones began before a restore
//! - [`reuse`]: packages of a plan that were built before
//! - [`maintenance`]: what time alone changes
//! - [`skip`]: recovery after a restore
//!
//! [`crate::assign`] assigns packages to drones, and [`crate::judge`] judges failures.

mod admin;
mod calendar;
mod drone;
mod enrol;
mod heal;
mod maintenance;
mod rebuild;
mod result;
mod returned;
mod reuse;
mod skip;

use crate::{
    assign, base, candidate,
    channel::{generations, pins},
    command::{Command, Request},
    decision::{Decision, already, known},
    event::Event,
    follow,
    reply::Reply,
    state::Swarm,
};
use swarm_common::time::TimeMs;

/// Decides a request without applying it; [`Swarm::handle`] does both.
///
/// # Errors
/// The refusal, if the rules do not allow the command.
pub fn decide(swarm: &Swarm, request: &Request) -> Decision {
    let now = request.now;
    match &request.command {
        Command::SkipIds => skip::skip_ids(swarm, now, request.entropy),
        Command::NoteClone { drone, sign } => drone::note_clone(swarm, *drone, sign),
        Command::StartOrchestrator => Ok((vec![Event::OrchestratorStarted], Reply::Done)),
        Command::Maintain => Ok((maintenance::maintain(swarm, now), Reply::Done)),
        Command::SetClock { by_ms } => {
            let event = Event::ClockSet { since: swarm.live.started_at, by_ms: *by_ms };
            Ok((vec![event], Reply::Done))
        }
        Command::NoteStandstill { for_ms } => Ok((vec![Event::StoodStill { for_ms: *for_ms }], Reply::Done)),

        Command::IssueEnrolToken { token_hash, valid_ms, approved } => {
            let expires_at = now + *valid_ms;
            let event = Event::EnrolTokenIssued { token_hash: *token_hash, expires_at, approved: *approved };
            Ok((vec![event], Reply::Done))
        }
        Command::EnrolDrone { token_hash, name, credential_hash, facts } => {
            enrol::enrol(swarm, now, *token_hash, name, *credential_hash, facts)
        }
        Command::ApproveDrone(drone) => enrol::approve(swarm, *drone),
        Command::DrainDrone(drone) => enrol::drain(swarm, *drone),
        Command::ResumeDrone(drone) => enrol::resume(swarm, *drone),
        Command::RemoveDrone(drone) => enrol::remove(swarm, now, *drone),

        Command::ProtectDrone { drone, protected } => heal::protect(swarm, *drone, *protected),
        Command::ConfirmReboot(drone) => heal::confirm(swarm, *drone),
        Command::BeginHealing { drone, step } => heal::begin(swarm, now, *drone, *step),
        Command::ReportHealing { drone, step, outcome, detail, boot_id } => {
            heal::report(swarm, *drone, *step, *outcome, detail, boot_id.as_deref())
        }

        Command::PutBase { name, image, request } => base::put(swarm, now, name, image, request),
        Command::RollBackBase(name) => base::roll_back(swarm, name),
        Command::FollowBase { name, follow } => follow::set(swarm, name, *follow),
        Command::RemoveBase(name) => base::remove(swarm, name),
        Command::PutProfile { name, request } => admin::put_profile(swarm, name, request),
        Command::OfferCandidate { profile, candidate: content } => candidate::offer(swarm, profile, content),
        Command::ReportNoCandidate { profile, source, why } => candidate::fail(swarm, profile, source, why),
        Command::NoteTimer { profile, timer } => calendar::note_timer(swarm, profile, timer),
        Command::RemoveTimer(profile) => calendar::remove_timer(swarm, profile),
        Command::RemoveProfile(name) => admin::remove_profile(swarm, name),
        Command::PutSchedule { profile, request, forecast } => {
            calendar::put_schedule(swarm, profile, request, *forecast)
        }
        Command::RemoveSchedule(profile) => calendar::remove_schedule(swarm, profile),
        Command::Foresee { profile, forecast } => calendar::foresee(swarm, profile, *forecast),
        Command::HandleDue { profile, due, forecast } => {
            calendar::handle_due(swarm, now, profile, *due, *forecast)
        }
        Command::Pause { for_ms, reason } => calendar::pause(swarm, now, *for_ms, reason),
        Command::Unpause => calendar::unpause(swarm),
        Command::StartRun { profile, class } => admin::start_run(swarm, profile, *class),
        Command::CancelRun(run) => admin::cancel_run(swarm, *run),
        Command::RetryPackage(package) => admin::retry_package(swarm, *package),
        Command::Rebuild { package, dependants, reason } => {
            rebuild::rebuild(swarm, *package, *dependants, reason)
        }
        Command::RollBack { profile, generation } => generations::roll_back(swarm, profile, *generation),
        Command::Promote { profile, generation } => generations::promote(swarm, profile, *generation),
        Command::PinGeneration { profile, generation, note } => pins::pin(swarm, profile, *generation, note),
        Command::UnpinGeneration { profile, generation } => pins::unpin(swarm, profile, *generation),
        Command::SkipGenerations { profile, channel, last } => {
            generations::skip(swarm, profile, *channel, *last)
        }
        Command::RecordGeneration { profile, channel, run, generation, packages } => {
            generations::record(swarm, profile, *channel, *run, *generation, *packages)
        }

        Command::Claim { drone, request } => assign::claim(swarm, now, *drone, request),
        Command::Heartbeat { drone, request: heartbeat } => {
            drone::heartbeat(swarm, now, request.entropy, *drone, heartbeat)
        }
        Command::SignOff { drone, reason } => drone::sign_off(swarm, now, *drone, reason),

        Command::ReceivePlan { drone, attempt, plan, usage } => {
            result::receive_plan(swarm, now, *drone, *attempt, plan, *usage)
        }
        Command::ReceivePackage { drone, attempt, artifacts, usage } => {
            result::receive_package(swarm, now, *drone, *attempt, artifacts, *usage)
        }
        Command::ReceiveBase { drone, attempt, usage } => {
            follow::receive(swarm, now, *drone, *attempt, *usage)
        }
        Command::NoteCollisions(collisions) => result::note_collisions(collisions),
        Command::RejectPackage { drone, attempt, rejection } => {
            result::reject(swarm, request, *drone, *attempt, rejection)
        }
        Command::ReportFailure { drone, attempt, failure, usage } => {
            result::fail(swarm, request, *drone, *attempt, failure, *usage)
        }
        Command::HandBack { drone, attempt, reason } => {
            result::hand_back(swarm, now, *drone, *attempt, reason)
        }
    }
}

impl Swarm {
    /// When [`Command::Maintain`] will next find something to do, if no other request comes before.
    /// `None` if that may be at any moment.
    #[must_use]
    pub fn next_due(&self) -> Option<TimeMs> {
        maintenance::next_due(self)
    }
}
