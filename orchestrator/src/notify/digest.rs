//! What a run's end tells: one message with everything a person wants to know in the
//! morning, and the one thing to do.

use super::message::{Kind, Message};
use std::collections::BTreeMap;
use swarm_common::{
    id::{PackageId, RunId},
    state::*,
    time::TimeMs,
};
use swarm_core::{Swarm, attempt::Ending, package::Package, run::Run};

/// Packages named in one line.
const NAMED: usize = 6;

/// Kinds of error, and refusals of the resolver, that get a line of their own.
const LINES: usize = 8;

/// The message of a run that has ended; `None` if it is not known.
#[must_use]
pub fn digest(swarm: &Swarm, now: TimeMs, id: RunId) -> Option<Message> {
    let run = swarm.runs.get(&id)?;
    let severity = match run.state {
        RunState::Failed => Severity::Critical,
        RunState::Partial => Severity::Warning,
        _ => Severity::Info,
    };
    let took = span(run.ended_at.unwrap_or(now).since(run.started_at));
    let title = format!("{}: run {id} {} after {took}", run.profile, run.state);
    let mut lines = vec![counts(run)];
    if matches!(run.state, RunState::Failed | RunState::Cancelled) && !run.reason.is_empty() {
        lines.push(format!("Why: {}", run.reason));
    }
    let broken: Vec<(PackageId, &Package)> = run
        .packages
        .iter()
        .filter_map(|p| Some((*p, swarm.packages.get(p)?)))
        .filter(|(_, p)| p.state == PackageState::Quarantined)
        .collect();
    quarantined(swarm, &broken, &mut lines);
    refused(run, &mut lines);
    lines.push(next(run, id, &broken));
    Some(Message::new(now, Kind::Run, severity, &title, &lines))
}

/// `12 received (3 taken over), 2 quarantined, 5 blocked.`
fn counts(run: &Run) -> String {
    let part = |&state: &PackageState| {
        let n = run.count(state);
        let over = if state == PackageState::Received && run.reused > 0 {
            format!(" ({} taken over)", run.reused)
        } else {
            String::new()
        };
        (n > 0).then(|| format!("{n} {state}{over}"))
    };
    use PackageState::*;
    let order = [Received, Quarantined, Blocked, Cancelled, Needed, Delegated];
    let parts: Vec<String> = order.iter().filter_map(part).collect();
    if parts.is_empty() { "No packages.".to_owned() } else { format!("{}.", parts.join(", ")) }
}

/// The quarantined packages, by their first error.
fn quarantined(swarm: &Swarm, broken: &[(PackageId, &Package)], lines: &mut Vec<String>) {
    let mut alike: BTreeMap<String, Vec<&Package>> = BTreeMap::new();
    for (_, package) in broken {
        alike.entry(signature(swarm, package)).or_default().push(package);
    }
    let mut alike: Vec<(String, Vec<&Package>)> = alike.into_iter().collect();
    alike.sort_by_key(|(_, packages)| std::cmp::Reverse(packages.len()));
    if !alike.is_empty() {
        lines.push("Quarantined:".to_owned());
    }
    let more = alike.len().saturating_sub(LINES);
    for (signature, packages) in alike.into_iter().take(LINES) {
        let mut names: Vec<String> = packages.iter().take(NAMED).map(|p| p.title()).collect();
        if packages.len() > NAMED {
            names.push(format!("{} more", packages.len() - NAMED));
        }
        lines.push(format!("  {}: {signature}", names.join(", ")));
    }
    if more > 0 {
        lines.push(format!("  and {more} more kinds of error"));
    }
}

/// What the last failure of a package was, to tell like from like.
fn signature(swarm: &Swarm, package: &Package) -> String {
    let attempts = package.attempts.iter().rev().filter_map(|a| swarm.attempts.get(a));
    let mut failures = attempts.filter_map(|attempt| match &attempt.ending {
        Some(Ending::Failed(failure)) => Some(failure.signature.clone()),
        _ => None,
    });
    failures.next().unwrap_or_else(|| package.reason.clone())
}

fn refused(run: &Run, lines: &mut Vec<String>) {
    if !run.problems.is_empty() {
        lines.push("The resolver refused:".to_owned());
    }
    for problem in run.problems.iter().take(LINES) {
        let first = problem.message.lines().next().unwrap_or_default();
        lines.push(format!("  {}: {first}", problem.atoms.join(" ")));
        if let Some(suggestion) = &problem.suggestion {
            let offered: Vec<&str> = suggestion.lines().filter(|l| !l.trim().is_empty()).collect();
            lines.push(format!("    it suggests: {}", offered.join("; ")));
        }
    }
    if run.problems.len() > LINES {
        lines.push(format!("  and {} more", run.problems.len() - LINES));
    }
}

fn next(run: &Run, id: RunId, broken: &[(PackageId, &Package)]) -> String {
    let command = match (run.state, broken.first()) {
        (RunState::Failed, _) => format!("swarmctl run start {}", run.profile),
        (_, Some((package, _))) => format!("swarmctl why {package}"),
        _ if !run.problems.is_empty() => format!("swarmctl run show {id}"),
        _ => return "Nothing is to be done.".to_owned(),
    };
    format!("Next: {command}")
}

/// `45 s`, `3 min`, `2 h 10 min`.
fn span(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_people_say_them() {
        let spans: Vec<String> = [5_000, 300_000, 7_800_000].into_iter().map(span).collect();
        assert_eq!(spans, ["5 s", "5 min", "2 h 10 min"]);
    }
}
