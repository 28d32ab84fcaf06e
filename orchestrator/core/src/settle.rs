//! Derives the events that follow from the state: runs end, their bases and channels follow, and old runs are
//! forgotten.
//!
//! This looks at the state rather than at each event, so that there is one place for it: a run ends however
//! its last package was completed.

use crate::{
    candidate,
    channel::{self, generations},
    eligibility,
    event::Event,
    follow,
    plan::MOST_EDGES,
    reason::{MissingCapability, Reason, Shortfall, ToolchainGone},
    standstill,
    state::{Exclusion, Run, Swarm},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{id::*, name::Name, state::*, wire::base::Base};

/// The events that are due. Empty if nothing is.
#[must_use]
pub fn settle(swarm: &Swarm) -> Vec<Event> {
    let over = swarm.runs.iter().filter_map(|(&id, run)| {
        let at_rest = run.state == RunState::Building
            && run.count(PackageState::Needed) == 0
            && run.count(PackageState::Delegated) == 0;
        at_rest.then(|| {
            let quarantined = run.count(PackageState::Quarantined);
            let blocked = run.count(PackageState::Blocked);
            let refused = run.problems.len() as u64;
            let apart: Vec<Exclusion> = channel::follow(swarm, id)
                .map_or_else(Vec::new, |channel| channel.apart.into_values().collect());
            let outdated = apart.iter().filter(|apart| apart.conflict.is_of_sonames()).count() as u64;
            let colliding = apart.len() as u64 - outdated;
            let (state, reason) = if quarantined + blocked + refused + outdated + colliding == 0 {
                (RunState::Succeeded, None)
            } else {
                let (refused, not_evaluated) = match run.base {
                    Base::Nix => (0, refused),
                    Base::Host | Base::Image { .. } => (refused, 0),
                };
                let lacks = Shortfall { quarantined, blocked, refused, not_evaluated, colliding, outdated };
                (RunState::Partial, Some(Reason::Incomplete(Box::new(lacks))))
            };
            let ended = Event::RunEnded { run: id, state, reason };
            std::iter::once(ended).chain(follow::begin(swarm, id, run))
        })
    });
    let mut events: Vec<Event> = over.flatten().collect();
    events.extend(swarm.runs.values().flat_map(|run| without_machine(swarm, run)));
    events.extend(swarm.runs.iter().filter_map(|(&run, record)| {
        let reason = outdated(swarm, record)?;
        Some(Event::RunEnded { run, state: RunState::Cancelled, reason: Some(reason) })
    }));
    events.extend(candidate::due(swarm));
    events.extend(generations::due(swarm));
    if events.is_empty() { forget(swarm) } else { events }
}

/// Why a run cannot continue: no drone has the toolchain of its plan any more, as after an update of the only
/// drone. `None` if it can. The next run is planned with the new toolchain.
fn outdated(swarm: &Swarm, run: &Run) -> Option<Reason> {
    let begun = run.count(PackageState::Delegated) > 0;
    if run.state != RunState::Building || begun || standstill::has_news(swarm, run) {
        return None;
    }
    let mut drones = swarm.drones.values().filter(|d| d.approved && d.lost.is_none()).peekable();
    drones.peek()?;
    let differences: Option<Vec<_>> = drones.map(|d| d.difference(run)).collect();
    let (part, planned, now) = *differences?.first()?;
    let [part, planned, now] = [part, planned, now].map(str::to_owned);
    Some(Reason::ToolchainGone(Box::new(ToolchainGone { part, planned, now })))
}

/// Ends the waiting of packages that no drone of the run's profile can build, once nothing else of the run
/// can proceed. A later run tries them again, since the profile may have such a drone by then.
fn without_machine(swarm: &Swarm, run: &Run) -> Vec<Event> {
    if run.state != RunState::Building || run.base != Base::Nix || run.count(PackageState::Delegated) > 0 {
        return Vec::new();
    }
    let mut events = Vec::new();
    for (_, id) in &run.ready {
        let Some(missing) =
            swarm.packages.get(id).and_then(|package| eligibility::missing_capability(swarm, run, package))
        else {
            return Vec::new();
        };
        let (system, features) = (missing.system, missing.features);
        let lacks = MissingCapability { profile: run.profile.clone(), system, features };
        let reason = Reason::MissingCapability(Box::new(lacks));
        events.push(Event::PackageQuarantined { package: *id, reason, lasting: false });
    }
    events
}

/// The maximum number of packages kept in all runs together. Beyond that the oldest ended runs are forgotten
/// early, since their size depends on what drones send as plans. Ten runs of an ordinary desktop have 10,000.
const MOST_KEPT: usize = 20_000;
/// The same for the dependencies. A run of a large desktop, with 3,000 packages, has 54,000.
const MOST_NEEDS: usize = MOST_EDGES;

/// Forgets ended runs and generations beyond the number to keep, but never the last ended run of a profile.
fn forget(swarm: &Swarm) -> Vec<Event> {
    let mut ended: BTreeMap<&Name, Vec<RunId>> = BTreeMap::new();
    for (&id, run) in swarm.runs.iter().filter(|(_, r)| r.state.is_over()) {
        ended.entry(&run.profile).or_default().push(id);
    }
    // If the candidates of a profile are refused, the run that is served is not the last one.
    let served = swarm.profiles.values().filter_map(|profile| profile.channel.run);
    let last: BTreeSet<RunId> =
        ended.values().filter_map(|runs| runs.last().copied()).chain(served).collect();
    let beyond = |runs: Vec<RunId>| {
        let surplus = runs.len().saturating_sub(swarm.policy.keep_runs);
        runs.into_iter().take(surplus).filter(|run| !last.contains(run))
    };
    let mut old: BTreeSet<RunId> = ended.into_values().flat_map(beyond).collect();
    let mut packages = swarm.packages.len();
    let mut needs: usize = swarm.runs.values().map(|run| run.graph.needs()).sum();
    for (id, run) in swarm.runs.iter().filter(|(id, run)| run.state.is_over() && !last.contains(id)) {
        if packages <= MOST_KEPT && needs <= MOST_NEEDS {
            break;
        }
        packages -= run.packages.len();
        needs = needs.saturating_sub(run.graph.needs());
        old.insert(*id);
    }
    // A run must be kept while its packages are being installed on a base.
    let old = old.into_iter().filter(|run| swarm.following(*run).is_none());
    old.map(|run| Event::RunForgotten { run }).chain(generations::surplus(swarm)).collect()
}
