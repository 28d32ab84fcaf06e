//! The Nix profile of a simulated swarm: random plans, and the references of build outputs.

use super::{
    plan::{self, Script},
    rng::Rng,
};
use swarm_common::{
    digest::Digest,
    id::PackageId,
    name::Name,
    wire::{
        drone::{DroneFacts, Target},
        nix::{Nar, NixMachine, NixOutput, NixPackage, NixRoot},
        plan::{PlanEdge, PlanPackage, PlanReport},
    },
};
use swarm_core::Swarm;

const SYSTEM: &str = "x86_64-linux";

/// The name of the profile.
pub(super) fn tools() -> Name {
    "tools".parse().unwrap_or_else(|e| unreachable!("{e}"))
}

/// A plan of `size` derivations and sources. As in Nix, a store path depends on all its inputs, so whatever
/// `version` changes gives other paths to everything built with it.
pub(super) fn make(rng: &mut Rng, size: u32, version: u32) -> Script {
    let mut report = PlanReport::empty(Digest::of(b"nix"));
    let mut script = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    for n in 0..size {
        let is_source = n.is_multiple_of(7);
        let mut inputs = format!("{n} {}", if n % 3 == 0 { version } else { 0 });
        for _ in 0..if is_source { 0 } else { rng.below(4).min(u64::from(n)) } {
            let to = n - 1 - rng.below(u64::from(n.min(20))) as u32;
            inputs.push_str(&paths[to as usize]);
            let (runtime, slot_operator, satisfied) = (false, false, false);
            report.edges.push(PlanEdge { from: n, to, build: true, runtime, slot_operator, satisfied });
        }
        let path = |part: &str| store_path(&format!("{inputs} {part}"), &format!("package{n}-1{part}"));
        let outputs: &[&str] = match (is_source, n % 4) {
            (true, _) => &["source"],
            (false, 1) => &["dev", "out"],
            (false, _) => &["out"],
        };
        let output = |name: &&str| {
            let part = if matches!(*name, "out" | "source") { String::new() } else { format!("-{name}") };
            NixOutput { name: (*name).to_owned(), path: path(&part) }
        };
        let package = NixPackage {
            name: format!("package{n}-1"),
            drv: (!is_source).then(|| path(".drv")),
            outputs: outputs.iter().map(output).collect(),
            system: if is_source { String::new() } else { SYSTEM.to_owned() },
            fixed: !is_source && rng.chance(100),
            content_hash: None,
            features: Vec::new(),
            local: rng.chance(100),
        };
        paths.push(path(""));
        report.packages.push(PlanPackage::Nix(package));
        script.push(plan::behaviour(rng));
    }
    let roots = paths.iter().enumerate().filter(|(n, _)| n % 7 == 6 || n + 1 == paths.len());
    let root = |(n, path): (usize, &String)| NixRoot {
        attribute: format!("a{n}"),
        path: path.clone(),
        host: n + 1 == paths.len(),
    };
    report.roots = roots.map(root).collect();
    Script { report, packages: script }
}

fn store_path(inputs: &str, name: &str) -> String {
    // Nix's digits do not include `e`.
    let hash = Digest::of(inputs.as_bytes()).to_string().replace('e', "z");
    format!("/nix/store/{}-{name}", &hash[..32])
}

/// The archive of an output, which refers to itself and to some outputs that it was built with.
pub(super) fn nar(swarm: &Swarm, package: PackageId, target: &Target, digest: Digest) -> Option<Box<Nar>> {
    let own = target.nix()?.base_name();
    let built_with = swarm.packages.get(&package).into_iter().flat_map(|package| &package.build_deps);
    let outputs = built_with.filter_map(|dep| swarm.packages.get(dep)).flat_map(|dep| &dep.targets);
    let names = outputs.filter_map(|target| Some(target.nix()?.base_name()));
    let kept = names.filter(|name| *Digest::of(format!("{own} {name}").as_bytes()).to_string() < *"a");
    let mut references: Vec<String> = kept.chain([own]).map(str::to_owned).collect();
    references.sort_unstable();
    references.dedup();
    Some(Box::new(Nar { hash: digest, size: 1, references }))
}

/// Installs Nix on some machines, and always on the first one.
pub(super) fn install(rng: &mut Rng, n: u64, facts: &mut DroneFacts) {
    facts.nix = (n == 0 || rng.chance(700)).then(|| "2.8.0".to_owned());
    let machine = NixMachine { systems: vec![SYSTEM.to_owned()], features: Vec::new() };
    facts.nix_machine = facts.nix.as_ref().map(|_| machine.into());
}
