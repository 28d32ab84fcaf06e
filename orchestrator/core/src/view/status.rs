//! The status of the swarm on one screen: concerns, worst first, and the next action.

use super::{Dependants, alarms, alike, base, candidate, concern, drones, pause, run};
use crate::{
    channel::{self, generations},
    eligibility, heal,
    judge::strike,
    state::{Drone, Job, Profile, Run, Swarm},
    text,
};
use std::collections::BTreeMap;
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::{
        admin::BuilderKind,
        base::Base,
        channel::StagedStatus,
        concern::{Concern, ConcernKind, LastStep, Remedy},
        plan::ProblemKind,
        view::StatusView,
    },
};

/// How long a refused machine is shown after it was last heard, in milliseconds.
const CLONES_SHOWN_MS: u64 = 10 * 60 * 1000;

/// How long a delivery must be stuck to become a concern, in milliseconds.
const STUCK_MS: u64 = 120_000;

/// The maximum number of lacking things that are listed for one run.
const MOST_LACKING: usize = 8;

/// The status of the swarm. `wall` is the machine's clock. `reported` are concerns of the shell
/// that the core cannot see: the journal, a disk, the publisher.
#[must_use]
pub fn status(
    swarm: &Swarm,
    now: TimeMs,
    wall: TimeMs,
    version: &str,
    reported: &[ConcernKind],
) -> StatusView {
    let shown = shown_runs(swarm);
    let found = find(swarm, now, wall, &shown, reported);
    // A concern of the shell without an action shows advice instead, and one of the core only if no
    // other has an action.
    let action = |(n, found): (usize, &Concern)| match &found.action {
        Some(action) => Some((action.command(), Some(action.clone()))),
        None => (n < reported.len()).then(|| (found.next.clone(), None)),
    };
    let advice = || found.iter().map(|found| found.next.clone()).find(|next| !next.is_empty());
    let (next_action, action) =
        found.iter().enumerate().find_map(action).or_else(|| advice().map(|next| (next, None))).unzip();
    let mut queue: BTreeMap<PackageState, u64> = BTreeMap::new();
    for (_, run) in shown.iter().filter(|(_, run)| !run.state.is_over()) {
        for (&state, &n) in run.counts.iter().filter(|(_, n)| **n > 0) {
            *queue.entry(state).or_default() += n;
        }
    }
    StatusView {
        version: version.to_owned(),
        now,
        started_at: swarm.live.started_at,
        healthy: found.is_empty(),
        next_action,
        action: action.flatten(),
        concerns: found,
        runs: shown.iter().filter_map(|&(id, _)| run(swarm, now, id)).collect(),
        drones: drones(swarm, now),
        upcoming: super::calendar::upcoming(swarm),
        queue,
        journal_seq: swarm.seq,
        pause: pause(swarm, now),
        standby: None,
        bases: base::statuses(swarm),
        staged: staged(swarm),
        // The shell adds these.
        passes: Vec::new(),
        connections: Vec::new(),
    }
}

/// The staged generations that wait for promotion.
fn staged(swarm: &Swarm) -> Vec<StagedStatus> {
    let one = |(name, profile): (&Name, &Profile)| {
        let waiting = profile.waiting()?;
        let (generation, run) = (waiting.number, waiting.run);
        Some(StagedStatus {
            profile: name.clone(),
            generation,
            run,
            packages: waiting.artifacts.len() as u64,
        })
    };
    swarm.profiles.iter().filter_map(one).collect()
}

/// All concerns, worst first. Cheaper than [`status`], which contains the same list.
#[must_use]
pub fn concerns(swarm: &Swarm, now: TimeMs, wall: TimeMs, reported: &[ConcernKind]) -> Vec<Concern> {
    find(swarm, now, wall, &shown_runs(swarm), reported)
}

