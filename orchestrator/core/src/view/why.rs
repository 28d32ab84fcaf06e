//! Which package a person means, and everything that explains where it stands.

use super::{anew, package::package, refused};
use crate::{calendar, channel, explain, package::Package, schedule, swarm::Swarm};
use swarm_common::{id::*, state::*, time::TimeMs, wire::view::WhyView};

/// Candidates that are listed when a name is ambiguous.
const LISTED: usize = 10;

/// Why a query means no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nothing has that name.
    #[error(
        "no package of a kept run is called `{0}`: give its id, name, category/name or category/name-version"
    )]
    Unknown(String),
    /// It is in no plan, because the resolver refused it.
    #[error("{0}")]
    Refused(String),
    /// Several have.
    #[error("`{query}` means several packages: {}; name one of them", candidates.join(", "))]
    Ambiguous {
        /// What was asked.
        query: String,
        /// What it may mean: titles with ids.
        candidates: Vec<String>,
    },
}

/// The package that a person means by `p12`, `name`, `category/name` or
/// `category/name-version`. The newest run that has one counts.
///
/// # Errors
/// None is called so, or several are.
pub fn find(swarm: &Swarm, query: &str) -> Result<PackageId, FindError> {
    let shown: String = query.chars().take(80).collect();
    if let Some(id) = query.parse().ok().filter(|id| swarm.packages.contains_key(id)) {
        return Ok(id);
    }
    let is_meant = |package: &Package| {
        package.targets.iter().any(|t| {
            let cpv = &t.cpv;
            [cpv.as_str(), cpv.cp(), cpv.pn(), cpv.pf()].contains(&query)
        })
    };
    for run in swarm.runs.values().rev() {
        let found: Vec<(PackageId, &Package)> = run
            .packages
            .iter()
            .filter_map(|id| Some((*id, swarm.packages.get(id)?)))
            .filter(|(_, p)| is_meant(p))
            .collect();
        match found.as_slice() {
            [] => {}
            [(id, _)] => return Ok(*id),
            several => {
                let mut candidates: Vec<String> =
                    several.iter().take(LISTED).map(|(id, p)| format!("{} ({id})", p.title())).collect();
                if several.len() > LISTED {
                    candidates.push(format!("{} more", several.len() - LISTED));
                }
                return Err(FindError::Ambiguous { query: shown, candidates });
            }
        }
    }
    Err(match refused::of_query(swarm, query) {
        Some(told) => FindError::Refused(told),
        None => FindError::Unknown(shown),
    })
}

/// What stands, what the package waits for, and how that ends.
#[must_use]
pub fn why(swarm: &Swarm, now: TimeMs, id: PackageId) -> Option<WhyView> {
    let record = swarm.packages.get(&id)?;
    let package = package(swarm, now, id)?;
    let mut lines =
        vec![format!("{} is {} in {} of {}.", package.title, package.state, package.run, package.profile)];
    if !package.reason.is_empty() {
        lines.push(sentence(&package.reason));
    }
    lines.extend(anew::told(swarm, record));
    for attempt in &package.attempts {
        let ended = attempt.outcome.as_deref().unwrap_or("under way");
        let mut line = format!("Attempt {} on {}: {ended}", attempt.id, attempt.drone_name);
        if let Some(failure) = &attempt.failure {
            let first = failure.message.lines().next().unwrap_or_default();
            line.push_str(&format!(" while {}: {first}", failure.phase));
        }
        lines.push(sentence(&line));
    }
    for line in causes(swarm, now, id) {
        lines.push(line);
    }
    match package.dependants {
        0 => {}
        1 => lines.push("1 package waits for it.".into()),
        n => lines.push(format!("{n} packages wait for it.")),
    }
    lines.push(ending(swarm, now, id, record));
    lines.extend(refused::since(swarm, record));
    Some(WhyView { package, lines })
}

/// What a blocked package waits for, each with its own reason.
fn causes(swarm: &Swarm, now: TimeMs, id: PackageId) -> Vec<String> {
    if swarm.packages.get(&id).is_none_or(|p| p.state != PackageState::Blocked) {
        return Vec::new();
    }
    let stuck = explain::stuck_on(swarm, id);
    let causes = if stuck.is_empty() { explain::blocked_on(swarm, id) } else { stuck };
    causes
        .iter()
        .take(LISTED)
        .filter_map(|cause| {
            let package = swarm.packages.get(cause)?;
            let reason = explain::reason(swarm, now, *cause);
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            Some(sentence(&format!(
                "It waits for {} ({cause}), which is {}{reason}",
                package.title(),
                package.state
            )))
        })
        .collect()
}

