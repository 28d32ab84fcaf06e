//! Random plans, and how each of their packages behaves when it is built.

use super::rng::Rng;
use swarm_common::{
    digest::Digest,
    wire::plan::{PlanCycle, PlanEdge, PlanReport, PlanStage, PortagePackage},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Its build succeeds.
    Good,
    /// Its build always fails.
    Broken,
    /// Its build fails this many times first.
    Flaky(u32),
}

/// A plan, and the behaviour of its packages.
#[derive(Debug, Clone)]
pub struct Script {
    pub report: PlanReport,
    /// For each package, its behaviour and its work in milliseconds at speed 1.
    pub packages: Vec<(Behaviour, u64)>,
}

/// A plan of `size` packages. `version` is part of some packages' inputs, so that the next version of the
/// plan shares the other packages.
pub fn make(rng: &mut Rng, size: u32, version: u32) -> Script {
    let mut report = PlanReport::empty(Digest::of(b"gcc"));
    let mut packages = Vec::new();
    for n in 0..size {
        let inputs = format!("{n} {}", if n % 3 == 0 { version } else { 0 });
        report.packages.push(package(n, &inputs).into());
        packages.push(behaviour(rng));
        for _ in 0..rng.below(4).min(u64::from(n)) {
            let to = n - 1 - rng.below(u64::from(n.min(20))) as u32;
            report.edges.push(edge(rng, n, to));
        }
        // Run-time dependencies may point forward and so form cycles.
        if rng.chance(50) {
            let to = rng.below(u64::from(size)) as u32;
            if to != n {
                report.edges.push(PlanEdge { build: false, runtime: true, ..edge(rng, n, to) });
            }
        }
    }
    if size >= 8 && rng.chance(500) {
        let first = rng.below(u64::from(size) - 1) as u32;
        let stage = |package| PlanStage { package, use_changes: Vec::new() };
        report.cycles.push(PlanCycle {
            members: vec![first, first + 1],
            stages: vec![stage(first), stage(first + 1), stage(first)],
        });
    }
    Script { report, packages }
}

/// The behaviour of a package, and its work in milliseconds at speed 1.
pub(super) fn behaviour(rng: &mut Rng) -> (Behaviour, u64) {
    let behaviour = match rng.below(40) {
        0 => Behaviour::Broken,
        1 => Behaviour::Flaky(1),
        _ => Behaviour::Good,
    };
    // Log-uniform between one second and about four minutes.
    let work_ms = 1000 << rng.below(8);
    (behaviour, work_ms + rng.below(work_ms))
}

pub(super) fn package(n: u32, inputs: &str) -> PortagePackage {
    PortagePackage {
        cpv: format!("sim/package{n}x-1").parse().unwrap_or_else(|e| unreachable!("{e}")),
        slot: "0".into(),
        subslot: "0".into(),
        repository: "sim".into(),
        use_flags: Vec::new(),
        iuse: Vec::new(),
        chost: "x86_64-pc-linux-gnu".into(),
        inputs: Digest::of(inputs.as_bytes()),
        fields: Default::default(),
        strict: Default::default(),
        live: None,
        in_base: n.is_multiple_of(5),
    }
}

fn edge(rng: &mut Rng, from: u32, to: u32) -> PlanEdge {
    let build = rng.chance(600);
    PlanEdge {
        from,
        to,
        build,
        runtime: !build || rng.chance(500),
        slot_operator: rng.chance(200),
        satisfied: rng.chance(50),
    }
}
