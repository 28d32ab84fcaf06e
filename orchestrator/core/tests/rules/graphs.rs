//! Graphs and plans of any shape, compared with slow and obvious implementations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::kit::report;
use proptest::{collection::vec, prelude::*, sample::Index};
use std::collections::BTreeSet;
use swarm_common::wire::plan::{PlanCycle, PlanEdge, PlanReport, PlanStage};
use swarm_core::{
    graph::{Graph, components},
    plan::{self, Node},
};

/// The dependencies of each package, by position.
type Needs = Vec<Vec<u32>>;

/// Dependencies of `packages` packages, which may be cyclic.
fn needs(packages: usize) -> impl Strategy<Value = Needs> {
    vec(vec(0..packages as u32, 0..4), packages)
}

/// Build and run-time dependencies as in real plans. Packages come in groups of three, which may need each
/// other at run time; all other dependencies are on earlier groups.
fn graph(packages: usize) -> impl Strategy<Value = (Needs, Needs)> {
    (needs(packages), needs(packages)).prop_map(|(mut build, mut runtime)| {
        for n in 0..build.len() as u32 {
            build[n as usize].retain(|need| need / 3 < n / 3);
            runtime[n as usize].retain(|need| need / 3 <= n / 3);
        }
        for needs in build.iter_mut().chain(&mut runtime) {
            needs.sort_unstable();
            needs.dedup();
        }
        (build, runtime)
    })
}

/// Everything reachable from `from`. Contains `from` itself only if it is on a cycle.
fn reach(edges: &Needs, from: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut open = edges[from as usize].clone();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&edges[next as usize]);
        }
    }
    found
}

