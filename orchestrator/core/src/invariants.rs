//! Invariants that hold after every event. The simulation checks them continually, debug builds after every
//! batch.
//!
//! The numbers are those of the design:
//!
//! - 1: one live lease, one result
//! - 3: every state has a reason, and chains of reasons end
//! - 4: counters agree with what they count (this would reveal a refused command that changed
//!   something)
//! - 5: drones that may not work have no work
//! - 7: attempts are bounded
//! - 8: the contents of a channel can be installed
//! - 9: the generations of a channel are in order, their artifacts are kept, the current generation of a
//!   channel that follows the runs is what they lead to, no number is in both channels of a profile, and
//!   every pinned generation exists
//! - 10: a candidate that is being tried has an active run of its profile
//!
//! Numbers 2 and 6 concern files and are checked in the shell.

use crate::{
    assign::MOST_DUPLICATES,
    channel::generations::LEAST_KEPT,
    explain, judge,
    state::{Ending, Job, Profile, Run, Swarm},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};
use swarm_common::{digest::Digest, id::*, state::*, wire::channel::ChannelName};

/// Checks all invariants.
///
/// # Errors
/// The first violated invariant, and what violates it.
pub fn check(swarm: &Swarm) -> Result<(), String> {
    one_result(swarm)?;
    one_plan_and_base(swarm)?;
    stated_reasons(swarm)?;
    counters(swarm)?;
    idle_where_due(swarm)?;
    bounded(swarm)?;
    whole_channels(swarm)?;
    sound_generations(swarm)?;
    tried(swarm)
}

fn tried(swarm: &Swarm) -> Result<(), String> {
    for (name, profile) in &swarm.profiles {
        let Some(trial) = &profile.candidates.trial else { continue };
        let tries = |run: &Run| run.profile == *name && run.on_trial && !run.state.is_over();
        if !swarm.runs.get(&trial.run).is_some_and(tries) {
            return Err(format!("10: no active run {} tries the candidate of {name}", trial.run));
        }
    }
    Ok(())
}

fn sound_generations(swarm: &Swarm) -> Result<(), String> {
    for (name, profile) in &swarm.profiles {
        for channel in ChannelName::ALL {
            sound_history(swarm, profile, channel).map_err(|e| format!("9: {channel} of {name} {e}"))?;
        }
        let mut numbers = BTreeSet::new();
        if let Some(twice) = profile.generations().find(|generation| !numbers.insert(generation.number)) {
            return Err(format!("9: {name} has generation {} twice", twice.number));
        }
        let is_there = |number: &&u64| profile.stable.get(**number).is_some();
        if let Some(gone) = profile.pins.keys().find(|number| !is_there(number)) {
            return Err(format!("9: generation {gone} of {name} is pinned, but not kept"));
        }
    }
    Ok(())
}

fn sound_history(swarm: &Swarm, profile: &Profile, channel: ChannelName) -> Result<(), String> {
    let (history, published) = (profile.history(channel), profile.published(channel));
    let numbers: Vec<u64> = history.generations.iter().map(|generation| generation.number).collect();
    let last = numbers.last().copied().unwrap_or(0);
    if !numbers.is_sorted_by(|a, b| a < b) || last < published || last <= history.skipped && last > 0 {
        return Err(format!("has generations {numbers:?}, and {published} is published"));
    }
    if let Some(old) = profile.beyond(channel, swarm.policy.keep_runs.max(LEAST_KEPT)).next() {
        return Err(format!("keeps {} generations, also {}, which is not pinned", numbers.len(), old.number));
    }
    let held: BTreeSet<&Digest> = history.generations.iter().flat_map(|g| g.artifacts.iter()).collect();
    if !held.iter().copied().eq(history.artifacts.keys()) {
        return Err("has other artifacts than its generations".to_owned());
    }
    if profile.follows(channel) && profile.is_behind(channel) {
        return Err("follows the runs and is not at what they lead to".to_owned());
    }
    Ok(())
}

fn whole_channels(swarm: &Swarm) -> Result<(), String> {
    for (name, profile) in &swarm.profiles {
        let held = &profile.channel.held;
        for (digest, one) in held {
            if let Some(needed) = one.needs.iter().find(|needed| !held.contains_key(needed)) {
                return Err(format!(
                    "8: the channel of {name} holds {digest} without {needed}, which it needs"
                ));
            }
        }
    }
    Ok(())
}

fn one_result(swarm: &Swarm) -> Result<(), String> {
    for (&id, package) in &swarm.packages {
        let live = swarm.attempts_at(Job::Build(id)).count();
        let delegated = package.state == PackageState::Delegated;
        let doubled = swarm.attempts_at(Job::Build(id)).filter(|(_, a)| a.duplicate_of.is_some()).count();
        if (live > 0) != delegated || live > 1 + doubled || doubled > MOST_DUPLICATES {
            return Err(format!("1: {id} is {} with {live} live attempts", package.state));
        }
        let accepted = package.attempts.iter().filter_map(|a| swarm.attempts.get(a));
        let accepted = accepted.filter(|a| a.ending == Some(Ending::Accepted)).count();
        let received = package.state == PackageState::Received;
        let built = usize::from(received && !package.reused);
        if accepted != built {
            return Err(format!("1: {id} is {} with {accepted} accepted results", package.state));
        }
        if received && package.artifacts.len() != package.targets.len() {
            return Err(format!("2: {id} is received without its artifacts"));
        }
    }
    Ok(())
}

