//! Finds packages that need themselves to be built, and which of their needs the base has to satisfy.
//!
//! A package has two nodes: its build, which needs other packages installed, and its installation, which
//! needs its build and its run-time dependencies. A **tangle** is a cycle that contains a build. A cycle of
//! installations only is not a tangle: its packages are built one by one and become usable together.
//!
//! A tangle in which the base satisfies no need is built as one node. Any other is cut at needs
//! that the base satisfies. Outside tangles every need is kept; inside, as few as possible are
//! dropped, and build needs only if dropping run-time needs is not enough. The running time is
//! roughly linear in packages and needs, whatever a report contains.

use crate::graph::components;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};
use swarm_common::wire::plan::PlanEdge;

/// The number of steps allowed for restoring dropped needs, in addition to one per need. Real plans take some
/// thousands; only a fabricated plan exhausts them.
const STEPS: usize = 1 << 20;

/// Determines which packages are built together: for each package, the first one of its group. `cycles` are
/// already grouped.
pub(crate) fn groups<'a>(
    packages: usize,
    cycles: impl Iterator<Item = &'a [u32]>,
    edges: &[PlanEdge],
) -> Vec<u32> {
    let mut sets = Sets((0..packages as u32).collect());
    for cycle in cycles {
        sets.join(cycle.iter().copied());
    }
    let first = sets.all();
    // The build dependencies of a tangle's packages do not need the tangle, so joining its packages creates
    // no new tangles, and one pass is enough.
    let component = components(&nodes(&first, edges.iter().filter(|e| !e.satisfied)));
    for tangle in tangles(&component, packages).into_values() {
        sets.join(tangle.into_iter());
    }
    sets.all()
}

/// Removes needs that the base satisfies from `edges` until no group needs itself.
pub(crate) fn cut(group: &[u32], edges: &mut [PlanEdge]) {
    let packages = group.len();
    let component = components(&nodes(group, edges.iter()));
    let tangled = tangles(&component, packages);
    if tangled.is_empty() {
        return;
    }
    // Nodes that need each other even with the base (installations only) share one place.
    let place = components(&nodes(group, edges.iter().filter(|e| !e.satisfied)));
    let mut needs = Vec::new();
    let mut add = |from: usize, to: usize, kind: Kind| {
        if component[from] == component[to]
            && tangled.contains_key(&component[from])
            && place[from] != place[to]
        {
            needs.push(Need { from: place[from], to: place[to], kind });
        }
    };
    for (package, &of) in group.iter().enumerate() {
        if package as u32 == of {
            add(packages + package, package, Kind::Kept);
        }
    }
    for (n, edge) in edges.iter().enumerate() {
        let (from, to) = (group[edge.from as usize] as usize, group[edge.to as usize] as usize);
        let kind = |kind: fn(usize) -> Kind| if edge.satisfied { kind(n) } else { Kind::Kept };
        if from != to && edge.build {
            add(from, packages + to, kind(Kind::Build));
        }
        if from != to && edge.runtime {
            add(packages + from, packages + to, kind(Kind::Runtime));
        }
    }
    let places = place.iter().max().map_or(0, |&last| last as usize + 1);
    let mut builds = vec![false; places];
    for &place in &place[..packages] {
        builds[place as usize] = true;
    }
    for dropped in Cut::new(places, needs, builds).dropped() {
        match dropped {
            Kind::Build(edge) => edges[edge].build = false,
            Kind::Runtime(edge) => edges[edge].runtime = false,
            Kind::Kept => {}
        }
    }
}

/// Disjoint sets of packages, each named by its first package.
struct Sets(Vec<u32>);

impl Sets {
    fn first(&mut self, mut of: u32) -> u32 {
        while self.0[of as usize] != of {
            let above = self.0[self.0[of as usize] as usize];
            self.0[of as usize] = above;
            of = above;
        }
        of
    }

    fn join(&mut self, members: impl Iterator<Item = u32>) {
        let mut into = None;
        for member in members {
            let one = self.first(member);
            let other = into.unwrap_or(one);
            self.0[one.max(other) as usize] = one.min(other);
            into = Some(one.min(other));
        }
    }

    fn all(&mut self) -> Vec<u32> {
        (0..self.0.len() as u32).map(|package| self.first(package)).collect()
    }
}

/// The needs of each node: builds are `0..packages`, installations follow.
fn nodes<'a>(group: &[u32], edges: impl Iterator<Item = &'a PlanEdge>) -> Vec<Vec<u32>> {
    let packages = group.len();
    let installed = |g: u32| packages as u32 + g;
    let mut needs: Vec<Vec<u32>> = vec![Vec::new(); packages];
    needs.extend((0..packages as u32).map(|package| vec![package]));
    for edge in edges {
        let (from, to) = (group[edge.from as usize], group[edge.to as usize]);
        if from != to && edge.build {
            needs[from as usize].push(installed(to));
        }
        if from != to && edge.runtime {
            needs[installed(from) as usize].push(installed(to));
        }
    }
    needs
}

/// The components that are tangles, with their packages.
fn tangles(component: &[u32], packages: usize) -> BTreeMap<u32, Vec<u32>> {
    let mut sizes = vec![0_u32; component.iter().max().map_or(0, |&last| last as usize + 1)];
    for &c in component {
        sizes[c as usize] += 1;
    }
    // If a build is in a component, so is its installation, the only node that needs the build.
    let mut found: BTreeMap<u32, Vec<u32>> =
        component[..packages].iter().filter(|&&c| sizes[c as usize] > 1).map(|&c| (c, Vec::new())).collect();
    for (package, c) in component[packages..].iter().enumerate() {
        if let Some(members) = found.get_mut(c) {
            members.push(package as u32);
        }
    }
    found
}

