//! Exhaustive search of small worlds: all orders in which two drones, an admin and time can act on three
//! packages.
//!
//! [`world`] defines what can happen, and [`key`] which states are equivalent. The search is breadth-first,
//! so the steps printed for a violation are the fewest that lead to it. It ends when no step leads to a new
//! state: the depth is not limited, only the number of things that go wrong.

pub mod key;
pub mod world;

use self::{
    key::Key,
    world::{Step, World},
};
use super::oracle::Oracle;
use std::collections::{HashMap, VecDeque};
use swarm_common::{state::PackageState, wire::plan::PlanReport};
use swarm_core::invariants;

/// The extent of a search.
#[derive(Debug, Default)]
pub struct Found {
    pub states: usize,
    /// Number of steps between them, including steps that change nothing.
    pub steps: usize,
    /// Number of states at rest.
    pub rests: usize,
    /// How many of those have every package received.
    pub whole: usize,
    /// How many of those have a package that is blocked permanently.
    pub blocked: usize,
}

/// The states found so far.
#[derive(Default)]
struct Graph {
    numbers: HashMap<Key, usize>,
    /// How each state was first reached.
    origins: Vec<Option<(usize, Step)>>,
    /// For each state, the states from which it is reached without anything going wrong.
    before: Vec<Vec<usize>>,
}

impl Graph {
    /// The number of a state, and whether it is new.
    fn number(&mut self, world: &World, origin: Option<(usize, Step)>) -> (usize, bool) {
        let next = self.origins.len();
        let number = *self.numbers.entry(Key::of(world)).or_insert(next);
        if number == next {
            self.origins.push(origin);
            self.before.push(Vec::new());
        }
        (number, number == next)
    }

    fn path(&self, to: usize) -> Vec<String> {
        let origins = std::iter::successors(self.origins[to], |(from, _)| self.origins[*from]);
        let mut steps: Vec<String> = origins.map(|(_, step)| format!("{step:?}")).collect();
        steps.reverse();
        steps
    }

    /// A state from which none of `rests` can be reached without anything going wrong.
    fn restless(&self, rests: Vec<usize>) -> Option<usize> {
        let mut comes_to_rest = vec![false; self.origins.len()];
        let mut open = rests;
        while let Some(state) = open.pop() {
            if !std::mem::replace(&mut comes_to_rest[state], true) {
                open.extend(&self.before[state]);
            }
        }
        comes_to_rest.iter().position(|comes| !comes)
    }
}

/// Searches the world of a plan in which at most `faults` things go wrong.
///
/// Checks the invariants in every state. Where nothing more can happen, the run must have ended with every
/// package received, quarantined or blocked with a reason. From every state, such a rest must be reachable.
///
/// # Errors
/// The violation, and the steps that lead to it.
pub fn search(plan: &PlanReport, faults: u8) -> Result<Found, String> {
    let (mut graph, mut found) = (Graph::default(), Found::default());
    let (mut open, mut rests) = (VecDeque::new(), Vec::new());
    let first = World::new()?;
    graph.number(&first, None);
    open.push_back((0, first));
    while let Some((number, world)) = open.pop_front() {
        let mut at_rest = true;
        for step in world.steps(faults) {
            found.steps += 1;
            let mut next = world.clone();
            let fine = next.take(step, plan).and_then(|()| invariants::check(&next.swarm));
            fine.map_err(|e| format!("{e}\n  after {}, {step:?}", graph.path(number).join(", ")))?;
            let (reached, is_new) = graph.number(&next, Some((number, step)));
            if !step.is_fault() && reached != number {
                at_rest = false;
                graph.before[reached].push(number);
            }
            if is_new {
                open.push_back((reached, next));
            }
        }
        if at_rest {
            Oracle::at_rest(&world.swarm)
                .map_err(|e| format!("{e}\n  at rest after {}", graph.path(number).join(", ")))?;
            rests.push(number);
            let packages = &world.swarm.packages;
            let mut states = packages.values().map(|package| package.state);
            found.blocked += usize::from(states.clone().any(|state| state == PackageState::Blocked));
            let is_whole = !packages.is_empty() && states.all(|state| state == PackageState::Received);
            found.whole += usize::from(is_whole);
        }
    }
    (found.states, found.rests) = (graph.origins.len(), rests.len());
    match graph.restless(rests) {
        Some(state) => Err(format!("no rest can be reached after {}", graph.path(state).join(", "))),
        None => Ok(found),
    }
}