fn find(
    swarm: &Swarm,
    now: TimeMs,
    wall: TimeMs,
    shown: &[(RunId, &Run)],
    reported: &[ConcernKind],
) -> Vec<Concern> {
    let mut found: Vec<ConcernKind> = reported.to_vec();
    for &(id, run) in shown {
        of_run(swarm, id, run, &mut found);
    }
    found.extend(alarms(swarm, now, wall));
    found.extend(generations::concerns(swarm));
    found.extend(candidate::concerns(swarm));
    base::concerns(swarm, &mut found);
    of_drones(swarm, now, &mut found);
    if swarm.profiles.is_empty() {
        found.push(ConcernKind::NoProfile);
    }
    if swarm.drones.is_empty() {
        found.push(ConcernKind::NoDrone);
    }
    found.into_iter().map(concern::concern).collect()
}

/// Active runs and the last ended run of each profile, newest first.
fn shown_runs(swarm: &Swarm) -> Vec<(RunId, &Run)> {
    let mut ended: Vec<&Name> = Vec::new();
    let mut shown = Vec::new();
    for (&id, run) in swarm.runs.iter().rev() {
        if run.state.is_over() {
            if ended.contains(&&run.profile) {
                continue;
            }
            ended.push(&run.profile);
        }
        shown.push((id, run));
    }
    shown
}

fn of_run(swarm: &Swarm, id: RunId, run: &Run, found: &mut Vec<ConcernKind>) {
    let able = swarm.drones.iter().filter(|(_, d)| d.builds_for(run));
    let online = able.filter(|(id, d)| swarm.state_of(**id, d) == DroneState::Online).count();
    let profile = run.profile.clone();
    if run.state == RunState::Planning && swarm.attempts_at(Job::Plan(id)).next().is_none() && online == 0 {
        let remedy = without_drone(swarm, run);
        found.push(ConcernKind::PlanWaits { run: id, profile: profile.clone(), remedy });
    }
    if run.state == RunState::Building && online == 0 {
        let remedy = without_drone(swarm, run);
        found.push(ConcernKind::RunStandsStill { run: id, profile: profile.clone(), remedy });
    }
    if run.state == RunState::Building {
        let online = swarm.drones.iter().filter(|(id, d)| swarm.state_of(**id, d) == DroneState::Online);
        found.extend(online.filter_map(|(_, drone)| {
            let (part, planned, own) = drone.difference(run)?;
            Some(ConcernKind::ToolchainDiffers {
                drone: drone.name.clone(),
                run: id,
                profile: profile.clone(),
                part: part.to_owned(),
                planned: planned.to_owned(),
                own: own.to_owned(),
            })
        }));
    }
    if !run.state.is_over() {
        found.extend(lacking_processors(swarm, id, run));
    }
    if run.state == RunState::Failed {
        found.push(ConcernKind::RunFailed {
            run: id,
            profile: profile.clone(),
            why: text::optional_reason(run.reason.as_ref()),
        });
    }
    found.extend(without_machine(swarm, id, run));
    found.extend(quarantined(swarm, id, run));
    let mut apart = run.packages.iter().filter_map(|&p| Some((p, channel::exclusion(swarm, p)?)));
    if let Some((package, first)) = apart.next() {
        found.push(first.concern(&profile, package, apart.count() as u64));
    }
    if let Some(problem) = run.problems.first() {
        found.push(ConcernKind::ResolverRefused {
            run: id,
            profile,
            atoms: problem.atoms.clone(),
            others: run.problems.len() as u64 - 1,
            why: problem.message.lines().next().unwrap_or_default().to_owned(),
            evaluation: problem.kind == ProblemKind::Evaluation,
        });
    }
}

/// The drones of a run's profile whose processors cannot run what the run builds.
fn lacking_processors(swarm: &Swarm, id: RunId, run: &Run) -> impl Iterator<Item = ConcernKind> {
    let online = swarm.drones.iter().filter(|(id, d)| swarm.state_of(**id, d) == DroneState::Online);
    online.filter(|(_, drone)| drone.accepts(&run.profile)).filter_map(move |(_, drone)| {
        let lacking = drone.cpu_lacks(run);
        (!lacking.is_empty()).then(|| ConcernKind::ProcessorLacks {
            drone: drone.name.clone(),
            run: id,
            profile: run.profile.clone(),
            lacking,
        })
    })
}

