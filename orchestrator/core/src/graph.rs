//! Who waits for whom, so that a received package starts its dependants at once.
//!
//! A package can be built when everything its build needs is *installable*: received,
//! and with it all that works only together with it at run time. Packages that need
//! each other at run time form a **bundle** and become installable together. Counting
//! what each bundle and each package still waits for makes a receipt cost no more than
//! the edges it touches.

use serde::{Deserialize, Serialize};

/// The bundles of one run. Packages are numbered by their position in the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Graph {
    bundles: Vec<Bundle>,
}

/// Packages that become installable together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Bundle {
    /// Members that are not received, plus bundles needed at run time that are not
    /// installable.
    unmet: u32,
    /// Bundles that need this one at run time.
    needed_by: Vec<u32>,
    /// Packages whose build needs this bundle.
    builders: Vec<u32>,
}

impl Graph {
    /// The graph of packages `0..build.len()`. `build[p]` and `runtime[p]` are what `p`
    /// needs, each list without repeats. Gives also each package's bundle and the number
    /// of bundles that its build waits for.
    #[must_use]
    pub fn new(build: &[Vec<u32>], runtime: &[Vec<u32>]) -> (Self, Vec<u32>, Vec<u32>) {
        let bundle_of = components(runtime);
        let count = bundle_of.iter().max().map_or(0, |&max| max as usize + 1);
        let mut bundles = vec![Bundle::default(); count];
        let mut unmet = vec![0; build.len()];
        let mut needs: Vec<Vec<u32>> = vec![Vec::new(); count];
        for (package, &bundle) in bundle_of.iter().enumerate() {
            bundles[bundle as usize].unmet += 1;
            for &dep in &runtime[package] {
                let other = bundle_of[dep as usize];
                if other != bundle {
                    needs[bundle as usize].push(other);
                }
            }
            let mut wanted: Vec<u32> = build[package].iter().map(|&d| bundle_of[d as usize]).collect();
            wanted.sort_unstable();
            wanted.dedup();
            unmet[package] = wanted.len() as u32;
            for other in wanted {
                bundles[other as usize].builders.push(package as u32);
            }
        }
        for (bundle, needed) in needs.iter_mut().enumerate() {
            needed.sort_unstable();
            needed.dedup();
            bundles[bundle].unmet += needed.len() as u32;
            for &other in needed.iter() {
                bundles[other as usize].needed_by.push(bundle as u32);
            }
        }
        (Self { bundles }, bundle_of, unmet)
    }

    /// Notes that one member of `bundle` was received. Gives the packages that wait for
    /// one bundle less than before; a package comes up once for each such bundle.
    pub fn receive(&mut self, bundle: u32) -> Vec<u32> {
        let mut relieved = Vec::new();
        let mut met = vec![bundle];
        while let Some(next) = met.pop() {
            let Some(bundle) = self.bundles.get_mut(next as usize) else { continue };
            bundle.unmet = bundle.unmet.saturating_sub(1);
            if bundle.unmet == 0 {
                relieved.extend(&bundle.builders);
                met.extend(&bundle.needed_by);
            }
        }
        relieved
    }

    /// Whether everything of `bundle` may be installed.
    #[must_use]
    pub fn is_installable(&self, bundle: u32) -> bool {
        self.bundles.get(bundle as usize).is_some_and(|b| b.unmet == 0)
    }

    /// For each package the length of the longest chain of work that waits for it,
    /// itself included (the upward rank of HEFT, Topcuoglu et al. 2002).
    #[must_use]
    pub fn ranks(&self, bundle_of: &[u32], work_ms: &[u64]) -> Vec<u64> {
        let packages = work_ms.len();
        let mut waiters: Vec<Vec<u32>> = bundle_of.iter().map(|&b| vec![packages as u32 + b]).collect();
        for bundle in &self.bundles {
            let bundles = bundle.needed_by.iter().map(|&b| packages as u32 + b);
            waiters.push(bundle.builders.iter().copied().chain(bundles).collect());
        }
        let order = components(&waiters);
        let mut nodes: Vec<usize> = (0..waiters.len()).collect();
        nodes.sort_by_key(|&node| order[node]);
        let mut rank = vec![0_u64; waiters.len()];
        for node in nodes {
            let longest = waiters[node].iter().map(|&w| rank[w as usize]).max().unwrap_or(0);
            rank[node] = longest + work_ms.get(node).copied().unwrap_or(0);
        }
        rank.truncate(packages);
        rank
    }
}

