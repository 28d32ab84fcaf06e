//! Finds the package that a query names, and explains its state.

use super::{package::package, rebuild_reasons, refused};
use crate::{
    assign,
    channel::{self, PassedOver},
    eligibility, explain, quarantine,
    state::{Package, Swarm},
    text::{self, sentence},
};
use std::collections::BTreeSet;
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::{
        concern::Action,
        view::{WhyLine, WhyView},
    },
};

/// Number of candidates listed for an ambiguous name.
const LISTED: usize = 10;

/// Why a query does not name one package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    #[error("no package `{0}` in any kept run: give an ID, name, category/name or category/name-version")]
    Unknown(String),
    /// The package is in no plan, because the resolver refused it.
    #[error("{0}")]
    Refused(String),
    /// Several packages have that name.
    #[error("`{query}` is ambiguous: {}; give an ID or the profile", candidates.join(", "))]
    Ambiguous {
        query: String,
        /// The titles and ids of the possible packages.
        candidates: Vec<String>,
    },
}

/// The package named by `p12`, `name`, `category/name` or `category/name-version`, optionally only in
/// one profile. The newest run of each profile that has a match counts.
///
/// # Errors
/// No package matches, or several do.
pub fn find(swarm: &Swarm, query: &str, profile: Option<&Name>) -> Result<PackageId, FindError> {
    let shown: String = query.chars().take(80).collect();
    if let Some(id) = query.parse().ok().filter(|id| swarm.packages.contains_key(id)) {
        return Ok(id);
    }
    let mut searched = BTreeSet::new();
    let mut found = Vec::new();
    for run in swarm.runs.values().rev().filter(|run| profile.is_none_or(|only| *only == run.profile)) {
        if searched.contains(&run.profile) {
            continue;
        }
        let packages = run.packages.iter().filter_map(|id| swarm.packages.get_key_value(id));
        let before = found.len();
        found.extend(packages.filter(|(_, p)| p.targets.iter().any(|target| target.is_meant_by(query))));
        if found.len() > before {
            searched.insert(&run.profile);
        }
    }
    if let [(id, _)] = found.as_slice() {
        return Ok(**id);
    }
    if found.is_empty() {
        return Err(match refused::of_query(swarm, query) {
            Some(refusal) => FindError::Refused(refusal),
            None => FindError::Unknown(shown),
        });
    }
    let place = |run| match swarm.runs.get(run) {
        Some(run) if searched.len() > 1 => format!(", {}", run.profile),
        _ => String::new(),
    };
    let mut candidates: Vec<String> =
        found.iter().take(LISTED).map(|(id, p)| format!("{} ({id}{})", p.title(), place(&p.run))).collect();
    if found.len() > LISTED {
        candidates.push(format!("{} more", found.len() - LISTED));
    }
    Err(FindError::Ambiguous { query: shown, candidates })
}

/// Explains a package: its state, what it waits for, and how that ends.
#[must_use]
pub fn why(swarm: &Swarm, now: TimeMs, id: PackageId) -> Option<WhyView> {
    let record = swarm.packages.get(&id)?;
    let package = package(swarm, now, id)?;
    let mut story = Vec::new();
    let mut tell = |about, text| story.push(WhyLine { about, text });
    let stands = format!("{} is {} in {} of {}.", package.title, package.state, package.run, package.profile);
    tell(WhyTopic::State, stands);
    if !package.reason.is_empty() {
        tell(WhyTopic::Reason, sentence(&package.reason));
    }
    rebuild_reasons::describe(swarm, record).into_iter().for_each(|line| tell(WhyTopic::Inputs, line));
    for attempt in &package.attempts {
        let ended = attempt.outcome.as_deref().unwrap_or("under way");
        let mut line = format!("Attempt {} on {}: {ended}", attempt.id, attempt.drone_name);
        if let Some(failure) = &attempt.failure {
            let first = failure.message.lines().next().unwrap_or_default();
            line.push_str(&format!(" while {}: {first}", failure.phase));
        }
        tell(WhyTopic::Attempt, sentence(&line));
    }
    causes(swarm, now, id).into_iter().for_each(|line| tell(WhyTopic::Cause, line));
    match package.dependants {
        0 => {}
        1 => tell(WhyTopic::Dependants, "1 package waits for it.".into()),
        n => tell(WhyTopic::Dependants, format!("{n} packages wait for it.")),
    }
    tell(WhyTopic::Ending, ending(swarm, now, id, record));
    refused::since(swarm, record).into_iter().for_each(|line| tell(WhyTopic::NewerRun, line));
    let lines = story.iter().map(|line| line.text.clone()).collect();
    Some(WhyView { package, lines, story })
}

/// The packages that a blocked package waits for, each with its reason.
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

