//! What follows by itself once events have been applied: runs end, their bases follow, old runs go.
//!
//! Looking at the state instead of at each event keeps this in one place: however the
//! last package of a run came to rest, the run is over.

use crate::{channel, event::Event, follow, run::Run, standstill, swarm::Swarm};
use std::collections::BTreeMap;
use swarm_common::{id::*, name::Name, state::*};

/// The events that are missing. Empty when the state is at rest.
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
            let apart = channel::follow(swarm, id).map_or(0, |channel| channel.apart.len() as u64);
            let (state, reason) = if quarantined + blocked + refused + apart == 0 {
                (RunState::Succeeded, String::new())
            } else {
                let parts = [
                    (quarantined, "quarantined"),
                    (blocked, "blocked by them"),
                    (refused, "refused by the resolver"),
                    (apart, "not published, as they install the same files as others"),
                ];
                let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
                (RunState::Partial, parts.collect::<Vec<_>>().join(", "))
            };
            let ended = Event::RunEnded { run: id, state, reason };
            std::iter::once(ended).chain(follow::begin(swarm, id, run))
        })
    });
    let mut events: Vec<Event> = over.flatten().collect();
    events.extend(swarm.runs.iter().filter_map(|(&run, record)| {
        let reason = outdated(swarm, record)?;
        Some(Event::RunEnded { run, state: RunState::Cancelled, reason })
    }));
    if events.is_empty() { forget(swarm) } else { events }
}

/// Why a run cannot go on: no drone has the toolchain any more that it was planned with, as after
/// an update of the only drone. The next run is planned with theirs.
fn outdated(swarm: &Swarm, run: &Run) -> Option<String> {
    let begun = run.count(PackageState::Delegated) > 0;
    if run.state != RunState::Building || begun || standstill::has_news(swarm, run) {
        return None;
    }
    let mut drones = swarm.drones.values().filter(|d| d.approved && d.lost.is_none()).peekable();
    drones.peek()?;
    let differences: Option<Vec<_>> = drones.map(|d| d.difference(run)).collect();
    let (part, planned, own) = *differences?.first()?;
    Some(format!(
        "no drone has its toolchain any more: the {part} was {planned} and is now {own}; what was received is published, \
         and the next run plans the rest"
    ))
}

/// Ended runs beyond those that are kept.
fn forget(swarm: &Swarm) -> Vec<Event> {
    let mut ended: BTreeMap<&Name, Vec<RunId>> = BTreeMap::new();
    for (&id, run) in swarm.runs.iter().filter(|(_, r)| r.state.is_over()) {
        ended.entry(&run.profile).or_default().push(id);
    }
    let old = |runs: Vec<RunId>| {
        let surplus = runs.len().saturating_sub(swarm.policy.keep_runs);
        // What is being installed on a base is of a run that must be there.
        let old = runs.into_iter().take(surplus).filter(move |run| follow::of_run(swarm, *run).is_none());
        old.map(|run| Event::RunForgotten { run })
    };
    ended.into_values().flat_map(old).collect()
}
