//! Build keys: identify packages that count as the same.
//!
//! The **reuse key** follows Gentoo's rule: a package differs if its version, USE flags, dependencies,
//! sources, patches or the settings that reach its build differ, if it is bound to another sub-slot, or if
//! the base has another ABI. The **strict key** adds everything else that goes into the build, down to
//! comments in eclasses. Keys belong to the swarm, not to a profile: the same key means the same package. For
//! Nix, both keys are computed from the output paths.

use crate::{
    graph::components,
    plan::Node,
    state::{Fields, Inputs},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    wire::{
        admin::Rebuild,
        plan::{Live, PlanPackage, PlanReport},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// Follows Gentoo's rule.
    pub reuse: Digest,
    /// Covers everything that goes into the build.
    pub strict: Digest,
}

impl Keys {
    /// The key that decides, under `rule`, whether a package is rebuilt.
    #[must_use]
    pub fn of(self, rule: Rebuild) -> Digest {
        match rule {
            Rebuild::Gentoo => self.reuse,
            Rebuild::Strict => self.strict,
        }
    }
}

/// The keys of a report's nodes, in the same order.
#[must_use]
pub fn keys(report: &PlanReport, nodes: &[Node]) -> Vec<Keys> {
    let bound = bound(report);
    let build: Vec<Vec<u32>> = nodes.iter().map(|node| node.build.clone()).collect();
    let order = components(&build);
    let mut positions: Vec<usize> = (0..nodes.len()).collect();
    // A strict key includes the strict keys of the node's build dependencies, so those are computed first.
    positions.sort_by_key(|&n| order[n]);
    let none = Keys { reuse: Digest::of(b""), strict: Digest::of(b"") };
    let mut keys = vec![none; nodes.len()];
    for n in positions {
        if let Some(key) = nix_key(report, &nodes[n]) {
            keys[n] = Keys { reuse: key, strict: key };
            continue;
        }
        let deps = nodes[n].build.iter().map(|&dep| keys[dep as usize].strict).collect();
        let reuse = reuse(report, &nodes[n], &bound);
        let strict = strict(report, &nodes[n], reuse, deps);
        // Older drones send no fields, so only the strict key can decide.
        let has_settings = !report.settings.is_empty();
        keys[n] = Keys { reuse: if has_settings { reuse } else { strict }, strict };
    }
    keys
}

/// The inputs of a node's keys, except for the fields of its targets.
#[must_use]
pub fn inputs(report: &PlanReport, node: &Node, settings: Digest, bound: &[BTreeSet<String>]) -> Inputs {
    let members = || node.members.iter().map(|&m| m as usize);
    let fields = |p: &PlanPackage| {
        let Some(p) = p.portage() else { return Fields::new() };
        let strict = p.strict.iter().map(|(name, value)| (name.clone(), value.clone()));
        let commit = |live: &Live| live.commit.clone().unwrap_or_else(|| Inputs::COMMIT.1.to_owned());
        let live = p.live.iter().map(|live| (Inputs::COMMIT.0.to_owned(), commit(live)));
        p.fields.clone().into_iter().chain(strict).chain(live).collect()
    };
    Inputs {
        settings,
        targets: members().map(|m| fields(&report.packages[m])).collect(),
        bound: members().flat_map(|m| bound[m].iter().cloned()).collect(),
    }
}

/// The digest of a plan's settings. They are stored under it.
#[must_use]
pub fn settings_digest(report: &PlanReport) -> Digest {
    Digest::of_fields(report.settings.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]))
}

/// For each package of a report, the slots that it is bound to.
#[must_use]
pub fn bound(report: &PlanReport) -> Vec<BTreeSet<String>> {
    let mut bound = vec![BTreeSet::new(); report.packages.len()];
    for edge in report.edges.iter().filter(|edge| edge.slot_operator) {
        let Some(provider) = report.packages[edge.to as usize].portage() else { continue };
        let slot = format!("{}:{}/{}", provider.cpv.cp(), provider.slot, provider.subslot);
        bound[edge.from as usize].insert(slot);
    }
    bound
}

/// Computes a digest over parts with unambiguous boundaries.
#[derive(Default)]
struct Parts(Vec<Vec<u8>>);

impl Parts {
    fn add(&mut self, part: impl AsRef<[u8]>) {
        self.0.push(part.as_ref().to_vec());
    }

    /// Adds named values and their number, so that the end of the map is unambiguous.
    fn fields<'f>(&mut self, fields: impl IntoIterator<Item = (&'f String, &'f String)>) {
        let fields: BTreeMap<&String, &String> = fields.into_iter().collect();
        self.add(fields.len().to_be_bytes());
        for (name, value) in fields {
            self.add(name);
            self.add(value);
        }
    }

    fn digest(&self) -> Digest {
        Digest::of_fields(self.0.iter().map(Vec::as_slice))
    }
}

/// The key of a derivation or a source, computed from its output paths, which Nix in turn computes from all
/// inputs.
fn nix_key(report: &PlanReport, node: &Node) -> Option<Digest> {
    let members = node.members.iter().map(|&member| &report.packages[member as usize]);
    let mut parts = Parts::default();
    parts.add("nix-key-1");
    for package in members {
        let PlanPackage::Nix(package) = package else { return None };
        package.outputs.iter().for_each(|output| parts.add(&output.path));
    }
    Some(parts.digest())
}

fn reuse(report: &PlanReport, node: &Node, bound: &[BTreeSet<String>]) -> Digest {
    let mut parts = Parts::default();
    parts.add("reuse-key-1");
    for &member in &node.members {
        let Some(package) = report.packages[member as usize].portage() else { continue };
        for text in
            [package.cpv.as_str(), &package.slot, &package.subslot, &package.repository, &package.chost]
        {
            parts.add(text);
        }
        parts.add(package.use_flags.join(" "));
        // Which settings are common to all packages depends on the whole plan. A key must not, so it covers
        // common and own settings alike.
        parts.fields(report.settings.iter().chain(&package.fields));
        parts.add(match &package.live {
            None => "",
            Some(live) => live.commit.as_deref().unwrap_or("live"),
        });
        parts.add(bound[member as usize].len().to_be_bytes());
        bound[member as usize].iter().for_each(|slot| parts.add(slot));
    }
    for stage in &node.stages {
        parts.add(format!("{} {}", stage.package, stage.use_changes.join(" ")));
    }
    parts.digest()
}

fn strict(report: &PlanReport, node: &Node, reuse: Digest, mut deps: Vec<Digest>) -> Digest {
    let mut parts = Parts::default();
    parts.add("strict-key-1");
    parts.add(reuse.0);
    parts.add(report.toolchain.0);
    for &member in &node.members {
        let Some(package) = report.packages[member as usize].portage() else { continue };
        parts.add(package.inputs.0);
        parts.add(package.iuse.join(" "));
        parts.fields(&package.strict);
    }
    deps.sort_unstable();
    deps.iter().for_each(|dep| parts.add(dep.0));
    parts.digest()
}