/// How the package's current state ends.
fn ending(swarm: &Swarm, now: TimeMs, id: PackageId, package: &Package) -> String {
    match package.state {
        PackageState::Received => stored(swarm, id, package),
        PackageState::Quarantined => quarantined(swarm, now, id, package),
        PackageState::Cancelled => "A new run plans it again.".into(),
        PackageState::Delegated => {
            "It is received when the attempt delivers; if the attempt is lost or fails, it is retried.".into()
        }
        PackageState::Needed if package.not_before > now => {
            "It is retried automatically after its delay.".into()
        }
        PackageState::Needed
            if swarm.runs.get(&package.run).is_some_and(|run| eligibility::missing_capability(swarm, run, package).is_some()) =>
        {
            "It is built when a drone that can build it is there. Once nothing else of the run can go on, the run \
             ends without it, and the next run tries it again."
                .into()
        }
        PackageState::Needed => match assign::outlook(swarm, now, id) {
            Some((drone, start)) => {
                let name = swarm.drones.get(&drone).map(|d| d.name.as_str()).unwrap_or_default();
                match start.since(now) / 1000 {
                    0 => format!("Next on {name}, when it asks for work."),
                    s => format!("Next on {name}, in about {s} s."),
                }
            }
            None => match explain::twin(swarm, package) {
                Some((twin, _)) => format!("It is reused when {twin} is received."),
                None => "It is assigned to the drone that will finish it soonest.".into(),
            },
        },
        PackageState::Blocked => match explain::stuck_on(swarm, id).first() {
            Some(&cause) => format!("It stays blocked until {cause} is fixed: `{}`.", show(cause)),
            None => "It can be built once they are received.".into(),
        },
    }
}

/// Where the received artifacts are available.
fn stored(swarm: &Swarm, id: PackageId, package: &Package) -> String {
    let run = package.run;
    if let Some(record) = swarm.runs.get(&run).filter(|record| record.on_trial) {
        let profile = &record.profile;
        return if record.state.is_over() {
            format!("It is stored but not published, as {profile} did not switch to the content of {run}.")
        } else {
            format!("It is stored, and published if {profile} switches to the content of {run}.")
        };
    }
    match swarm.runs.get(&run).map(|r| (r.state, r.to_publish())) {
        Some((RunState::Building, _)) => {
            return format!(
                "It is stored. Received packages of {run} are published when the run ends or stalls."
            );
        }
        Some((RunState::Cancelled, None)) => {
            return format!("It is stored but not published, as {run} was cancelled; a new run reuses it.");
        }
        _ => {}
    }
    let missing = channel::lacks(swarm, id);
    match missing.first().and_then(|first| Some((first, swarm.packages.get(first)?))) {
        Some((first, needed)) => format!(
            "It is stored but cannot be installed: at run time it needs {} ({first}), which is {}: `{}`. \
             The previously published version stays.",
            needed.title(),
            needed.state,
            show(*first)
        ),
        None => match channel::exclusion(swarm, id)
            .map(|apart| (id, apart))
            .or_else(|| channel::needs_excluded(swarm, id))
        {
            None => match channel::waits(swarm, id) {
                None => match channel::passed_over(swarm, id) {
                    None => "It is stored and published; no action needed.".into(),
                    Some(over) => passed_over(&over),
                },
                Some((profile, generation)) => format!(
                    "It is built and waits in staging, in generation {generation}: publish it with `{}`.",
                    Action::Promote { profile: profile.clone() }.command()
                ),
            },
            Some((first, apart)) if first == id && apart.conflict.is_of_sonames() => {
                format!(
                    "It is stored. {}. The next run rebuilds the package that needs it.",
                    apart.describe()
                )
            }
            Some((first, apart)) if first == id => format!(
                "It is stored. {}, and Portage does not overwrite files of another package. Drop one of \
                 the two, keep it from installing them (a USE flag, a patch), or make one block the other.",
                apart.describe()
            ),
            Some((first, apart)) => format!(
                "It is stored but cannot be installed: at run time it needs {} ({first}), which is not \
                 published: `{}`. The previously published version stays.",
                apart.cpv,
                show(first)
            ),
        },
    }
}

/// Why a received package is not published although it could be.
fn passed_over(PassedOver { profile, generation, returns }: &PassedOver<'_>) -> String {
    let without = format!("which is published, does not have it, as {profile}");
    if *returns {
        let promote = Action::Promote { profile: (*profile).clone() }.command();
        return format!(
            "It is stored but not published: generation {generation}, {without} was rolled back. Publish it again \
             with `{promote}`."
        );
    }
    format!(
        "It is stored but not published: generation {generation}, {without} has another version of it or no longer \
         needs it."
    )
}

/// How a quarantine ends.
fn quarantined(swarm: &Swarm, now: TimeMs, id: PackageId, package: &Package) -> String {
    let logs = if package.attempts.is_empty() {
        String::new()
    } else {
        format!("see its log with `{}`, ", Action::ShowLog { package: id }.command())
    };
    let again = format!("{logs}retry it with `{}`.", Action::RetryPackage { package: id }.command());
    match quarantine::of(swarm, id) {
        None => format!("It stays quarantined until the next run or a manual retry: {again}"),
        Some(broken) => {
            let probe = quarantine::retried_at(swarm, broken).map(|at| match at.since(now) {
                0 => "; the next run retries it anyway".to_owned(),
                ms => format!("; runs retry it anyway in {}", text::span(ms)),
            });
            let again = again.trim_end_matches('.');
            format!("Runs skip it until one of its inputs changes: {again}{}.", probe.unwrap_or_default())
        }
    }
}

/// The command that shows more about a package.
fn show(package: PackageId) -> String {
    Action::ShowPackage { package }.command()
}
