//! Other schedulers in the same night: simple simulations of their rules.
//!
//! Measured over HTTP, build-swarm-v3 took 2.48 times the bound; this model gives 2.32. The models are no
//! worse than the peers.

use super::{
    case::Night,
    farm::{Bar, Outcome},
    fleet::Machine,
    workload::Workload,
};
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// First in, first out, among the packages that can be built.
    Fifo,
    /// The package with the longest chain of waiting work goes to whichever drone asks first.
    CriticalPath,
    /// Hydra: the package with the most waiting packages goes to the fastest idle machine.
    Hydra,
    /// build-swarm-v3: first in, first out, ignoring dependencies; the drone builds missing ones along with a
    /// package.
    BuildSwarmV3,
}

impl Peer {
    pub const ALL: &'static [Self] = &[Self::Fifo, Self::CriticalPath, Self::Hydra, Self::BuildSwarmV3];

    /// Its name in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::CriticalPath => "critical-path",
            Self::Hydra => "hydra-like",
            Self::BuildSwarmV3 => "build-swarm-v3-like",
        }
    }
}

/// A drone that died is noticed after this long, as in the core.
const MISSED_AFTER_MS: f64 = 60_000.0;

struct Run<'a> {
    workload: &'a Workload,
    work: Vec<f64>,
    missing: Vec<usize>,
    done: Vec<bool>,
    /// The packages that may be assigned, by urgency and then position.
    ready: BTreeSet<(i64, usize)>,
    urgency: Vec<i64>,
    gated: bool,
}

/// Runs a night with a peer's rules.
#[must_use]
pub fn play(workload: &Workload, night: &Night, peer: Peer) -> Outcome {
    let work = workload.work_ms();
    let urgency = urgency(workload, night, peer);
    let gated = peer != Peer::BuildSwarmV3;
    let missing: Vec<usize> = workload.deps.iter().map(Vec::len).collect();
    let ready = (0..work.len()).filter(|&n| !gated || missing[n] == 0).map(|n| (urgency[n], n)).collect();
    let done = vec![false; work.len()];
    let mut run = Run { workload, work, missing, done, ready, urgency, gated };
    // (end, drone, packages in the order in which they are completed)
    let mut busy: Vec<(f64, usize, f64, Vec<usize>)> = Vec::new();
    let mut idle: Vec<usize> = (0..night.machines.len()).collect();
    let mut outcome = Outcome::default();
    let (mut now, mut left, mut worked) = (0.0_f64, run.work.len(), 0.0);
    while left > 0 {
        idle.retain(|&d| night.machines[d].gone_at > now);
        if peer == Peer::Hydra {
            idle.sort_by(|&a, &b| night.machines[b].speed.total_cmp(&night.machines[a].speed));
        }
        while let Some(&drone) = idle.first() {
            let Some((_, item)) = run.ready.pop_first() else { break };
            let items = run.with_missing(item);
            if items.is_empty() {
                continue;
            }
            idle.remove(0);
            let total: f64 = items.iter().map(|&i| run.work[i]).sum();
            worked += total;
            let machine = &night.machines[drone];
            busy.push((machine.ends_at(now + night.setup_ms * items.len() as f64, total), drone, now, items));
        }
        let next = (0..busy.len()).min_by(|&a, &b| {
            let when = |n: usize| noticed(&night.machines[busy[n].1], busy[n].0);
            when(a).total_cmp(&when(b))
        });
        let Some((end, drone, start, items)) = next.map(|n| busy.remove(n)) else { break };
        let machine = &night.machines[drone];
        now = noticed(machine, end).max(now);
        let alive = end < machine.gone_at;
        if let Some(&item) = items.last() {
            let end_ms = end.min(machine.gone_at);
            outcome.bars.push(Bar { drone, item, start_ms: start, end_ms, counted: alive });
        }
        if alive {
            idle.push(drone);
            left -= items.into_iter().filter(|&item| run.finish(item)).count();
        } else {
            run.ready.extend(items.last().map(|&item| (run.urgency[item], item)));
        }
    }
    outcome.makespan_ms = now;
    outcome.work_ratio = worked / run.work.iter().sum::<f64>().max(1.0);
    outcome
}

/// When the result of work that would end at `end` becomes known.
fn noticed(machine: &Machine, end: f64) -> f64 {
    if end < machine.gone_at { end } else { machine.gone_at + MISSED_AFTER_MS }
}

/// The urgency of each package. Smaller values come first.
fn urgency(workload: &Workload, night: &Night, peer: Peer) -> Vec<i64> {
    let count = workload.items.len();
    match peer {
        Peer::Fifo | Peer::BuildSwarmV3 => (0..count).map(|n| n as i64).collect(),
        Peer::Hydra => workload.dependants.iter().map(|d| -(d.len() as i64)).collect(),
        Peer::CriticalPath => {
            let unknown = vec![60_000.0; count];
            let predicted = night.history_ms.as_ref().unwrap_or(&unknown);
            let mut rank = vec![0.0_f64; count];
            for n in (0..count).rev() {
                let longest = workload.dependants[n].iter().map(|&d| rank[d]).fold(0.0, f64::max);
                rank[n] = predicted[n] + longest;
            }
            rank.into_iter().map(|r| -(r as i64)).collect()
        }
    }
}

impl Run<'_> {
    /// A package with all missing dependencies, in build order; empty if the package is already built.
    fn with_missing(&self, item: usize) -> Vec<usize> {
        if self.gated {
            return vec![item];
        }
        let mut wanted = BTreeSet::new();
        let mut open = vec![item];
        while let Some(next) = open.pop() {
            if !self.done[next] && wanted.insert(next) {
                open.extend(&self.workload.deps[next]);
            }
        }
        wanted.into_iter().collect()
    }

    /// Records a result. Returns false if it already existed.
    fn finish(&mut self, item: usize) -> bool {
        if std::mem::replace(&mut self.done[item], true) {
            return false;
        }
        for &dependant in &self.workload.dependants[item] {
            self.missing[dependant] -= 1;
            if self.gated && self.missing[dependant] == 0 {
                self.ready.insert((self.urgency[dependant], dependant));
            }
        }
        self.ready.remove(&(self.urgency[item], item));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{
        case::{Case, Knowledge, Mishap},
        fleet::Fleet,
        made::made,
    };

    #[test]
    fn nobody_beats_the_bound_and_gated_peers_build_everything_once() {
        let fleet: Fleet = "A".parse().unwrap();
        let case = Case { knowledge: Knowledge::Estimates(0.4), mishap: Mishap::None, setup_ms: 0.0 };
        let workload = made(300, 3).unwrap();
        let night = case.night(&workload, &fleet, 1);
        for &peer in Peer::ALL {
            let outcome = play(&workload, &night, peer);
            assert!(outcome.makespan_ms >= night.bound_ms * 0.999_999, "{peer:?}");
            let once = (outcome.work_ratio - 1.0).abs() < 1e-9;
            assert_eq!(once, peer != Peer::BuildSwarmV3, "{peer:?}: {}", outcome.work_ratio);
        }
    }

    #[test]
    fn a_lost_drone_s_work_is_done_by_others() {
        let case = Case { knowledge: Knowledge::None, mishap: Mishap::Loss, setup_ms: 0.0 };
        let workload = made(100, 3).unwrap();
        let night = case.night(&workload, &"2,1".parse().unwrap(), 1);
        for &peer in Peer::ALL {
            let outcome = play(&workload, &night, peer);
            assert!(outcome.makespan_ms > night.bound_ms, "{peer:?}");
        }
    }
}
