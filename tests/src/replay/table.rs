//! The results of many nights, for people and for programs.

use super::{
    case::{Case, Night},
    farm::{self, Outcome},
    fleet::Fleet,
    peers::{self, Peer},
    workload::Workload,
};
use anyhow::Result;
use serde::Serialize;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Core,
    Peer(Peer),
}

impl Policy {
    /// Its name in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Core => "build-swarm",
            Self::Peer(peer) => peer.word(),
        }
    }

    /// Runs a night.
    ///
    /// # Errors
    /// The core broke a rule.
    pub fn play(self, workload: &Workload, night: &Night) -> Result<Outcome> {
        match self {
            Self::Core => farm::play(workload, night),
            Self::Peer(peer) => Ok(peers::play(workload, night, peer)),
        }
    }
}

/// The results of one policy for one workload on one fleet, over all seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub workload: String,
    pub fleet: String,
    pub policy: &'static str,
    /// The lower bound in seconds.
    pub bound_s: f64,
    /// Makespan divided by lower bound: minimum of all seeds.
    pub least: f64,
    /// Makespan divided by lower bound: median of all seeds.
    pub median: f64,
    /// Makespan divided by lower bound: maximum of all seeds.
    pub worst: f64,
    /// Work done divided by work needed: maximum of all seeds.
    pub work: f64,
}

/// Runs all seeds of a case.
///
/// # Errors
/// As [`Policy::play`].
pub fn row(workload: &Workload, fleet: &Fleet, case: &Case, policy: Policy, seeds: u64) -> Result<Row> {
    let next = AtomicU64::new(0);
    let found = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|s| *s < seeds) {
                    let night = case.night(workload, fleet, seed);
                    let one = policy.play(workload, &night).map(|outcome| {
                        (outcome.makespan_ms / night.bound_ms, outcome.work_ratio, night.bound_ms)
                    });
                    found.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut found: Vec<(f64, f64, f64)> = found.into_iter().collect::<Result<_>>()?;
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ratio = |n: usize| found.get(n).map_or(0.0, |f| f.0);
    Ok(Row {
        workload: workload.name.clone(),
        fleet: fleet.name.clone(),
        policy: policy.word(),
        bound_s: found.first().map_or(0.0, |f| f.2 / 1000.0),
        least: ratio(0),
        median: ratio(found.len() / 2),
        worst: ratio(found.len().saturating_sub(1)),
        work: found.iter().map(|f| f.1).fold(0.0, f64::max),
    })
}

/// The geometric mean of the rows' medians.
#[must_use]
pub fn mean<'a>(rows: impl Iterator<Item = &'a Row>) -> f64 {
    let (mut logs, mut count) = (0.0, 0.0);
    for row in rows {
        logs += row.median.max(f64::MIN_POSITIVE).ln();
        count += 1.0;
    }
    if count == 0.0 { 0.0 } else { (logs / count).exp() }
}

/// The rows as a table, with the geometric mean of each policy on each fleet.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    let mut lines = vec![format!(
        "{:<20} {:<10} {:<20} {:>9} {:>7} {:>7} {:>7} {:>6}",
        "workload", "fleet", "policy", "bound s", "least", "median", "worst", "work"
    )];
    for r in rows {
        lines.push(format!(
            "{:<20} {:<10} {:<20} {:>9.0} {:>7.3} {:>7.3} {:>7.3} {:>6.2}",
            r.workload, r.fleet, r.policy, r.bound_s, r.least, r.median, r.worst, r.work
        ));
    }
    let mut shown: Vec<(&str, &str)> = rows.iter().map(|r| (r.fleet.as_str(), r.policy)).collect();
    shown.sort_unstable();
    shown.dedup();
    lines.push(String::new());
    for (fleet, policy) in shown {
        let of = rows.iter().filter(|r| r.fleet == fleet && r.policy == policy);
        lines.push(format!("geometric mean of medians  {fleet:<10} {policy:<20} {:>7.3}", mean(of)));
    }
    lines.push(String::new());
    lines.join("\n")
}
