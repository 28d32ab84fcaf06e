//! The message at the end of a run: a digest with everything that matters in the morning, and the next
//! action.

use crate::sink::message::{Kind, Message};
use swarm_common::{
    id::{PackageId, RunId},
    state::*,
    time::TimeMs,
    wire::concern::Action,
};
use swarm_core::{
    Swarm, channel,
    state::{Exclusion, Run},
    text::{self, span},
    view::{self, Alike},
};

/// Maximum number of packages named in one line.
const NAMED: usize = 6;

/// Maximum number of lines for kinds of errors, and for the resolver's refusals.
const LINES: usize = 8;

/// The message for an ended run; `None` if the run is unknown.
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
    if matches!(run.state, RunState::Failed | RunState::Cancelled)
        && let Some(why) = &run.reason
    {
        lines.push(format!("Why: {}", text::reason(why)));
    }
    let broken = view::alike(swarm, run);
    quarantined(swarm, &broken, &mut lines);
    let apart: Vec<(PackageId, &Exclusion)> =
        run.packages.iter().filter_map(|&p| Some((p, channel::exclusion(swarm, p)?))).collect();
    collide(&apart, &mut lines);
    refused(run, &mut lines);
    let todo =
        broken.iter().find_map(|alike| alike.packages.first().copied()).or(apart.first().map(|(id, _)| *id));
    lines.push(next(run, id, todo));
    Some(Message::new(now, Kind::Run, severity, &title, &lines))
}

/// The result in numbers: `12 received (3 taken over), 2 quarantined, 5 blocked.`
fn counts(run: &Run) -> String {
    let part = |&state: &PackageState| {
        let n = run.count(state);
        let over = if state == PackageState::Received && run.reused > 0 {
            format!(" ({} reused)", run.reused)
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

/// The quarantined packages, grouped by their first error.
fn quarantined(swarm: &Swarm, broken: &[Alike], lines: &mut Vec<String>) {
    if !broken.is_empty() {
        lines.push("Quarantined:".to_owned());
    }
    for alike in broken.iter().take(LINES) {
        let packages = alike.packages.iter().filter_map(|p| swarm.packages.get(p));
        let mut names: Vec<String> = packages.take(NAMED).map(|package| package.title()).collect();
        let count = alike.packages.len();
        if count > NAMED {
            names.push(format!("{} more", count - NAMED));
        }
        let (names, error) = (names.join(", "), &alike.error);
        lines.push(match alike.is_many() {
            true => format!("  {count} packages failed with the same error: {error} ({names})"),
            false => format!("  {names}: {error}"),
        });
    }
    if broken.len() > LINES {
        lines.push(format!("  and {} more errors", broken.len() - LINES));
    }
}

/// The packages that are not published because they collide with other packages.
fn collide(apart: &[(PackageId, &Exclusion)], lines: &mut Vec<String>) {
    if !apart.is_empty() {
        lines.push("Not published:".to_owned());
    }
    lines.extend(apart.iter().take(LINES).map(|(_, apart)| format!("  {}", apart.describe())));
    if apart.len() > LINES {
        lines.push(format!("  and {} more", apart.len() - LINES));
    }
}

fn refused(run: &Run, lines: &mut Vec<String>) {
    if !run.problems.is_empty() {
        lines.push("Rejected by the resolver:".to_owned());
    }
    for problem in run.problems.iter().take(LINES) {
        let first = problem.message.lines().next().unwrap_or_default();
        lines.push(format!("  {}: {first}", problem.atoms.join(" ")));
        if let Some(suggestion) = &problem.suggestion {
            let offered: Vec<&str> = suggestion.lines().filter(|l| !l.trim().is_empty()).collect();
            lines.push(format!("    suggested fix: {}", offered.join("; ")));
        }
    }
    if run.problems.len() > LINES {
        lines.push(format!("  and {} more", run.problems.len() - LINES));
    }
}

fn next(run: &Run, id: RunId, broken: Option<PackageId>) -> String {
    let action = match (run.state, broken) {
        (RunState::Failed, _) => Action::StartRun { profile: run.profile.clone() },
        (_, Some(package)) => Action::ShowPackage { package },
        _ if !run.problems.is_empty() => Action::ShowRun { run: id },
        _ => return "No action needed.".to_owned(),
    };
    format!("Next: {}", action.command())
}
