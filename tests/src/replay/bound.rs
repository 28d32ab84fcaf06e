//! A lower bound for all schedules.

use super::{fleet::Fleet, workload::Workload};

/// The lower bound of the makespan in milliseconds: the maximum of (1) all work on all drones together, (2)
/// the longest chain on the fastest drone, and (3) for each package, its transitive dependencies on all
/// drones, itself on the fastest drone, and its transitive dependants on all drones.
///
/// `setup_ms` is the overhead of every package on any drone.
#[must_use]
pub fn lower_bound(workload: &Workload, fleet: &Fleet, setup_ms: f64) -> f64 {
    let work = workload.work_ms();
    let fast = fleet.speeds[fleet.fastest()];
    let slow = fleet.speeds.iter().copied().fold(f64::INFINITY, f64::min);
    // The overhead occupies a drone for work of `setup_ms` times its speed, which is least on the slowest
    // drone.
    let cost: Vec<f64> = work.iter().map(|w| w + setup_ms * slow).collect();
    let total = fleet.total();
    let all = cost.iter().sum::<f64>() / total;
    let mut chain = vec![0.0_f64; work.len()];
    for n in 0..work.len() {
        let before = workload.deps[n].iter().map(|&d| chain[d]).fold(0.0, f64::max);
        chain[n] = before + work[n] / fast + setup_ms;
    }
    let longest = chain.iter().copied().fold(0.0, f64::max);
    let before = closure_cost(&workload.deps, &cost, false);
    let after = closure_cost(&workload.dependants, &cost, true);
    let around = (0..work.len()).map(|n| (before[n] + after[n]) / total + work[n] / fast + setup_ms);
    around.fold(all.max(longest), f64::max)
}

/// For each package, the total cost of all packages reachable from it, without itself.
fn closure_cost(edges: &[Vec<usize>], cost: &[f64], backwards: bool) -> Vec<f64> {
    let words = cost.len().div_ceil(64);
    let mut reach: Vec<Vec<u64>> = vec![Vec::new(); cost.len()];
    let mut sums = vec![0.0; cost.len()];
    let order: Vec<usize> =
        if backwards { (0..cost.len()).rev().collect() } else { (0..cost.len()).collect() };
    for n in order {
        let mut own = vec![0_u64; words];
        for &to in &edges[n] {
            own[to / 64] |= 1 << (to % 64);
            for (word, other) in own.iter_mut().zip(&reach[to]) {
                *word |= other;
            }
        }
        let set = |m: &usize| own[m / 64] & (1 << (m % 64)) != 0;
        sums[n] = (0..cost.len()).filter(set).map(|m| cost[m]).sum();
        reach[n] = own;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::workload::Item;

    fn workload(items: &[(&str, &[&str], f64)]) -> Workload {
        let item = |&(name, deps, seconds): &(&str, &[&str], f64)| Item {
            name: name.into(),
            version: "1".into(),
            deps: deps.iter().map(|d| (*d).to_owned()).collect(),
            seconds,
        };
        Workload::new("w".into(), items.iter().map(item).collect()).unwrap()
    }

    #[test]
    fn the_bound_is_the_largest_of_work_chain_and_neck() {
        let bound = |w: &Workload, fleet: &str| lower_bound(w, &fleet.parse().unwrap(), 0.0) / 1000.0;
        let even = workload(&[("a", &[], 10.0), ("b", &[], 10.0), ("c", &[], 10.0)]);
        assert_eq!(bound(&even, "1,2"), 10.0);
        let chain = workload(&[("a", &[], 10.0), ("b", &["a"], 10.0)]);
        assert_eq!(bound(&chain, "4,4"), 5.0);
        // Two packages before and two after a bottleneck.
        let neck = workload(&[
            ("a", &[], 10.0),
            ("b", &[], 10.0),
            ("n", &["a", "b"], 10.0),
            ("c", &["n"], 10.0),
            ("d", &["n"], 10.0),
        ]);
        assert_eq!(bound(&neck, "1,1"), 30.0);
        assert_eq!(lower_bound(&chain, &"4,4".parse().unwrap(), 1000.0), 7000.0);
    }
}