fn stated_reasons(swarm: &Swarm) -> Result<(), String> {
    for (&id, run) in &swarm.runs {
        let moving = run.count(PackageState::Needed) + run.count(PackageState::Delegated) > 0;
        if run.state == RunState::Building && !moving {
            return Err(format!("3: {id} is building but nothing of it is needed or delegated"));
        }
        for &p in &run.packages {
            let Some(package) = swarm.packages.get(&p) else { return Err(format!("3: {p} of {id} is gone")) };
            match package.state {
                PackageState::Blocked if package.unmet == 0 => {
                    return Err(format!("3: {p} is blocked on nothing"));
                }
                PackageState::Needed if package.unmet > 0 => {
                    return Err(format!("3: {p} is needed while {} things are missing", package.unmet));
                }
                PackageState::Quarantined if package.reason.is_none() => {
                    return Err(format!("3: {p} is quarantined without a reason"));
                }
                PackageState::Blocked
                    if run.state == RunState::Partial && explain::stuck_on(swarm, p).is_empty() =>
                {
                    return Err(format!("3: {p} is blocked in an ended run by nothing that is stuck"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn counters(swarm: &Swarm) -> Result<(), String> {
    for (&id, run) in &swarm.runs {
        let mut counts: BTreeMap<PackageState, u64> = BTreeMap::new();
        for (p, package) in run.packages.iter().filter_map(|p| Some((p, swarm.packages.get(p)?))) {
            *counts.entry(package.state).or_default() += 1;
            let ready = run.ready.contains(&(Reverse(package.rank_ms), *p));
            let open = run.open.contains(&(Reverse(package.rank_ms), *p));
            if open != matches!(package.state, PackageState::Needed | PackageState::Blocked) {
                return Err(format!("4: {p} is {} but open is {open}", package.state));
            }
            if ready != (package.state == PackageState::Needed) {
                return Err(format!("4: {p} is {} but ready is {ready}", package.state));
            }
        }
        let open = run.open.iter().filter_map(|(_, p)| swarm.packages.get(p));
        let open_ms: u64 = open.map(|p| p.predicted_ms).sum();
        if run.open_ms != open_ms {
            return Err(format!("4: {} ms of {id} are open, found {open_ms}", run.open_ms));
        }
        if PackageState::ALL.iter().any(|s| run.count(*s) != counts.get(s).copied().unwrap_or(0)) {
            return Err(format!("4: the counts of {id} are {:?}, found {counts:?}", run.counts));
        }
    }
    for (&drone, live) in &swarm.at_work {
        let stray = live
            .iter()
            .find(|a| swarm.attempts.get(a).is_none_or(|record| record.drone != drone || !record.is_live()));
        if let Some(stray) = stray {
            return Err(format!("4: {stray} counts as work of {drone} but is not"));
        }
    }
    Ok(())
}

fn idle_where_due(swarm: &Swarm) -> Result<(), String> {
    for (&id, drone) in &swarm.drones {
        let may_work = matches!(drone.state(), DroneState::Online | DroneState::Draining);
        if let Some((attempt, _)) = swarm.attempts_of(id).next().filter(|_| !may_work) {
            return Err(format!("5: {id} is {} but has {attempt}", drone.state()));
        }
    }
    Ok(())
}

fn bounded(swarm: &Swarm) -> Result<(), String> {
    for (&id, run) in &swarm.runs {
        let mut in_all = 0;
        for &package in &run.packages {
            let failed = judge::failures(swarm, package);
            if failed > swarm.policy.failures_in_all as usize {
                return Err(format!("7: {package} has failed {failed} times"));
            }
            in_all += failed as u64;
        }
        if in_all != run.failures {
            return Err(format!("7: {id} counts {} failures, found {in_all}", run.failures));
        }
        let most = judge::most_failures(swarm, run) + run.packages.len() as u64;
        if in_all > most {
            return Err(format!("7: {id} has had {in_all} failures where {most} are the most"));
        }
    }
    Ok(())
}

fn one_plan_and_base(swarm: &Swarm) -> Result<(), String> {
    let live = |run: RunId| swarm.attempts_at(Job::Plan(run)).count();
    if let Some(run) = swarm.runs.keys().find(|&&run| live(run) > 1) {
        return Err(format!("1: {run} has {} live plan attempts", live(*run)));
    }
    let live = |run: RunId| swarm.attempts_at(Job::Base(run)).count();
    let most = |run: RunId| usize::from(swarm.following(run).is_some());
    match swarm.runs.keys().find(|&&run| live(run) > most(run)) {
        Some(run) => Err(format!("1: {run} has {} live attempts at its base", live(*run))),
        None => Ok(()),
    }
}