/// The kind of a need: whether it may be dropped, and if so, the index of its edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Build(usize),
    Runtime(usize),
}

/// A need between two places of a tangle.
#[derive(Debug, Clone, Copy)]
struct Need {
    from: u32,
    to: u32,
    kind: Kind,
}

/// Counts of what a place still waits for while places are put in order.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    kept: u32,
    build: u32,
    runtime: u32,
    /// Number of needs for this place.
    incoming: u32,
}

impl Waits {
    fn of(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Kept => &mut self.kept,
            Kind::Build(_) => &mut self.build,
            Kind::Runtime(_) => &mut self.runtime,
        }
    }
}

/// The needs and places of all tangles of a plan while they are cut.
struct Cut {
    needs: Vec<Need>,
    /// Whether each place contains a build.
    builds: Vec<bool>,
    /// For each place, the indices of its own needs and of the needs for it.
    has: Vec<Vec<u32>>,
    wanted_by: Vec<Vec<u32>>,
    dropped: Vec<bool>,
}

impl Cut {
    fn new(places: usize, needs: Vec<Need>, builds: Vec<bool>) -> Self {
        let (mut has, mut wanted_by) = (vec![Vec::new(); places], vec![Vec::new(); places]);
        for (n, need) in needs.iter().enumerate() {
            has[need.from as usize].push(n as u32);
            wanted_by[need.to as usize].push(n as u32);
        }
        Self { dropped: vec![false; needs.len()], needs, builds, has, wanted_by }
    }

    fn dropped(mut self) -> Vec<Kind> {
        self.put_in_order();
        self.take_back();
        self.needs
            .iter()
            .zip(&self.dropped)
            .filter(|(_, dropped)| **dropped)
            .map(|(need, _)| need.kind)
            .collect()
    }

    /// Puts places in order and drops the needs that go against the order. The next place is always
    /// the one that drops the least, and among those the most wanted.
    fn put_in_order(&mut self) {
        let mut waits = vec![Waits::default(); self.has.len()];
        for need in &self.needs {
            *waits[need.from as usize].of(need.kind) += 1;
            waits[need.to as usize].incoming += 1;
        }
        let entry = |place: usize, w: Waits| Reverse((w.build, w.runtime, Reverse(w.incoming), place));
        let ready = waits.iter().enumerate().filter(|(_, w)| w.kept == 0);
        let mut heap: BinaryHeap<_> = ready.map(|(place, &w)| entry(place, w)).collect();
        let mut placed = vec![false; self.has.len()];
        while let Some(next) = heap.pop() {
            let place = next.0.3;
            // The place may have been taken already from an earlier entry, with less to drop.
            if std::mem::replace(&mut placed[place], true) {
                continue;
            }
            for &need in &self.has[place] {
                self.dropped[need as usize] = !placed[self.needs[need as usize].to as usize];
            }
            for &need in &self.wanted_by[place] {
                let Need { from, kind, .. } = self.needs[need as usize];
                let from = from as usize;
                *waits[from].of(kind) -= 1;
                if !placed[from] && waits[from].kept == 0 {
                    heap.push(entry(from, waits[from]));
                }
            }
        }
    }

    /// Restores dropped needs that would not create a tangle, build needs first.
    fn take_back(&mut self) {
        let mut steps = STEPS + self.needs.len();
        let (build, other): (Vec<usize>, Vec<usize>) = (0..self.needs.len())
            .filter(|&need| self.dropped[need])
            .partition(|&need| matches!(self.needs[need].kind, Kind::Build(_)));
        let mut seen = Seen::new(self.has.len());
        for need in build.into_iter().chain(other) {
            let Some(tangled) = self.would_tangle(self.needs[need], &mut seen, &mut steps) else { return };
            self.dropped[need] = tangled;
        }
    }

    /// Whether a path leads from the target of a need back to its origin through a build, including
    /// either end. `None` if the search took too many steps.
    fn would_tangle(&self, need: Need, seen: &mut Seen, steps: &mut usize) -> Option<bool> {
        let through = |place: u32, before: bool| before || self.builds[place as usize];
        seen.turn += 1;
        let start = (need.to, through(need.from, false));
        let mut todo = vec![start];
        while let Some((place, build)) = todo.pop() {
            let build = through(place, build);
            if place == need.from && build {
                return Some(true);
            }
            if !seen.is_first(place, build) {
                continue;
            }
            for &next in &self.has[place as usize] {
                *steps = steps.checked_sub(1)?;
                if !self.dropped[next as usize] {
                    todo.push((self.needs[next as usize].to, build));
                }
            }
        }
        Some(false)
    }
}

/// Places that a search has visited, both without and with a build on the path.
struct Seen {
    at: Vec<[u32; 2]>,
    turn: u32,
}

impl Seen {
    fn new(places: usize) -> Self {
        Self { at: vec![[0; 2]; places], turn: 0 }
    }

    fn is_first(&mut self, place: u32, build: bool) -> bool {
        let at = &mut self.at[place as usize];
        // A visit with a build on the path covers one without.
        let known = at[1] == self.turn || at[usize::from(build)] == self.turn;
        at[usize::from(build)] = self.turn;
        !known
    }
}

#[cfg(test)]
mod tests;
