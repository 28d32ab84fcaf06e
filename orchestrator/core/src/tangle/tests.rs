//! Shapes of tangles: which packages are built as one, which needs are left to the base, and how long it
//! takes.

use super::*;
use proptest::{collection::vec, prelude::*, sample::select};

/// An edge: `b` build, `r` run time, `s` satisfied by the base.
fn edge((from, to, kind): &(u32, u32, &str)) -> PlanEdge {
    let has = |letter| kind.contains(letter);
    let (build, runtime, satisfied) = (has('b'), has('r'), has('s'));
    PlanEdge { from: *from, to: *to, build, runtime, slot_operator: false, satisfied }
}

/// The groups, and what was dropped: `from-to:kind`.
fn cut_all(packages: usize, edges: &[(u32, u32, &str)]) -> (Vec<u32>, Vec<String>) {
    let before: Vec<PlanEdge> = edges.iter().map(edge).collect();
    let group = groups(packages, std::iter::empty(), &before);
    let mut after = before.clone();
    cut(&group, &mut after);
    assert!(tangles(&components(&nodes(&group, after.iter())), packages).is_empty(), "{after:?}");
    let lost = |b: &PlanEdge, a: &PlanEdge| {
        let kind = |kind: &'static str, before: bool, after: bool| if before && !after { kind } else { "" };
        let kinds = format!("{}{}", kind("b", b.build, a.build), kind("r", b.runtime, a.runtime));
        (!kinds.is_empty()).then(|| format!("{}-{}:{kinds}", b.from, b.to))
    };
    (group, before.iter().zip(&after).filter_map(|(b, a)| lost(b, a)).collect())
}

#[test]
fn outside_tangles_every_need_counts_though_the_base_satisfies_it() {
    let (group, dropped) = cut_all(4, &[(0, 1, "brs"), (1, 2, "bs"), (2, 3, "rs"), (3, 2, "rs")]);
    assert_eq!(group, [0, 1, 2, 3]);
    assert_eq!(dropped, [] as [&str; 0], "a cycle at run time is no tangle");
}

#[test]
fn in_a_tangle_only_what_the_base_satisfies_is_dropped() {
    assert_eq!(cut_all(2, &[(0, 1, "b"), (1, 0, "bs")]).1, ["1-0:b"]);
    assert_eq!(cut_all(3, &[(0, 1, "b"), (1, 2, "bs"), (2, 0, "b")]).1, ["1-2:b"]);
    assert_eq!(cut_all(2, &[(0, 1, "b"), (1, 0, "b")]).0, [0, 0], "without the base they are one");
}

#[test]
fn needs_at_run_time_are_dropped_before_those_of_builds() {
    // Two run-time needs are dropped rather than one build need.
    let edges = [(0, 1, "bs"), (1, 2, "rs"), (2, 0, "rs"), (1, 3, "rs"), (3, 0, "rs")];
    let dropped = cut_all(4, &edges).1;
    assert!(dropped.len() == 2 && dropped.iter().all(|d| d.ends_with(":r")), "{dropped:?}");
    // A package that works only together with its user is not built together with it.
    assert_eq!(cut_all(2, &[(0, 1, "bs"), (1, 0, "r")]).1, ["0-1:b"]);
}

#[test]
fn of_the_needs_that_could_be_dropped_the_fewest_are() {
    // All cycles go through 0 -> 1.
    let edges =
        [(0, 1, "bs"), (1, 2, "bs"), (1, 3, "bs"), (1, 4, "bs"), (2, 0, "bs"), (3, 0, "bs"), (4, 0, "bs")];
    assert_eq!(cut_all(5, &edges).1, ["0-1:b"]);
}

fn some_edges(packages: u32) -> impl Strategy<Value = (usize, Vec<PlanEdge>)> {
    let kind = select(&["b", "r", "bs", "rs", "brs"][..]);
    let edges = vec((0..packages, 0..packages, kind).prop_map(|e| edge(&e)), 0..30);
    (Just(packages as usize), edges)
}

proptest! {
    #[test]
    fn what_was_dropped_cannot_be_put_back_without_a_tangle(
        (packages, edges) in (2..11u32).prop_flat_map(some_edges)
    ) {
        let group = groups(packages, std::iter::empty(), &edges);
        let mut after = edges.clone();
        cut(&group, &mut after);
        let tangled = |edges: &[PlanEdge]| {
            !tangles(&components(&nodes(&group, edges.iter())), group.len()).is_empty()
        };
        prop_assert!(!tangled(&after), "{:?}", after);
        for (n, (before, cut)) in edges.iter().zip(&after).enumerate() {
            prop_assert!(before.satisfied || before == cut, "{:?} became {:?}", before, cut);
            for (build, runtime) in
                [(before.build && !cut.build, false), (false, before.runtime && !cut.runtime)]
            {
                if build || runtime {
                    let mut back = after.clone();
                    back[n].build |= build;
                    back[n].runtime |= runtime;
                    prop_assert!(tangled(&back), "{:?} need not be dropped", before);
                }
            }
        }
    }
}

#[test]
fn a_report_of_nothing_but_tangles_takes_no_time() {
    // Edges times tangles would be 14,000,000,000 steps: hours without optimisation.
    let pairs = 25_000_u32;
    let mut edges: Vec<PlanEdge> = (0..pairs)
        .flat_map(|n| [(2 * n, 2 * n + 1, "b"), (2 * n + 1, 2 * n, "bs")])
        .map(|e| edge(&e))
        .collect();
    let far = |n: u64, step: u64| (n * step % u64::from(2 * pairs)) as u32;
    edges.extend((0..500_000).map(|n| edge(&(far(n, 7_919), far(n, 104_729), "brs"))));
    let group = groups(2 * pairs as usize, std::iter::empty(), &edges);
    cut(&group, &mut edges);
    assert!(tangles(&components(&nodes(&group, edges.iter())), group.len()).is_empty());
}
