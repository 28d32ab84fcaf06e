//! Turns a resolver's report into buildable nodes.
//!
//! A drone's report is untrusted until it is checked: positions must exist, cycles must be disjoint, sizes
//! are bounded. The nodes that [`nodes`] returns have no cycles: packages that need each other to be built
//! form one node, built in stages.

mod fields;
mod nix;

use crate::tangle;
use std::collections::BTreeSet;
use swarm_common::wire::{
    drone::{PortageTarget, Target},
    plan::{PlanCycle, PlanEdge, PlanPackage, PlanReport, PlanStage, PortagePackage},
};

/// The maximum number of packages in a plan. A large desktop has 3,000, the whole Gentoo tree 20,000.
pub const MOST_PACKAGES: usize = 10_000;
/// The maximum number of edges in a plan. Packages of the Gentoo tree have about eighteen each.
pub const MOST_EDGES: usize = 250_000;

/// The maximum length of the name of a slot, repository, USE flag or machine, in bytes.
pub const LONGEST_NAME: usize = 255;
/// The maximum size of the descriptive fields of one package, in bytes. The largest IUSE has 10,000.
pub const MOST_PACKAGE_BYTES: usize = 256 << 10;
/// The most sonames that a base may provide. A desktop has 3,000.
pub const MOST_SONAMES: usize = 20_000;
/// The most refusals in a plan.
pub const MOST_PROBLEMS: usize = 10_000;
/// The most bytes of the texts of all refusals. Portage explains one in a few hundred.
pub const MOST_TEXT: usize = 1 << 20;
/// The maximum size of all strings in a plan together, in bytes.
pub const MOST_BYTES: usize = 24 << 20;

/// A buildable node: one package, or a cycle of packages that is built in stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Positions in the report of the packages that form the node.
    pub members: Vec<u32>,
    /// For a cycle: what to build in which order, as indices into `members`.
    pub stages: Vec<PlanStage>,
    /// Positions of the nodes that must be installed while the node is built, sorted.
    pub build: Vec<u32>,
    /// Positions of the nodes that must be installed for the node to work, sorted.
    pub runtime: Vec<u32>,
    /// Positions of further nodes that the node needs to work, sorted. The base provides them until they are
    /// built.
    pub cut: Vec<u32>,
}

impl Node {
    /// The targets of the node, with build id 0.
    #[must_use]
    pub fn targets(&self, report: &PlanReport) -> Vec<Target> {
        self.members.iter().flat_map(|&member| targets(&report.packages[member as usize])).collect()
    }
}

/// Checks that a report is consistent and within bounds.
///
/// # Errors
/// What is wrong, in one line.
pub fn check(report: &PlanReport) -> Result<(), String> {
    let packages = report.packages.len();
    if packages > MOST_PACKAGES || report.edges.len() > MOST_EDGES {
        return Err(format!(
            "the plan is too large: {packages} packages and {} edges; at most {MOST_PACKAGES} and {MOST_EDGES} are taken",
            report.edges.len()
        ));
    }
    check_words(report)?;
    nix::check(report)?;
    fields::check(report)?;
    let exists = |position: u32| (position as usize) < packages;
    if let Some(edge) = report.edges.iter().find(|e| !exists(e.from) || !exists(e.to)) {
        return Err(format!(
            "the plan has an edge {} -> {} but only {packages} packages",
            edge.from, edge.to
        ));
    }
    let mut seen = BTreeSet::new();
    for cycle in &report.cycles {
        let members: BTreeSet<u32> = cycle.members.iter().copied().collect();
        let built: BTreeSet<u32> = cycle.stages.iter().map(|s| s.package).collect();
        if cycle.members.len() < 2 || !cycle.members.iter().all(|&m| exists(m) && seen.insert(m)) {
            return Err("a cycle of the plan names a package that is absent or in another cycle".into());
        }
        if members != built || cycle.stages.len() > 4 * members.len() {
            return Err("the stages of a cycle do not build just its members".into());
        }
    }
    Ok(())
}

/// Whether the name is valid for a slot, repository, machine or USE flag: the union of what the
/// Package Manager Specification allows for them.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().next().is_some_and(plain) && name.bytes().all(|b| plain(b) || b"+.-@".contains(&b))
}

