//! What drones are assigned, whatever has happened before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::{
    graphs::acyclic,
    kit::{Kit, package_of},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::collections::BTreeSet;
use swarm_common::{
    id::*,
    state::*,
    wire::{drone::*, plan::PlanReport},
};
use swarm_core::{Command, Request};

/// An action of one of three drones.
#[derive(Debug, Clone)]
enum Act {
    Claim,
    Deliver(Index),
    Fail(Index, bool),
    Silence,
    Pass(u64),
}

fn act() -> impl Strategy<Value = (usize, Act)> {
    let act = prop_oneof![
        6 => Just(Act::Claim),
        3 => any::<Index>().prop_map(Act::Deliver),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(which, own)| Act::Fail(which, own)),
        1 => Just(Act::Silence),
        2 => (1..700_000u64).prop_map(Act::Pass),
    ];
    (0..3usize, act)
}

/// A run with this plan, and three drones, of which the last builds three packages at a time.
fn swarm(plan: PlanReport) -> Kit {
    let mut kit = Kit::new(&["one", "two", "three"]);
    kit.swarm.drones.get_mut(&DroneId(3)).unwrap().facts.slots = 3;
    kit.plan(plan);
    kit
}

/// Everything that must be installed while a package is built.
fn needed(kit: &Kit, package: PackageId) -> BTreeSet<PackageId> {
    let mut found = BTreeSet::new();
    let mut open = kit.swarm.packages[&package].build_deps.to_vec();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&kit.swarm.packages[&next].runtime_deps);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_drone_gets_what_it_can_build_now_and_no_more_than_it_has_slots(
        plan in acyclic(), acts in vec(act(), 1..60)
    ) {
        let mut kit = swarm(plan);
        let mut held: [Vec<Assignment>; 3] = Default::default();
        for (place, act) in acts {
            let drone = DroneId(place as u64 + 1);
            match act {
                Act::Claim => {
                    let request = ClaimRequest { key: "again".into(), wait_ms: 1, memory_free_bytes: 0 };
                    let command = Command::Claim { drone, request };
                    let request = Request { now: kit.now, entropy: 7, key: None, command };
                    let (mut one, mut other) = (kit.swarm.clone(), kit.swarm.clone());
                    prop_assert_eq!(one.handle(&request), other.handle(&request));
                    prop_assert!(one == other, "the same claim led to another state");
                    let Some(given) = kit.claim(drone) else { continue };
                    for need in needed(&kit, package_of(&given)) {
                        let state = kit.swarm.packages[&need].state;
                        prop_assert_eq!(state, PackageState::Received, "{} is needed for {:?}", need, given);
                    }
                    prop_assert!(kit.swarm.builds_on(drone) <= kit.swarm.drones[&drone].slots());
                    held[place].push(given);
                }
                Act::Deliver(_) | Act::Fail(..) if held[place].is_empty() => {}
                Act::Deliver(which) => {
                    let given = held[place].swap_remove(which.index(held[place].len()));
                    // Refused if another drone was faster.
                    let _ = kit.deliver(drone, &given);
                }
                Act::Fail(which, own) => {
                    let given = held[place].swap_remove(which.index(held[place].len()));
                    let live = kit.swarm.attempts[&given.attempt].is_live();
                    let class = if own { FailureClass::Package } else { FailureClass::Infra };
                    if live {
                        kit.fail(drone, &given, class, "it failed");
                    }
                }
                Act::Silence => {
                    let others: Vec<_> = (1..=3).map(DroneId).filter(|other| *other != drone).collect();
                    kit.pass(130_000, &others);
                }
                Act::Pass(ms) => kit.pass(ms, &[DroneId(1), DroneId(2), DroneId(3)]),
            }
        }
    }
}
