//! API views of packages and their attempts.

use super::{Dependants, unrecoverable};
use crate::{
    explain,
    state::{Attempt, Ending, Job, Package, Swarm},
};
use std::collections::BTreeMap;
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{
        drone::Target,
        view::{AttemptView, PackageRow, PackageView},
    },
};

/// The packages of `run`, in `state`, with `name` in their title, by run and then in plan order.
/// `None` matches everything.
#[must_use]
pub fn packages(
    swarm: &Swarm,
    now: TimeMs,
    run: Option<RunId>,
    state: Option<PackageState>,
    name: Option<&str>,
) -> Vec<PackageRow> {
    let mut stuck: BTreeMap<RunId, Stuck> = BTreeMap::new();
    swarm
        .packages
        .iter()
        .filter(|(_, p)| run.is_none_or(|run| p.run == run))
        .filter(|(_, p)| state.is_none_or(|state| p.state == state))
        .filter(|(_, p)| name.is_none_or(|name| p.title().contains(name)))
        .map(|(&id, package)| {
            let stuck = stuck.entry(package.run).or_insert_with(|| Stuck::of(swarm, package.run));
            row(swarm, id, package, stuck.reason(swarm, now, id, package))
        })
        .collect()
}

/// The quarantined packages that each blocked package of a run waits for, computed for all at once: for a
/// list of thousands, one query for each package would occupy the engine for seconds.
struct Stuck(BTreeMap<PackageId, Vec<PackageId>>);

impl Stuck {
    fn of(swarm: &Swarm, run: RunId) -> Self {
        let mut stuck: BTreeMap<PackageId, Vec<PackageId>> = BTreeMap::new();
        let Some(run) = swarm.runs.get(&run) else { return Self(stuck) };
        let dependants = Dependants::of(swarm, run);
        for root in unrecoverable(swarm, run) {
            for waiting in dependants.waiting_for(swarm, [root]) {
                stuck.entry(waiting).or_default().push(root);
            }
        }
        Self(stuck)
    }

    /// Like [`explain::reason`].
    fn reason(&self, swarm: &Swarm, now: TimeMs, id: PackageId, package: &Package) -> String {
        match self.0.get(&id) {
            _ if package.state != PackageState::Blocked => explain::reason(swarm, now, id),
            Some(roots) => explain::stuck_behind(swarm, roots),
            None => explain::waits_for(swarm, &explain::blocked_on(swarm, id)),
        }
    }
}

/// A package as a row of a list.
fn row(swarm: &Swarm, id: PackageId, package: &Package, reason: String) -> PackageRow {
    let live = swarm.attempts_at(Job::Build(id)).next();
    PackageRow {
        id,
        run: package.run,
        title: package.title(),
        state: package.state,
        reason,
        drone: live.map(|(_, a)| a.drone_name.clone()),
        phase: live.map(|(_, a)| a.phase()),
        attempts: u32::try_from(package.attempts.len()).unwrap_or(u32::MAX),
    }
}

#[must_use]
pub fn package(swarm: &Swarm, now: TimeMs, id: PackageId) -> Option<PackageView> {
    let package = swarm.packages.get(&id)?;
    let run = swarm.runs.get(&package.run)?;
    let blocked_on =
        if package.state == PackageState::Blocked { explain::blocked_on(swarm, id) } else { Vec::new() };
    Some(PackageView {
        id,
        run: package.run,
        profile: run.profile.clone(),
        title: package.title(),
        targets: targets(swarm, package),
        state: package.state,
        reason: explain::reason(swarm, now, id),
        build_key: package.build_key,
        blocked_on,
        dependants: Dependants::of(swarm, run).waiting_for(swarm, [id]).len() as u64,
        attempts: package.attempts.iter().filter_map(|a| Some(attempt(*a, swarm.attempts.get(a)?))).collect(),
        artifacts: package.artifacts.to_vec(),
        builds: super::build::builds(swarm, &package.artifacts),
        predicted_s: package.predicted_ms / 1000,
    })
}

/// The package's targets with the build ids of its last attempt.
fn targets(swarm: &Swarm, package: &Package) -> Vec<Target> {
    let last = package.attempts.last().and_then(|a| swarm.attempts.get(a));
    let build_ids = last.map(|a| a.build_ids.as_slice()).unwrap_or_default();
    package.targets_with(build_ids)
}

fn attempt(id: AttemptId, attempt: &Attempt) -> AttemptView {
    let failure = match &attempt.ending {
        Some(Ending::Failed(failure)) => Some(failure.clone()),
        _ => None,
    };
    let rejection = match &attempt.ending {
        Some(Ending::Rejected(rejection)) => Some(rejection.clone()),
        _ => None,
    };
    AttemptView {
        id,
        drone: attempt.drone,
        drone_name: attempt.drone_name.clone(),
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        phase: attempt.phase(),
        phases: attempt.phases.clone(),
        outcome: attempt.ending.as_ref().map(|ending| outcome(attempt.job, ending)),
        failure,
        rejection,
        usage: attempt.usage,
    }
}

fn outcome(job: Job, ending: &Ending) -> String {
    match (ending, job) {
        (Ending::Accepted, Job::Build(_)) => "built".into(),
        (Ending::Accepted, Job::Plan(_)) => "planned".into(),
        (Ending::Accepted, Job::Base(_)) => "made".into(),
        (Ending::Failed(failure), _) => failure.class.word().into(),
        (Ending::Rejected(rejection), _) => format!("refused: {}", rejection.reason),
        (Ending::HandedBack(_), _) => "handed back".into(),
        (Ending::Lost(_), _) => FailureClass::Lost.word().into(),
        (Ending::Superseded, _) => "superseded".into(),
        (Ending::Cancelled, _) => FailureClass::Cancelled.word().into(),
    }
}
