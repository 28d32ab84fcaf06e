//! The API view of all known attempts at a package, in both kept and forgotten runs.

use crate::state::{Attempt, Ending, PastAttempt, Swarm};
use std::{cmp::Reverse, collections::BTreeMap};
use swarm_common::{id::*, name::Name, wire::build::AttemptRow};

/// The attempts at the packages that `query` matches, newest first. A query is `p12`, `name` or
/// `category/name`, the latter two optionally with a version.
#[must_use]
pub fn history(swarm: &Swarm, query: &str) -> Vec<AttemptRow> {
    let package = query.parse().ok().and_then(|id: PackageId| swarm.packages.get(&id));
    let is_meant = |name: &str, version: &str| match package {
        Some(package) => package.targets.iter().any(|target| target.family() == name),
        None => is_called(query, name, version),
    };
    let past = swarm.past.iter().filter(|(name, past)| is_meant(name, &past.version));
    let mut rows: Vec<AttemptRow> = past.filter_map(|(name, past)| of_past(swarm, name, past)).collect();
    for package in swarm.packages.values() {
        let names: BTreeMap<&str, &str> =
            package.targets.iter().map(|target| (target.family(), target.version())).collect();
        let Some(run) = swarm.runs.get(&package.run) else { continue };
        for (name, version) in names.into_iter().filter(|(name, version)| is_meant(name, version)) {
            let attempts = package.attempts.iter().filter_map(|id| Some((*id, swarm.attempts.get(id)?)));
            rows.extend(
                attempts
                    .map(|(id, attempt)| of_kept((name, version), (package.run, &run.profile), id, attempt)),
            );
        }
    }
    rows.sort_by_key(|row| Reverse(row.attempt));
    rows
}

fn is_called(query: &str, name: &str, version: &str) -> bool {
    let short = name.rsplit_once('/').map_or(name, |(_, short)| short);
    [name, short].into_iter().any(|name| {
        let rest = query.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-') == Some(version))
    })
}

fn of_past(swarm: &Swarm, name: &str, past: &PastAttempt) -> Option<AttemptRow> {
    Some(AttemptRow {
        name: name.to_owned(),
        version: past.version.to_string(),
        attempt: past.id,
        run: past.run,
        profile: swarm.past.profile(past.run)?.clone(),
        drone: past.drone,
        drone_name: swarm.past.drone(past.drone)?.clone(),
        started_at: past.started_at,
        ended_at: Some(past.ended_at()),
        outcome: Some(past.outcome),
        class: past.class,
        error: past.error.as_deref().map(str::to_owned),
    })
}

fn of_kept(
    (name, version): (&str, &str),
    (run, profile): (RunId, &Name),
    id: AttemptId,
    attempt: &Attempt,
) -> AttemptRow {
    let ending = attempt.ending.as_ref();
    AttemptRow {
        name: name.to_owned(),
        version: version.to_owned(),
        attempt: id,
        run,
        profile: profile.clone(),
        drone: attempt.drone,
        drone_name: attempt.drone_name.clone(),
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        outcome: ending.map(|ending| ending.outcome()),
        class: ending.and_then(|ending| ending.class()),
        error: ending.and_then(Ending::headline),
    }
}