/// The packages of a run that wait for a drone that the profile does not have, or ended with the run for
/// that reason: one fact for each thing that is lacking.
fn without_machine(swarm: &Swarm, id: RunId, run: &Run) -> Vec<ConcernKind> {
    if run.base != Base::Nix || !matches!(run.state, RunState::Building | RunState::Partial) {
        return Vec::new();
    }
    let waits = |id: &PackageId| {
        let state = swarm.packages.get(id).map(|package| package.state);
        matches!(state, Some(PackageState::Needed | PackageState::Quarantined))
    };
    let lacking = eligibility::missing_capabilities(swarm, run, run.packages.iter().copied().filter(waits));
    let concern = |(missing, packages): (eligibility::MissingCapability, Vec<PackageId>)| {
        let package = *packages.first()?;
        Some(ConcernKind::NoSuchMachine {
            run: id,
            profile: run.profile.clone(),
            system: missing.system,
            features: missing.features,
            package,
            title: swarm.packages.get(&package)?.title(),
            others: packages.len() as u64 - 1,
        })
    };
    lacking.into_iter().filter_map(concern).take(MOST_LACKING).collect()
}

fn in_quarantine(swarm: &Swarm, run: &Run) -> impl Iterator<Item = PackageId> {
    let state = |id| swarm.packages.get(&id).map(|package| package.state);
    run.packages.iter().copied().filter(move |&id| state(id) == Some(PackageState::Quarantined))
}

/// The quarantined packages of a run, with their most frequent error.
fn quarantined(swarm: &Swarm, id: RunId, run: &Run) -> Option<ConcernKind> {
    let most = alike(swarm, run).into_iter().next()?;
    let package = *most.packages.first()?;
    let first = swarm.packages.get(&package)?;
    let (alike, why) = match most.is_many() {
        true => (most.packages.len() as u64, most.error),
        false => (1, text::optional_reason(first.reason.as_ref())),
    };
    Some(ConcernKind::PackagesQuarantined {
        run: id,
        profile: run.profile.clone(),
        package,
        title: first.title(),
        alike,
        others: run.count(PackageState::Quarantined).saturating_sub(alike),
        blocked: Dependants::of(swarm, run).waiting_for(swarm, in_quarantine(swarm, run)).len() as u64,
        why,
    })
}

/// The remedy if no drone can work for a run: resume a drone that was drained, by an admin or on
/// its own machine, or start one.
fn without_drone(swarm: &Swarm, run: &Run) -> Remedy {
    let drained = |d: &&Drone| d.builds_for(run) && d.state() == DroneState::Draining;
    let mut at_home = swarm.live.draining.iter().filter_map(|id| swarm.drones.get(id));
    let at_home = at_home.find(|drone| drone.builds_for(run) && drone.state() == DroneState::Online);
    match (swarm.drones.values().find(drained), at_home) {
        (Some(drone), _) => Remedy::Resume { drone: drone.name.clone() },
        (None, Some(drone)) => Remedy::ResumeThere { drone: drone.name.clone() },
        (None, None) => match &run.base {
            Base::Host => Remedy::StartHost,
            Base::Image { image, .. } => Remedy::StartImage { machine: image.machine.clone() },
            Base::Nix => Remedy::StartNix,
        },
    }
}

