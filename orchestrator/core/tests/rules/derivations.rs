//! The archive of a Nix plan's derivations: who gets it, and which drone uploads the sources.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::{
    kit::report,
    nix::{ONE, build, derivation, kit, path, world},
};
use std::collections::BTreeSet;
use swarm_common::{
    digest::Digest,
    wire::{
        nix::{DerivationArchive, NixOutput, NixPackage},
        plan::{PlanPackage, PlanReport},
    },
};
use swarm_core::retention;

#[test]
fn the_derivations_of_a_plan_are_in_its_orders_and_kept_with_its_run() {
    let mut kit = kit();
    let archive = DerivationArchive { digest: Digest::of(b"derivations"), size: 123 };
    kit.plan_for("hosts", PlanReport { derivations: Some(Box::new(archive)), ..world('a') });
    assert_eq!(build(&mut kit, &[]).derivations, Some(archive));
    assert_eq!(retention::derivations(&kit.swarm), BTreeSet::from([archive.digest]));
    let mut kit = self::kit();
    kit.plan_for("hosts", world('a'));
    assert_eq!(build(&mut kit, &[]).derivations, None, "each drone evaluates the snapshot");
}

/// A plan with a source.
fn with_source() -> PlanReport {
    let outputs = vec![NixOutput { name: "source".into(), path: path('5', "source") }];
    let PlanPackage::Nix(lib) = derivation('0', "lib-1") else { unreachable!() };
    let source = NixPackage { name: "source".into(), drv: None, outputs, system: String::new(), ..lib };
    PlanReport { packages: vec![PlanPackage::Nix(source)], ..report(&[], &[]) }
}

#[test]
fn a_source_comes_from_the_drone_that_made_the_plan_while_that_drone_is_there() {
    for is_there in [true, false] {
        let mut kit = kit();
        let two = kit.enrol("two");
        kit.swarm.drones.get_mut(&two).unwrap().facts = kit.swarm.drones[&ONE].facts.clone();
        kit.plan_for("hosts", with_source());
        if !is_there {
            kit.pass(kit.swarm.policy.offline_after_ms + 1, &[two]);
        }
        assert_eq!(kit.claim(two).is_none(), is_there, "another drone would have to evaluate");
        assert_eq!(kit.claim(ONE).is_some(), is_there);
    }
}
