//! The dependency graph of a run: which packages become ready when another is received.
//!
//! A package can be built when everything that its build needs is *installable*: received, together with
//! everything that it needs at run time. Packages that need each other at run time form a **bundle** and
//! become installable together. Each bundle and each package counts what it still waits for, so the cost of
//! receiving a package is proportional to the edges it touches.

use crate::shared::Shared;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The bundles of one run. Packages are numbered by their position in the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Lists")]
pub struct Graph {
    tasks: Vec<Task>,
    bundles: Vec<Bundle>,
    /// Number of dependencies.
    #[serde(skip)]
    needs: usize,
}

/// What is stored of a graph.
#[derive(Deserialize)]
struct Lists {
    tasks: Vec<Task>,
    bundles: Vec<Bundle>,
}

impl From<Lists> for Graph {
    fn from(Lists { tasks, bundles }: Lists) -> Self {
        let needs = tasks.iter().map(|task| task.needs.len());
        let needs = needs.chain(bundles.iter().map(|bundle| bundle.needs.len())).sum();
        Self { tasks, bundles, needs }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Task {
    /// The bundle that the package is a member of.
    bundle: u32,
    /// Bundles that its build needs.
    needs: Shared<Vec<u32>>,
    /// Position in topological order: a node comes before everything that it waits for.
    order: u32,
    work_ms: u64,
    rank_ms: u64,
}

/// Packages that become installable together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Bundle {
    members: Shared<Vec<u32>>,
    /// Number of members not yet received, plus bundles needed at run time that are not
    /// installable.
    unmet: u32,
    /// Bundles that this one needs at run time.
    needs: Shared<Vec<u32>>,
    /// Bundles that need this one at run time.
    needed_by: Shared<Vec<u32>>,
    /// Packages whose build needs this bundle.
    builders: Shared<Vec<u32>>,
    /// Position in the same order as [`Task::order`].
    order: u32,
    /// Length of the longest chain of work that waits for the bundle, in milliseconds.
    rank_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Task(u32),
    Bundle(u32),
}

/// Cached results of [`Graph::ready_at`]: when bundles will be installable, `None` if unknown.
#[derive(Debug, Default)]
pub struct ReadyTimes(BTreeMap<u32, Option<u64>>);

/// The depth to which [`Graph::ready_at`] follows chains of bundles.
const MAX_READY_DEPTH: u32 = 32;

impl Graph {
    /// Builds the graph of packages `0..build.len()`. `build[p]` and `runtime[p]` list what `p`
    /// needs, without duplicates. Also returns each package's bundle and the number of bundles that
    /// its build waits for.
    #[must_use]
    pub fn new(build: &[Vec<u32>], runtime: &[Vec<u32>]) -> (Self, Vec<u32>, Vec<u32>) {
        let bundle_of = components(runtime);
        let count = bundle_of.iter().max().map_or(0, |&max| max as usize + 1);
        let lists = || vec![Vec::new(); count];
        let (mut members, mut needs, mut needed_by, mut builders) = (lists(), lists(), lists(), lists());
        let mut tasks = Vec::with_capacity(build.len());
        for (package, &bundle) in bundle_of.iter().enumerate() {
            members[bundle as usize].push(package as u32);
            let others = runtime[package].iter().map(|&dep| bundle_of[dep as usize]);
            needs[bundle as usize].extend(others.filter(|&other| other != bundle));
            let mut tools: Vec<u32> = build[package].iter().map(|&d| bundle_of[d as usize]).collect();
            tools.sort_unstable();
            tools.dedup();
            tools.iter().for_each(|&other| builders[other as usize].push(package as u32));
            tasks.push(Task { bundle, needs: tools.into(), ..Task::default() });
        }
        for (bundle, needs) in needs.iter_mut().enumerate() {
            needs.sort_unstable();
            needs.dedup();
            needs.iter().for_each(|&other: &u32| needed_by[other as usize].push(bundle as u32));
        }
        let lists = members.into_iter().zip(needs).zip(needed_by).zip(builders);
        let bundles = lists.map(|(((members, needs), needed_by), builders)| Bundle {
            unmet: (members.len() + needs.len()) as u32,
            members: members.into(),
            needs: needs.into(),
            needed_by: needed_by.into(),
            builders: builders.into(),
            ..Bundle::default()
        });
        let mut graph = Self::from(Lists { tasks, bundles: bundles.collect() });
        graph.put_in_order();
        let unmet = graph.tasks.iter().map(|t| t.needs.len() as u32).collect();
        (graph, bundle_of, unmet)
    }

