//! Explains states to people, in one line each.

use crate::{
    calendar, eligibility,
    state::{Job, Package, Run, Swarm},
    text,
};
use std::collections::BTreeSet;
use swarm_common::{id::*, name::Name, state::*, time::TimeMs};

/// The packages that keep `id` blocked: its build dependencies, and their run-time dependencies, that have
/// not been received.
#[must_use]
pub fn blocked_on(swarm: &Swarm, id: PackageId) -> Vec<PackageId> {
    let Some(package) = swarm.packages.get(&id) else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut open: Vec<PackageId> = package.build_deps.to_vec();
    let mut missing = BTreeSet::new();
    while let Some(next) = open.pop() {
        if !seen.insert(next) {
            continue;
        }
        let Some(dep) = swarm.packages.get(&next) else { continue };
        if dep.state != PackageState::Received {
            missing.insert(next);
        }
        open.extend(&dep.runtime_deps);
    }
    missing.into_iter().collect()
}

/// The quarantined packages that `id` waits for, directly or indirectly.
#[must_use]
pub fn stuck_on(swarm: &Swarm, id: PackageId) -> Vec<PackageId> {
    let mut seen = BTreeSet::new();
    let mut open = vec![id];
    let mut stuck = BTreeSet::new();
    while let Some(next) = open.pop() {
        for dep in blocked_on(swarm, next) {
            if !seen.insert(dep) {
                continue;
            }
            match swarm.packages.get(&dep).map(|p| p.state) {
                Some(PackageState::Quarantined | PackageState::Cancelled) => {
                    stuck.insert(dep);
                }
                Some(PackageState::Blocked) => open.push(dep),
                _ => {}
            }
        }
    }
    stuck.into_iter().collect()
}

/// Why a package is in its state. Empty only for a package that was built and received.
#[must_use]
pub fn reason(swarm: &Swarm, now: TimeMs, id: PackageId) -> String {
    let Some(package) = swarm.packages.get(&id) else { return String::new() };
    match package.state {
        PackageState::Received if package.reused => reused(swarm, package),
        PackageState::Received => String::new(),
        PackageState::Cancelled => "its run was cancelled".into(),
        PackageState::Quarantined => text::optional_reason(package.reason.as_ref()),
        PackageState::Delegated => swarm
            .attempts_at(Job::Build(id))
            .map(|(attempt, a)| {
                let second =
                    if a.duplicate_of.is_some() { ", second attempt because the first is late" } else { "" };
                let seconds = now.since(a.started_at) / 1000;
                format!("{attempt} on {}, {} for {seconds} s{second}", a.drone_name, a.phase())
            })
            .collect::<Vec<_>>()
            .join("; "),
        PackageState::Needed => needed(swarm, now, package),
        PackageState::Blocked => blocked(swarm, id),
    }
}

fn reused(swarm: &Swarm, package: &Package) -> String {
    let reused = "reused from an earlier run: same build key";
    match swarm.inputs.get(&package.strict_key) {
        Some(inputs) if inputs.lacks_commit() => {
            let age = text::span(swarm.policy.live_max_age_ms);
            format!("{reused}; the commit of its upstream is unknown, so it is rebuilt after {age}")
        }
        _ => reused.into(),
    }
}

fn needed(swarm: &Swarm, now: TimeMs, package: &Package) -> String {
    let after = package.reason.as_ref().map_or_else(String::new, |why| format!("; {}", text::reason(why)));
    if package.not_before > now {
        return format!("retry in {} s{after}", package.not_before.since(now).div_ceil(1000));
    }
    if let Some(paused) = paused(swarm, now) {
        return format!("waits: {paused}{after}");
    }
    let run = swarm.runs.get(&package.run);
    if let Some((run, missing)) =
        run.and_then(|run| Some((run, eligibility::missing_capability(swarm, run, package)?)))
    {
        let missing = text::missing_capability(&run.profile, &missing.system, &missing.features);
        return format!("waits for a drone: {missing}{after}");
    }
    if let Some((twin, profile)) = twin(swarm, package) {
        return format!("the same package is being built for {profile} ({twin}){after}");
    }
    let able = |d: &&crate::state::Drone| run.is_some_and(|run| d.builds(run, package));
    let online = swarm.drones.values().filter(able).filter(|d| d.state() == DroneState::Online).count();
    match online {
        0 => match run.map(|run| without_processor(swarm, run)).filter(|lacking| !lacking.is_empty()) {
            Some(lacking) => format!("waiting for a drone: {}{after}", lacking.join("; ")),
            None => format!("waiting for a drone: none that can build it is online{after}"),
        },
        _ => format!("waiting for a free drone ({online} online){after}"),
    }
}

/// The sentence saying that no work is assigned, and until when. `None` if there is no pause.
#[must_use]
pub fn paused(swarm: &Swarm, now: TimeMs) -> Option<String> {
    let pause = calendar::pause(swarm, now)?;
    Some(text::paused(pause.until.since(now), &text::optional_reason(pause.reason.as_ref())))
}

/// A package with the same build key that a drone is building for another run, and the profile of that run.
#[must_use]
pub fn twin<'s>(swarm: &'s Swarm, package: &Package) -> Option<(PackageId, &'s Name)> {
    // Usually no other run is active, and lists ask for thousands of packages.
    swarm.runs.iter().find(|(id, run)| **id != package.run && !run.state.is_over())?;
    let attempts = swarm.at_work.values().flatten().filter_map(|id| swarm.attempts.get(id));
    let mut others = attempts.filter_map(|attempt| match attempt.job {
        Job::Build(id) => Some((id, swarm.packages.get(&id)?)),
        Job::Plan(_) | Job::Base(_) => None,
    });
    let (id, twin) =
        others.find(|(_, other)| other.build_key == package.build_key && other.run != package.run)?;
    Some((id, &swarm.runs.get(&twin.run)?.profile))
}

/// What the processors of the profile's online drones lack for a run.
fn without_processor(swarm: &Swarm, run: &Run) -> Vec<String> {
    let online = swarm.drones.values().filter(|d| d.state() == DroneState::Online && d.accepts(&run.profile));
    let lacking =
        online.map(|drone| (&drone.name, drone.cpu_lacks(run))).filter(|(_, lacks)| !lacks.is_empty());
    lacking.map(|(name, lacks)| format!("the processor of {name} lacks {}", lacks.join(", "))).collect()
}

fn blocked(swarm: &Swarm, id: PackageId) -> String {
    let stuck = stuck_on(swarm, id);
    if stuck.is_empty() { waits_for(swarm, &blocked_on(swarm, id)) } else { stuck_behind(swarm, &stuck) }
}

/// The reason of a package that waits for packages which are in progress.
pub(crate) fn waits_for(swarm: &Swarm, others: &[PackageId]) -> String {
    format!("waits for {}", list(swarm, others))
}

/// The reason of a package that waits for packages which are no longer being built.
pub(crate) fn stuck_behind(swarm: &Swarm, others: &[PackageId]) -> String {
    format!("waits for {}, which needs manual action", list(swarm, others))
}

fn list(swarm: &Swarm, ids: &[PackageId]) -> String {
    let name = |p: &PackageId| swarm.packages.get(p).map(|package| package.title()).unwrap_or_default();
    let names: Vec<String> = ids.iter().take(3).map(name).collect();
    let more = ids.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}