/// The strongly connected component of each node (Tarjan 1972, without recursion, as
/// plans are deep). Components are numbered so that every edge leads to the same or a
/// smaller number.
#[must_use]
pub fn components(edges: &[Vec<u32>]) -> Vec<u32> {
    const UNSEEN: u32 = u32::MAX;
    let mut index = vec![UNSEEN; edges.len()];
    let mut low = vec![0_u32; edges.len()];
    let mut component = vec![UNSEEN; edges.len()];
    let (mut stack, mut work) = (Vec::new(), Vec::new());
    let (mut next_index, mut next_component) = (0, 0);
    for root in 0..edges.len() {
        if index[root] != UNSEEN {
            continue;
        }
        work.push((root, 0));
        while let Some((node, edge)) = work.pop() {
            if edge == 0 {
                index[node] = next_index;
                low[node] = next_index;
                next_index += 1;
                stack.push(node);
            }
            if let Some(&to) = edges[node].get(edge) {
                work.push((node, edge + 1));
                let to = to as usize;
                if index[to] == UNSEEN {
                    work.push((to, 0));
                } else if component[to] == UNSEEN {
                    low[node] = low[node].min(index[to]);
                }
                continue;
            }
            if low[node] == index[node] {
                while let Some(member) = stack.pop() {
                    component[member] = next_component;
                    if member == node {
                        break;
                    }
                }
                next_component += 1;
            }
            if let Some(&(parent, _)) = work.last() {
                low[parent] = low[parent].min(low[node]);
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_numbered_against_the_edges() {
        // 0 -> 1 <-> 2 -> 3, 4 alone
        let found = components(&[vec![1], vec![2], vec![1, 3], vec![], vec![]]);
        assert_eq!(found[1], found[2]);
        assert!(found[0] > found[1] && found[2] > found[3]);
        assert_ne!(found[4], found[0]);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_does_not_overflow_the_stack() {
        let chain: Vec<Vec<u32>> = (0..100_000).map(|n| if n == 0 { vec![] } else { vec![n - 1] }).collect();
        let found = components(&chain);
        assert_eq!((found[0], found[99_999]), (0, 99_999));
    }

    #[test]
    fn a_build_waits_for_the_run_time_needs_of_its_tools_too() {
        // 0 is built with 1, which works only with 2.
        let (mut graph, bundle, unmet) = Graph::new(&[vec![1], vec![], vec![]], &[vec![], vec![2], vec![]]);
        assert_eq!(unmet, [1, 0, 0]);
        assert_eq!(graph.receive(bundle[1]), [] as [u32; 0]);
        assert!(!graph.is_installable(bundle[1]));
        assert_eq!(graph.receive(bundle[2]), [0]);
        assert!(graph.is_installable(bundle[1]));
    }

    #[test]
    fn packages_that_need_each_other_at_run_time_become_installable_together() {
        let (mut graph, bundle, unmet) =
            Graph::new(&[vec![], vec![], vec![0, 1]], &[vec![1], vec![0], vec![]]);
        assert_eq!(bundle[0], bundle[1]);
        assert_eq!(unmet, [0, 0, 1]);
        assert!(graph.receive(bundle[0]).is_empty());
        assert_eq!(graph.receive(bundle[1]), [2]);
    }

    #[test]
    fn the_rank_is_the_longest_chain_of_waiting_work() {
        // 2 is built with 1, 1 with 0; 3 stands alone.
        let build = [vec![], vec![0], vec![1], vec![]];
        let runtime = [vec![], vec![], vec![], vec![]];
        let (graph, bundle, _) = Graph::new(&build, &runtime);
        assert_eq!(graph.ranks(&bundle, &[1, 10, 100, 5]), [111, 110, 100, 5]);
    }
}