    /// Shares the lists of `other`, a graph of the same plan, to save memory.
    pub fn share(&mut self, other: &Self) {
        for (own, theirs) in self.tasks.iter_mut().zip(&other.tasks) {
            own.needs.merge(&theirs.needs);
        }
        for (own, theirs) in self.bundles.iter_mut().zip(&other.bundles) {
            own.members.merge(&theirs.members);
            own.needs.merge(&theirs.needs);
            own.needed_by.merge(&theirs.needed_by);
            own.builders.merge(&theirs.builders);
        }
    }

    /// Numbers tasks and bundles so that each comes before what it waits for.
    fn put_in_order(&mut self) {
        let tasks = self.tasks.len();
        let bundle = |b: &u32| tasks as u32 + b;
        let mut waiters: Vec<Vec<u32>> = self.tasks.iter().map(|t| vec![bundle(&t.bundle)]).collect();
        for b in &self.bundles {
            waiters.push(b.builders.iter().copied().chain(b.needed_by.iter().map(bundle)).collect());
        }
        let order = components(&waiters);
        for (task, &order) in self.tasks.iter_mut().zip(&order) {
            task.order = order;
        }
        for (bundle, &order) in self.bundles.iter_mut().zip(&order[tasks..]) {
            bundle.order = order;
        }
    }

    /// Number of dependencies.
    #[must_use]
    pub const fn needs(&self) -> usize {
        self.needs
    }

    /// Records that one member of `bundle` was received. Returns the packages that now wait for one
    /// bundle less; a package occurs once for each such bundle.
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

    /// Whether all members of `bundle` can be installed.
    #[must_use]
    pub fn is_installable(&self, bundle: u32) -> bool {
        self.bundles.get(bundle as usize).is_some_and(|b| b.unmet == 0)
    }

    /// When everything that the build of `task` waits for will be available. `None` if that cannot be
    /// predicted. `end` returns when a package will be available. `known` caches the results for bundles, for
    /// use with the next tasks in rank order.
    #[must_use]
    pub fn ready_at(
        &self,
        task: u32,
        end: &dyn Fn(u32) -> Option<u64>,
        known: &mut ReadyTimes,
    ) -> Option<u64> {
        let needs = &self.tasks.get(task as usize)?.needs;
        let open = needs.iter().filter(|&&b| !self.is_installable(b));
        open.clone().try_fold(0, |latest, &b| Some(self.installable_at(b, end, known, 0)?.max(latest)))
    }

    fn installable_at(
        &self,
        bundle: u32,
        end: &dyn Fn(u32) -> Option<u64>,
        known: &mut ReadyTimes,
        depth: u32,
    ) -> Option<u64> {
        let record = self.bundles.get(bundle as usize).filter(|_| depth < MAX_READY_DEPTH)?;
        if record.unmet == 0 {
            return Some(0);
        }
        if let Some(&found) = known.0.get(&bundle) {
            return found;
        }
        let members = record.members.iter().try_fold(0, |latest, &m| Some(end(m)?.max(latest)));
        let found = record.needs.iter().try_fold(members, |latest, &other| {
            let at = self.installable_at(other, end, known, depth + 1)?;
            Some(latest.map(|latest: u64| latest.max(at)))
        });
        known.0.insert(bundle, found.flatten());
        found.flatten()
    }

