//! Checks of a swarm that has come to rest.

use super::{farm::Farm, liar};
use anyhow::Result;
use std::collections::BTreeMap;
use swarm_common::{
    state::PackageState,
    wire::view::{AttemptView, AuditView, PackageRow, RunView, WhyView},
};

/// Violations, one line each.
pub(super) fn breaches(farm: &Farm, runs: &[RunView]) -> Result<Vec<String>> {
    let ground = farm.ground();
    let audit: AuditView = ground.ask(&["audit", "verify"])?;
    let mut breaches = audit.faults;
    for run in runs {
        let id = run.id.to_string();
        let rows: Vec<PackageRow> = ground.ask(&["queue", "--run", &id])?;
        for row in rows {
            let why: WhyView = ground.ask(&["why", &row.id.to_string()])?;
            let package = why.package;
            let by_liar = |a: &AttemptView| a.drone_name.as_str() == liar::NAME;
            let built = package.attempts.iter().filter(|a| a.outcome.as_deref() == Some("built")).count();
            let fine = match package.state {
                PackageState::Received => built <= 1 && !package.artifacts.is_empty(),
                PackageState::Quarantined | PackageState::Blocked => built == 0 && !package.reason.is_empty(),
                _ => false,
            };
            if package.attempts.iter().any(|a| by_liar(a) && a.outcome.as_deref() == Some("built")) {
                breaches.push(format!("{} of {id} was taken from the drone that lies", package.title));
            }
            let failed = || package.attempts.iter().filter(|a| a.failure.is_some());
            if package.state == PackageState::Quarantined && failed().count() > 0 && failed().all(by_liar) {
                breaches.push(format!("{} of {id} was quarantined on the word of one drone", package.title));
            }
            if !fine {
                breaches.push(format!(
                    "{} of {id} is {} ({}) after {built} accepted results",
                    package.title, package.state, package.reason
                ));
            }
        }
    }
    Ok(breaches)
}

/// Figures of the work done, one line each.
pub(super) fn figures(farm: &Farm, runs: &[RunView]) -> Result<Vec<String>> {
    let mut states: BTreeMap<PackageState, u64> = BTreeMap::new();
    for (&state, &n) in runs.iter().flat_map(|run| &run.counts) {
        *states.entry(state).or_default() += n;
    }
    let states: Vec<String> =
        states.iter().filter(|(_, n)| **n > 0).map(|(state, n)| format!("{n} {state}")).collect();
    let audit: AuditView = farm.ground().ask(&["audit", "verify"])?;
    Ok(vec![
        format!("packages: {}", states.join(", ")),
        format!("the journal's {} events and {} artifacts were checked", audit.events, audit.artifacts),
    ])
}