fn of_drones(swarm: &Swarm, now: TimeMs, found: &mut Vec<ConcernKind>) {
    if let Some((rollback, drone)) =
        swarm.live.rolled_back.and_then(|r| Some((r, swarm.drones.get(&r.drone)?)))
    {
        found.push(ConcernKind::JournalRolledBack {
            drone: drone.name.clone(),
            seen: rollback.seen,
            last: rollback.last,
        });
    }
    let in_state = |state| swarm.drones.values().filter(move |d| d.state() == state);
    found.extend(heal::cut_off(swarm));
    for drone in in_state(DroneState::Lost) {
        let why = text::optional_reason(drone.lost.as_ref());
        found.push(ConcernKind::DroneLost { drone: drone.name.clone(), why });
    }
    for drone in in_state(DroneState::Grounded) {
        let Some(pause) = &drone.grounded else { continue };
        found.push(ConcernKind::DroneGrounded {
            drone: drone.name.clone(),
            for_ms: pause.until.since(now),
            why: text::reason(&pause.reason),
        });
    }
    for (id, drone) in swarm.drones.iter().filter(|(_, d)| d.state() == DroneState::Online) {
        let strikes = drone.strikes.len();
        if strikes >= swarm.policy.strikes_to_ground as usize && strike::is_last_able(swarm, *id) {
            found.push(ConcernKind::DroneStruck {
                drone: drone.name.clone(),
                strikes: strikes as u64,
                why: text::optional_reason(drone.strikes.values().next_back()),
            });
        }
    }
    found.extend(swarm.drones.iter().filter_map(|(&id, drone)| offline(swarm, now, id, drone)));
    for (id, (at, sign)) in &swarm.live.cloned {
        let Some(drone) = swarm.drones.get(id).filter(|_| now.since(*at) < CLONES_SHOWN_MS) else { continue };
        let why = text::clone_sign(&drone.name, sign);
        found.push(ConcernKind::CredentialCloned { drone: drone.name.clone(), why });
    }
    for drone in swarm.drones.values().filter(|d| d.offline.is_none() && d.lost.is_none()) {
        let (name, facts) = (&drone.name, &drone.facts);
        if let Some(why) = facts.unusable.first().cloned() {
            found.push(ConcernKind::DroneUnusable { drone: name.clone(), why });
        }
        // Nix builds use nothing of the drone's own system.
        let mut hosts = swarm.profiles.iter().filter(|(_, profile)| match profile.request.builder {
            BuilderKind::Portage => profile.request.base.is_none(),
            BuilderKind::Nix => facts.nix.is_none(),
        });
        let has_host_profile = hosts.any(|(name, _)| drone.accepts(name));
        if facts.host && has_host_profile && !facts.lacks.is_empty() {
            let programs = facts.lacks.clone();
            found.push(ConcernKind::ProgramsMissing { drone: name.clone(), programs });
        }
    }
    for (&id, stuck) in &swarm.live.stuck {
        let long = stuck.iter().filter(|(_, s)| s.for_ms >= STUCK_MS).max_by_key(|(_, s)| s.for_ms);
        let (Some(drone), Some((&attempt, stuck))) = (swarm.drones.get(&id), long) else { continue };
        found.push(ConcernKind::DeliveryStuck {
            drone: drone.name.clone(),
            title: swarm.attempts.get(&attempt).map(|a| super::title(swarm, a)).unwrap_or_default(),
            for_ms: stuck.for_ms,
            why: stuck.why.clone(),
        });
    }
    for drone in in_state(DroneState::Pending) {
        found.push(ConcernKind::DronePending { drone: drone.name.clone(), returned: drone.returned });
    }
}

/// The concern that a drone is offline. `None` if it is not, or signed off.
fn offline(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> Option<ConcernKind> {
    if drone.state() != DroneState::Offline || drone.signed_off() {
        return None;
    }
    let last = drone.healing.last();
    Some(ConcernKind::DroneOffline {
        drone: drone.name.clone(),
        offline: drone.offline.clone()?,
        last: last.map(|tried| LastStep {
            step: tried.step,
            outcome: tried.outcome,
            why: text::optional_reason(tried.detail.as_ref()),
        }),
        healing: super::healing(swarm, now, id, drone),
        asks: drone.healing.asked && !drone.healing.confirmed,
    })
}