    /// Length of the longest chain of work that waits for a package, including its own, in
    /// milliseconds (the upward rank of HEFT, Topcuoglu et al. 2002).
    #[must_use]
    pub fn rank_ms(&self, task: u32) -> u64 {
        self.tasks.get(task as usize).map_or(0, |t| t.rank_ms)
    }

    /// Sets the work of packages, in milliseconds, and returns the packages whose rank changed.
    /// Only nodes that depend on a changed rank are visited.
    pub fn set_work(&mut self, work_ms: impl IntoIterator<Item = (u32, u64)>) -> Vec<u32> {
        let mut open = BTreeSet::new();
        for (n, work_ms) in work_ms {
            if let Some(task) = self.tasks.get_mut(n as usize)
                && (task.work_ms != work_ms || task.rank_ms == 0)
            {
                task.work_ms = work_ms;
                open.insert((task.order, Node::Task(n)));
            }
        }
        let mut changed = Vec::new();
        while let Some((_, node)) = open.pop_first() {
            match node {
                Node::Task(n) => {
                    let task = &self.tasks[n as usize];
                    let rank = task.work_ms + self.bundles[task.bundle as usize].rank_ms;
                    if rank == task.rank_ms {
                        continue;
                    }
                    open.extend(
                        task.needs.iter().map(|&b| (self.bundles[b as usize].order, Node::Bundle(b))),
                    );
                    self.tasks[n as usize].rank_ms = rank;
                    changed.push(n);
                }
                Node::Bundle(b) => {
                    let bundle = &self.bundles[b as usize];
                    let builders = bundle.builders.iter().map(|&t| self.tasks[t as usize].rank_ms);
                    let others = bundle.needed_by.iter().map(|&o| self.bundles[o as usize].rank_ms);
                    let rank = builders.chain(others).max().unwrap_or(0);
                    if rank == bundle.rank_ms {
                        continue;
                    }
                    let members =
                        bundle.members.iter().map(|&t| (self.tasks[t as usize].order, Node::Task(t)));
                    let needs =
                        bundle.needs.iter().map(|&o| (self.bundles[o as usize].order, Node::Bundle(o)));
                    open.extend(members.chain(needs));
                    self.bundles[b as usize].rank_ms = rank;
                }
            }
        }
        changed
    }
}

/// The strongly connected component of each node (Tarjan 1972, without recursion, since plans are
/// deep). Components are numbered so that every edge leads to the same or a smaller number.
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
        let (mut graph, ..) = Graph::new(&build, &runtime);
        graph.set_work([(0, 1), (1, 10), (2, 100), (3, 5)]);
        let ranks = |g: &Graph| (0..4).map(|n| g.rank_ms(n)).collect::<Vec<_>>();
        assert_eq!(ranks(&graph), [111, 110, 100, 5]);
        // Only the packages whose rank changed are returned.
        assert_eq!(graph.set_work([(1, 20), (3, 5)]), [1, 0]);
        assert_eq!(ranks(&graph), [121, 120, 100, 5]);
    }

    #[test]
    fn what_is_ready_when_follows_from_what_will_be_there_when() {
        // 0 is built with 1, which works only with 2; 3 is built with 0.
        let build = [vec![1], vec![], vec![], vec![0]];
        let (graph, ..) = Graph::new(&build, &[vec![], vec![2], vec![], vec![]]);
        let ends = |known: &'static [(u32, u64)]| move |n: u32| known.iter().find(|k| k.0 == n).map(|k| k.1);
        assert_eq!(graph.ready_at(0, &ends(&[(1, 10), (2, 20)]), &mut ReadyTimes::default()), Some(20));
        assert_eq!(graph.ready_at(0, &ends(&[(1, 10)]), &mut ReadyTimes::default()), None);
        assert_eq!(graph.ready_at(3, &ends(&[(0, 50)]), &mut ReadyTimes::default()), Some(50));
        assert_eq!(graph.ready_at(1, &ends(&[]), &mut ReadyTimes::default()), Some(0));
    }
}
