//! API views of runs, and the prediction of their end.

use super::{Dependants, unrecoverable};
use crate::{
    calendar, explain, quarantine, standstill,
    state::{Job, Run, Swarm},
    text,
};
use swarm_common::{id::*, state::*, time::TimeMs, wire::view::RunView};

/// All kept runs, newest first.
#[must_use]
pub fn runs(swarm: &Swarm, now: TimeMs) -> Vec<RunView> {
    swarm.runs.iter().rev().map(|(&id, run)| view(swarm, now, id, run)).collect()
}

#[must_use]
pub fn run(swarm: &Swarm, now: TimeMs, id: RunId) -> Option<RunView> {
    swarm.runs.get(&id).map(|run| view(swarm, now, id, run))
}

fn view(swarm: &Swarm, now: TimeMs, id: RunId, run: &Run) -> RunView {
    let is_held = |p: &&PackageId| swarm.packages.get(p).is_some_and(|p| p.held);
    let held: Vec<PackageId> = run.packages.iter().filter(is_held).copied().collect();
    let saved_ms = held.iter().filter_map(|&p| quarantine::of(swarm, p)).map(|broken| broken.cost_ms);
    RunView {
        id,
        profile: run.profile.clone(),
        class: run.class,
        state: run.state,
        reason: reason(swarm, now, id, run),
        snapshot: run.snapshot,
        started_at: run.started_at,
        ended_at: run.ended_at,
        counts: run.counts.iter().filter(|(_, n)| **n > 0).map(|(&state, &n)| (state, n)).collect(),
        reused: run.reused,
        held: held.len() as u64,
        saved_s: saved_ms.sum::<u64>() / 1000,
        eta: eta(swarm, now, run),
        problems: run.problems.to_vec(),
        plan_attempts: run.plan_attempts.clone(),
    }
}

fn reason(swarm: &Swarm, now: TimeMs, id: RunId, run: &Run) -> Option<String> {
    let recorded = run.reason.as_ref().map(text::reason);
    if run.state == RunState::Building {
        let still = run.stood_still_at == Some(run.count(PackageState::Received))
            && standstill::is_still(swarm, now, run);
        let published = || match run.on_trial {
            true => "stalled for now".to_owned(),
            false => "stalled for now; received packages are published".to_owned(),
        };
        let unknown = || "no estimate until a package has been built".to_owned();
        return (still.then(published)).or(recorded).or((swarm.history.guess.count == 0).then(unknown));
    }
    if run.state != RunState::Planning {
        return recorded;
    }
    match swarm.attempts_at(Job::Plan(id)).next() {
        Some((attempt, a)) => Some(format!("{attempt} on {} is making the plan", a.drone_name)),
        None => {
            let waits = match explain::paused(swarm, now) {
                Some(paused) => format!("waiting for its plan: {paused}"),
                None => "waiting for a drone to make the plan".to_owned(),
            };
            Some(recorded.map_or_else(|| waits.clone(), |why| format!("{waits}; {why}")))
        }
    }
}

/// The predicted end: the remaining work divided among all drones that may do it, but no earlier than the
/// longest chain on the fastest of them, counted from when its first package may be tried. `None` without a
/// plan or a drone, or if nothing was ever built, since it would only be a guess.
fn eta(swarm: &Swarm, now: TimeMs, run: &Run) -> Option<TimeMs> {
    if run.state != RunState::Building || swarm.history.guess.count == 0 {
        return None;
    }
    let begin = calendar::pause(swarm, now).map_or(now, |pause| pause.until);
    let able = swarm.drones.values().filter(|d| d.state() == DroneState::Online && d.builds_for(run));
    let speeds: Vec<(u64, u64)> = able.map(|d| (d.speed_permille.max(1), d.pace_permille())).collect();
    let fastest = speeds.iter().map(|(speed, _)| *speed).max()?;
    let stuck = Dependants::of(swarm, run).waiting_for(swarm, unrecoverable(swarm, run));
    let (mut work_ms, mut alone_ms) = (0u64, 0u64);
    for id in run.packages.iter().filter(|id| !stuck.contains(id)) {
        let Some(package) = swarm.packages.get(id).filter(|p| !p.state.is_final()) else { continue };
        let done_ms = swarm
            .attempts_at(Job::Build(*id))
            .map(|(_, a)| now.since(a.started_at))
            .max()
            .unwrap_or_default();
        let own_ms = package.predicted_ms + swarm.overhead_ms();
        work_ms = work_ms.saturating_add(own_ms.saturating_sub(done_ms).max(1000));
        if package.state != PackageState::Blocked {
            let chain_ms = package.rank_ms.saturating_sub(done_ms.min(own_ms));
            let waits_ms = package.not_before.since(begin);
            alone_ms = alone_ms.max(waits_ms.saturating_add(chain_ms.saturating_mul(1000) / fastest));
        }
    }
    let spread_ms = work_ms.saturating_mul(1000) / speeds.iter().map(|(_, pace)| pace).sum::<u64>();
    Some(begin + spread_ms.max(alone_ms))
}