/// Refuses strings that are too long, individually or together.
fn check_words(report: &PlanReport) -> Result<(), String> {
    let mut sum = 0;
    for package in report.packages.iter().filter_map(PlanPackage::portage) {
        let names = [&package.slot, &package.subslot, &package.repository, &package.chost];
        let names = || names.into_iter().chain(&package.use_flags).chain(&package.iuse);
        if let Some(name) = names().find(|name| name.len() > LONGEST_NAME) {
            return Err(format!(
                "{} of the plan has a name of {} bytes; at most {LONGEST_NAME} are taken",
                package.cpv,
                name.len()
            ));
        }
        if let Some(name) = names().find(|name| !is_name(name)) {
            let name = name.escape_debug();
            return Err(format!(
                "{} of the plan has the slot, repository, machine or flag `{name}`",
                package.cpv
            ));
        }
        let bytes: usize = names().map(|name| name.len() + size_of::<String>()).sum();
        if bytes > MOST_PACKAGE_BYTES {
            return Err(format!("{} of the plan has {bytes} bytes of USE flags and names", package.cpv));
        }
        sum += bytes;
    }
    let sonames = || report.base_provides.iter().flat_map(|(category, names)| names.iter().chain([category]));
    let count = sonames().count();
    if count > MOST_SONAMES || sonames().any(|name| name.len() > LONGEST_NAME) {
        return Err(format!(
            "the base of the plan provides {count} sonames; at most {MOST_SONAMES} of {LONGEST_NAME} bytes are taken"
        ));
    }
    let changes = report.cycles.iter().flat_map(|c| &c.stages).flat_map(|s| &s.use_changes);
    if let Some(change) = changes.clone().find(|change| change.len() > LONGEST_NAME) {
        return Err(format!("a stage of the plan has a USE change of {} bytes", change.len()));
    }
    if report.built_with.as_ref().is_some_and(|toolchain| !toolchain.is_bounded()) {
        return Err("the plan has a toolchain with a name of more than 128 bytes".into());
    }
    if report.problems.len() > MOST_PROBLEMS {
        return Err(format!(
            "the plan has {} refusals; at most {MOST_PROBLEMS} are taken",
            report.problems.len()
        ));
    }
    let words = report.problems.iter().flat_map(|p| p.atoms.iter().chain([&p.message]).chain(&p.suggestion));
    let bytes = |text: &String| text.len() + size_of::<String>();
    let text: usize = words.map(bytes).sum();
    if text > MOST_TEXT {
        return Err(format!(
            "the refusals of the plan have {text} bytes of text; at most {MOST_TEXT} are taken"
        ));
    }
    sum += text + changes.map(bytes).sum::<usize>();
    if sum > MOST_BYTES {
        return Err(format!(
            "the names and words of the plan have {sum} bytes; at most {MOST_BYTES} are taken"
        ));
    }
    Ok(())
}

/// The buildable nodes of a checked report. Where the base breaks a cycle, the dependencies that it satisfies
/// are omitted from the nodes.
#[must_use]
pub fn nodes(report: &PlanReport) -> Vec<Node> {
    let cycles = report.cycles.iter().map(|cycle| cycle.members.as_slice());
    let group = tangle::groups(report.packages.len(), cycles, &report.edges);
    let mut edges = report.edges.clone();
    tangle::cut(&group, &mut edges);
    assemble(report, &group, &edges)
}

/// One node for each group, in the order of their first packages.
fn assemble(report: &PlanReport, group: &[u32], edges: &[PlanEdge]) -> Vec<Node> {
    // The first package of a group stands for the group, so it comes first.
    let mut position = vec![0_u32; group.len()];
    let mut members: Vec<Vec<u32>> = Vec::new();
    for (package, &g) in group.iter().enumerate() {
        if g as usize == package {
            position[package] = members.len() as u32;
            members.push(Vec::new());
        }
        members[position[g as usize] as usize].push(package as u32);
    }
    let at = |package: u32| position[group[package as usize] as usize];
    let mut build = vec![Vec::new(); members.len()];
    let mut runtime = vec![Vec::new(); members.len()];
    let mut cut = vec![Vec::new(); members.len()];
    for (edge, planned) in edges.iter().zip(&report.edges) {
        let (from, to) = (at(edge.from), at(edge.to));
        if from == to {
            continue;
        }
        if edge.build {
            build[from as usize].push(to);
        }
        if edge.runtime {
            runtime[from as usize].push(to);
        } else if planned.runtime {
            cut[from as usize].push(to);
        }
    }
    for needs in build.iter_mut().chain(&mut runtime).chain(&mut cut) {
        needs.sort_unstable();
        needs.dedup();
        needs.shrink_to_fit();
    }
    let mut cycles = vec![Vec::new(); members.len()];
    for cycle in &report.cycles {
        cycles[at(cycle.members[0]) as usize].push(cycle);
    }
    let groups = members.into_iter().zip(build).zip(runtime).zip(cut).zip(&cycles);
    let nodes = groups.map(|((((members, build), runtime), cut), cycles)| Node {
        stages: stages(cycles, &members),
        members,
        build,
        runtime,
        cut,
    });
    nodes.collect()
}

fn targets(package: &PlanPackage) -> Vec<Target> {
    match package {
        PlanPackage::Portage(package) => vec![portage_target(package).into()],
        PlanPackage::Nix(package) => nix::targets(package).collect(),
    }
}

fn portage_target(package: &PortagePackage) -> PortageTarget {
    PortageTarget {
        cpv: package.cpv.clone(),
        slot: package.slot.clone(),
        subslot: package.subslot.clone(),
        repository: package.repository.clone(),
        use_flags: package.use_flags.clone(),
        iuse: package.iuse.clone(),
        chost: package.chost.clone(),
        build_id: 0,
    }
}