/// How the present state ends.
fn ending(swarm: &Swarm, now: TimeMs, id: PackageId, package: &Package) -> String {
    match package.state {
        PackageState::Received => stored(swarm, id, package),
        PackageState::Quarantined => quarantined(swarm, now, id, package),
        PackageState::Cancelled => "A new run plans it again.".into(),
        PackageState::Delegated => {
            "It is received when the attempt delivers; if the attempt is lost or fails, it is tried again."
                .into()
        }
        PackageState::Needed if package.not_before > now => {
            "It is tried again by itself when its waiting time is over.".into()
        }
        PackageState::Needed => match schedule::outlook(swarm, now, id) {
            Some((drone, start)) => {
                let name = swarm.drones.get(&drone).map(|d| d.name.as_str()).unwrap_or_default();
                match start.since(now) / 1000 {
                    0 => format!("It goes to {name}, which will finish it soonest, when that asks."),
                    s => format!(
                        "It goes to {name} in about {s} s, which will finish it soonest all the same."
                    ),
                }
            }
            None => "It is given to the next drone that will finish it soonest.".into(),
        },
        PackageState::Blocked => match explain::stuck_on(swarm, id).first() {
            Some(cause) => format!("It goes on when a person has mended {cause}: `swarmctl why {cause}`."),
            None => "It is needed as soon as they are received.".into(),
        },
    }
}

/// Where what was received is to be had.
fn stored(swarm: &Swarm, id: PackageId, package: &Package) -> String {
    let run = package.run;
    match swarm.runs.get(&run).map(|r| (r.state, r.to_publish())) {
        Some((RunState::Building, _)) => {
            return format!(
                "It is stored. What {run} has received is published when it ends, or when nothing of it can go on."
            );
        }
        Some((RunState::Cancelled, None)) => {
            return format!(
                "It is stored and not published, as {run} was cancelled; a new run takes it over."
            );
        }
        _ => {}
    }
    let missing = channel::lacks(swarm, id);
    match missing.first().and_then(|first| Some((first, swarm.packages.get(first)?))) {
        Some((first, needed)) => format!(
            "It is stored, and cannot be installed: at run time it needs {} ({first}), which is {}: \
             `swarmctl why {first}`. What was published before stays.",
            needed.title(),
            needed.state
        ),
        None => match channel::apart(swarm, id)
            .map(|apart| (id, apart))
            .or_else(|| channel::needs_apart(swarm, id))
        {
            None => "Nothing is left to do: it is stored and published.".into(),
            Some((first, apart)) if first == id => format!(
                "It is stored. {}, and Portage merges no package over the files of another. Leave one of the \
                 two out, have it not install them (a USE flag, a patch), or have one block the other.",
                apart.words()
            ),
            Some((first, apart)) => format!(
                "It is stored, and cannot be installed: at run time it needs {} ({first}), which is not \
                 published: `swarmctl why {first}`. What was published before stays.",
                apart.cpv
            ),
        },
    }
}

/// How a quarantine ends.
fn quarantined(swarm: &Swarm, now: TimeMs, id: PackageId, package: &Package) -> String {
    let logs = if package.attempts.is_empty() {
        String::new()
    } else {
        format!("`swarmctl logs {id}` shows its log, ")
    };
    let again = format!("{logs}`swarmctl retry {id}` tries it again.");
    match swarm.quarantine.of(swarm, id) {
        None => format!("It stays so until the next run or a person: {again}"),
        Some(broken) => {
            let probe = broken.retried_at(swarm).map(|at| match at.since(now) {
                0 => ", which the next run does anyway".to_owned(),
                ms => format!(", which a run does anyway in {}", calendar::span(ms)),
            });
            let again = again.trim_end_matches('.');
            format!(
                "Runs leave it alone until something that it is built from changes: {again}{}.",
                probe.unwrap_or_default()
            )
        }
    }
}

/// `text` with a capital first letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let rest = chars.as_str().trim_end_matches('.');
    format!("{first}{rest}.")
}