/// A plan without cycles, like most plans: each package needs some earlier ones.
pub fn acyclic() -> impl Strategy<Value = PlanReport> {
    let edge = (any::<Index>(), any::<Index>(), 0..3u8);
    (2..20u32, vec(edge, 0..40)).prop_map(|(packages, edges)| {
        let names: Vec<String> = (0..packages).map(|n| format!("p{n}-1")).collect();
        let mut plan = report(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let mut seen = BTreeSet::new();
        for (from, to, kind) in edges {
            let from = 1 + from.index(packages as usize - 1) as u32;
            let to = to.index(from as usize) as u32;
            if seen.insert((from, to)) {
                let (build, runtime) = (kind != 0, kind != 1);
                plan.edges.push(PlanEdge {
                    from,
                    to,
                    build,
                    runtime,
                    slot_operator: false,
                    satisfied: false,
                });
            }
        }
        plan
    })
}

/// A plan of any shape, sometimes with edges and cycles that refer to missing packages.
fn any_plan() -> impl Strategy<Value = PlanReport> {
    let edge = |end: u32| {
        let kinds = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
        (0..end, 0..end, kinds).prop_map(|(from, to, (build, runtime, satisfied))| PlanEdge {
            from,
            to,
            build,
            runtime,
            slot_operator: false,
            satisfied,
        })
    };
    let cycle = |end: u32| {
        vec(0..end, 1..4).prop_map(|members| {
            let stage = |&package: &u32| PlanStage { package, use_changes: Vec::new() };
            PlanCycle { stages: members.iter().map(stage).collect(), members }
        })
    };
    (1..10u32, 0..20u8).prop_flat_map(move |(packages, stray)| {
        let end = packages + u32::from(stray == 0);
        let names: Vec<String> = (0..packages).map(|n| format!("p{n}-1")).collect();
        let plan = report(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        (vec(edge(end), 0..24), vec(cycle(end), 0..2)).prop_map(move |(edges, cycles)| PlanReport {
            edges,
            cycles,
            ..plan.clone()
        })
    })
}

/// The nodes in an order in which they can be built: a build needs its build dependencies and everything that
/// these need at run time.
fn build_order(nodes: &[Node]) -> Vec<usize> {
    let runtime: Needs = nodes.iter().map(|node| node.runtime.clone()).collect();
    let (mut order, mut built) = (Vec::new(), BTreeSet::new());
    loop {
        let is_next = |&n: &usize| {
            let works = |need: &u32| built.contains(need) && reach(&runtime, *need).is_subset(&built);
            !built.contains(&(n as u32)) && nodes[n].build.iter().all(works)
        };
        let Some(next) = (0..nodes.len()).find(is_next) else { return order };
        built.insert(next as u32);
        order.push(next);
    }
}

proptest! {
    #[test]
    fn components_are_those_that_lead_to_each_other_and_edges_lead_down(edges in (1..12usize).prop_flat_map(needs)) {
        let found = components(&edges);
        let reached: Vec<_> = (0..edges.len() as u32).map(|n| reach(&edges, n)).collect();
        for (a, of_a) in reached.iter().enumerate() {
            for (b, of_b) in reached.iter().enumerate() {
                let together = a == b || of_a.contains(&(b as u32)) && of_b.contains(&(a as u32));
                prop_assert_eq!(found[a] == found[b], together, "{} and {}", a, b);
                prop_assert!(!of_a.contains(&(b as u32)) || found[a] >= found[b], "{} leads to {}", a, b);
            }
        }
    }

    #[test]
    fn a_package_is_ready_as_soon_as_all_that_its_build_needs_works(
        ((build, runtime), order) in (1..13usize).prop_flat_map(|packages| {
            let order: Vec<u32> = (0..packages as u32).collect();
            (graph(packages), Just(order).prop_shuffle())
        })
    ) {
        let (mut graph, bundle, mut unmet) = Graph::new(&build, &runtime);
        let mut received = BTreeSet::new();
        for next in std::iter::once(None).chain(order.into_iter().map(Some)) {
            if let Some(package) = next {
                received.insert(package);
                for freed in graph.receive(bundle[package as usize]) {
                    unmet[freed as usize] -= 1;
                }
            }
            let works = |&need: &u32| received.contains(&need) && reach(&runtime, need).is_subset(&received);
            for (package, needs) in (0..).zip(&build) {
                prop_assert_eq!(unmet[package as usize] == 0, needs.iter().all(works), "{}", package);
                prop_assert_eq!(graph.is_installable(bundle[package as usize]), works(&package), "{}", package);
            }
        }
        prop_assert_eq!(received.len(), build.len());
    }

    #[test]
    fn ranks_that_are_kept_are_those_of_a_graph_made_anew(
        (build, runtime) in graph(12), work in vec(1..100u64, 12), changes in vec((0..12usize, 1..100u64), 0..20)
    ) {
        let all = |work: &[u64]| (0..).zip(work.iter().copied()).collect::<Vec<_>>();
        let (fresh, ..) = Graph::new(&build, &runtime);
        let (mut kept, mut work) = (fresh.clone(), work);
        kept.set_work(all(&work));
        for (package, takes_ms) in changes {
            work[package] = takes_ms;
            kept.set_work([(package as u32, takes_ms)]);
            let mut anew = fresh.clone();
            anew.set_work(all(&work));
            prop_assert!(kept == anew);
        }
    }

    #[test]
    fn a_plan_is_refused_for_what_is_not_there_or_can_be_built_in_an_order(plan in any_plan()) {
        let packages = plan.packages.len() as u32;
        let ends = plan.edges.iter().flat_map(|edge| [edge.from, edge.to]);
        let members = || plan.cycles.iter().flat_map(|cycle| &cycle.members).copied();
        let distinct = members().collect::<BTreeSet<_>>().len() == members().count();
        let sound = ends.chain(members()).all(|position| position < packages)
            && distinct
            && plan.cycles.iter().all(|cycle| cycle.members.len() > 1);
        let checked = plan::check(&plan);
        prop_assert_eq!(checked.is_ok(), sound, "{:?}", checked);
        if let Err(reason) = checked {
            prop_assert!(reason.contains("edge") || reason.contains("cycle"), "{}", reason);
            return Ok(());
        }
        let nodes = plan::nodes(&plan);
        let mut of = vec![None; packages as usize];
        for (n, node) in nodes.iter().enumerate() {
            for &member in &node.members {
                prop_assert_eq!(of[member as usize].replace(n as u32), None, "{} is in two nodes", member);
            }
            // Packages that are built together say so, and in which order.
            let staged: BTreeSet<u32> = node.stages.iter().map(|stage| stage.package).collect();
            let all: BTreeSet<u32> = (0..node.members.len() as u32).collect();
            prop_assert!(if all.len() == 1 { staged.is_empty() } else { staged == all }, "{:?}", node);
        }
        // Only dependencies that the base satisfies may be omitted.
        for edge in &plan.edges {
            let (from, to) = (of[edge.from as usize].unwrap(), of[edge.to as usize].unwrap());
            let node = &nodes[from as usize];
            let kept = |wanted: bool, needs: &[u32]| !wanted || from == to || needs.contains(&to);
            prop_assert!(edge.satisfied || kept(edge.build, &node.build) && kept(edge.runtime, &node.runtime));
            prop_assert!(kept(edge.runtime, &[node.runtime.clone(), node.cut.clone()].concat()));
        }
        for cycle in &plan.cycles {
            let nodes: BTreeSet<_> = cycle.members.iter().map(|&member| of[member as usize]).collect();
            prop_assert_eq!(nodes.len(), 1, "a cycle is split");
        }
        prop_assert_eq!(build_order(&nodes).len(), nodes.len(), "not all can be built: {:?}", nodes);
    }
}