/// The build order of a group: the resolver's stages, or else its members in the resolver's order.
fn stages(cycles: &[&PlanCycle], members: &[u32]) -> Vec<PlanStage> {
    if members.len() == 1 {
        return Vec::new();
    }
    let in_cycles: BTreeSet<u32> = cycles.iter().flat_map(|c| c.members.iter().copied()).collect();
    let rest = members.iter().filter(|m| !in_cycles.contains(m));
    let rest = rest.map(|&package| PlanStage { package, use_changes: Vec::new() });
    let planned = cycles.iter().flat_map(|c| c.stages.iter().cloned());
    // Members are in the order of the report, and therefore sorted.
    let within = |package: u32| members.binary_search(&package).ok().map(|p| p as u32);
    rest.chain(planned)
        .filter_map(|s| Some(PlanStage { package: within(s.package)?, use_changes: s.use_changes }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::digest::Digest;

    fn package(name: &str) -> PortagePackage {
        PortagePackage {
            cpv: format!("a/{name}-1").parse().unwrap(),
            slot: "0".into(),
            subslot: "0".into(),
            repository: "r".into(),
            use_flags: vec![],
            iuse: vec![],
            chost: "x86_64-pc-linux-gnu".into(),
            inputs: Digest::of(name.as_bytes()),
            fields: Default::default(),
            strict: Default::default(),
            live: None,
            in_base: false,
        }
    }

    fn edge(from: u32, to: u32, kind: &str) -> PlanEdge {
        PlanEdge {
            from,
            to,
            build: kind.contains('b'),
            runtime: kind.contains('r'),
            slot_operator: kind.contains('='),
            satisfied: kind.contains('s'),
        }
    }

    fn report(names: &[&str], edges: Vec<PlanEdge>) -> PlanReport {
        PlanReport {
            packages: names.iter().map(|n| package(n).into()).collect(),
            edges,
            ..PlanReport::empty(Digest::of(b"gcc"))
        }
    }

    #[test]
    fn a_cycle_of_the_resolver_becomes_one_node_with_its_stages() {
        let mut report =
            report(&["user", "font", "shape"], vec![edge(0, 1, "br"), edge(1, 2, "b"), edge(2, 1, "b")]);
        let stage = |package, change: &str| PlanStage {
            package,
            use_changes: change.split_whitespace().map(str::to_owned).collect(),
        };
        report.cycles = vec![PlanCycle {
            members: vec![1, 2],
            stages: vec![stage(1, "-shape"), stage(2, ""), stage(1, "")],
        }];
        check(&report).unwrap();
        let nodes = nodes(&report);
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].build, [1]);
        assert_eq!(nodes[1].stages, [stage(0, "-shape"), stage(1, ""), stage(0, "")]);
        assert!(nodes[1].build.is_empty());
    }

    #[test]
    fn a_tool_that_needs_its_user_at_run_time_is_built_with_it() {
        let nodes = nodes(&report(&["lib", "tool"], vec![edge(0, 1, "b"), edge(1, 0, "r")]));
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].members.len(), 2);
        assert_eq!(nodes[0].stages.len(), 2);
    }

    #[test]
    fn what_the_base_root_has_breaks_a_cycle() {
        let nodes = nodes(&report(&["gcc", "zlib"], vec![edge(0, 1, "b"), edge(1, 0, "bs")]));
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].build, [1]);
        assert!(nodes[1].build.is_empty());
    }

    #[test]
    fn run_time_cycles_are_left_alone() {
        let nodes = nodes(&report(&["a", "b"], vec![edge(0, 1, "r"), edge(1, 0, "r")]));
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn hostile_plans_are_refused_with_a_reason() {
        assert!(check(&report(&["a"], vec![edge(0, 7, "b")])).unwrap_err().contains("edge 0 -> 7"));
        let mut twice = report(&["a", "b"], vec![]);
        let stage = |package| PlanStage { package, use_changes: vec![] };
        let cycle = PlanCycle { members: vec![0, 1], stages: vec![stage(0), stage(1)] };
        twice.cycles = vec![cycle.clone(), cycle.clone()];
        assert!(check(&twice).is_err());
        twice.cycles = vec![PlanCycle { stages: vec![stage(0)], ..cycle }];
        assert!(check(&twice).unwrap_err().contains("stages"));
        let mut long = report(&["a"], vec![]);
        long.packages[0].portage_mut().unwrap().slot = "s".repeat(LONGEST_NAME + 1);
        assert!(check(&long).unwrap_err().contains("256 bytes"));
        for name in ["", "a b", "a\n", "\u{1b}[31m", "a/b", "-x", "\u{f6}"] {
            long = report(&["a"], vec![]);
            long.packages[0].portage_mut().unwrap().use_flags = vec![name.to_owned()];
            assert!(check(&long).unwrap_err().contains("or flag"), "{name:?}");
        }
        long = report(&["a"], vec![]);
        let names = (0..=MOST_SONAMES).map(|n| format!("lib{n}.so"));
        long.base_provides.insert("x86_64".into(), names.collect());
        assert!(check(&long).unwrap_err().contains("20002 sonames"));
        long = report(&["a"], vec![]);
        long.packages[0].portage_mut().unwrap().iuse = vec!["flag".into(); MOST_PACKAGE_BYTES / 28 + 1];
        assert!(check(&long).unwrap_err().contains("USE flags"));
    }
}
