//! Plans. They are the largest events, so packages and edges are converted one at a time while they are
//! written.

use super::{Recorded, artifact::ContentHash, drone::Toolchain, enums, is_default, structs};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    wire::{nix, plan},
};

/// What the resolver reported.
#[derive(Serialize, Deserialize)]
struct Plan<Packages, Edges> {
    packages: Packages,
    edges: Edges,
    cycles: Vec<Cycle>,
    problems: Vec<Problem>,
    toolchain: Digest,
    #[serde(default, skip_serializing_if = "is_default")]
    settings: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    built_with: Option<Box<Toolchain>>,
    #[serde(default, skip_serializing_if = "is_default")]
    base_provides: BTreeMap<String, BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "is_default")]
    roots: Vec<Root>,
}

/// Items that are converted while they are written.
struct Each<'p, T>(&'p [T]);

impl<T: Recorded<As: Serialize>> Serialize for Each<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(T::record))
    }
}

pub(crate) fn serialize<S: Serializer>(report: &Arc<plan::PlanReport>, to: S) -> Result<S::Ok, S::Error> {
    let plan::PlanReport {
        packages,
        edges,
        cycles,
        problems,
        toolchain,
        settings,
        built_with,
        base_provides,
        roots,
        // Checked on arrival and not kept.
        available: _,
    } = &**report;
    let plan = Plan {
        packages: Each(packages),
        edges: Each(edges),
        cycles: cycles.record(),
        problems: problems.record(),
        toolchain: *toolchain,
        settings: settings.clone(),
        built_with: built_with.record(),
        base_provides: (**base_provides).clone(),
        roots: roots.record(),
    };
    plan.serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<plan::PlanReport>, D::Error> {
    let plan = Plan::<Vec<Package>, Vec<Edge>>::deserialize(from)?;
    Ok(Arc::new(plan::PlanReport {
        packages: Recorded::restore(plan.packages),
        edges: Recorded::restore(plan.edges),
        cycles: Recorded::restore(plan.cycles),
        problems: Recorded::restore(plan.problems),
        toolchain: plan.toolchain,
        settings: plan.settings,
        built_with: Recorded::restore(plan.built_with),
        base_provides: Box::new(plan.base_provides),
        roots: Recorded::restore(plan.roots),
        available: Vec::new(),
    }))
}

enums! {
    /// A package of a plan. Untagged: the fields tell the variants apart.
    #[serde(untagged)]
    Package of plan::PlanPackage {
        Portage(package: Box<PortagePackage>),
        Nix(package: NixPackage),
    }

    /// Why the resolver rejected something.
    #[serde(rename_all = "kebab-case")]
    ProblemKind of plan::ProblemKind {
        UseChange,
        Keyword,
        License,
        Mask,
        SlotConflict,
        Unsatisfied,
        Circular,
        Evaluation,
        #[serde(other)]
        Other,
    }
}

structs! {
    PortagePackage of plan::PortagePackage {
        cpv: Cpv,
        slot: String,
        subslot: String,
        repository: String,
        use_flags: Vec<String>,
        iuse: Vec<String>,
        chost: String,
        inputs: Digest,
        #[serde(default, skip_serializing_if = "is_default")]
        fields: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "is_default")]
        strict: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "is_default")]
        live: Option<Live>,
        #[serde(default, skip_serializing_if = "is_default")]
        in_base: bool,
    }

    /// The sources of a live ebuild.
    Live of plan::Live {
        commit: Option<String>,
    }

    /// A derivation or a source of a plan.
    NixPackage of nix::NixPackage {
        name: String,
        #[serde(default, skip_serializing_if = "is_default")]
        drv: Option<String>,
        outputs: Vec<NixOutput>,
        #[serde(default)]
        system: String,
        #[serde(default)]
        fixed: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        content_hash: Option<ContentHash>,
        #[serde(default)]
        features: Vec<String>,
        #[serde(default)]
        local: bool,
    }

    NixOutput of nix::NixOutput {
        name: String,
        path: String,
    }

    Edge of plan::PlanEdge {
        from: u32,
        to: u32,
        #[serde(default, skip_serializing_if = "is_default")]
        build: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        runtime: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        slot_operator: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        satisfied: bool,
    }

    /// A cycle of packages that depend on each other.
    Cycle of plan::PlanCycle {
        members: Vec<u32>,
        stages: Vec<Stage>,
    }

    /// A stage of building a cycle.
    Stage of plan::PlanStage {
        package: u32,
        use_changes: Vec<String>,
    }

    /// What the resolver rejected.
    Problem of plan::PlanProblem {
        kind: ProblemKind,
        atoms: Vec<String>,
        message: String,
        suggestion: Option<String>,
    }

    /// An evaluated attribute of a Nix profile.
    Root of nix::NixRoot {
        attribute: String,
        path: String,
        #[serde(default)]
        host: bool,
    }
}
