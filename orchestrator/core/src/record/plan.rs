//! Plans. They are the largest events, so packages and edges are converted one at a time while they are
//! written.

use super::{Recorded, artifact::ContentHash, drone::Toolchain, enums, is_default, structs};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    wire::{nix, plan},
};

/// What the resolver reported.
#[derive(Serialize, Deserialize)]
struct Plan<'p, Packages, Edges, Problems> {
    packages: Packages,
    edges: Edges,
    cycles: Vec<Cycle>,
    problems: Problems,
    toolchain: Digest,
    #[serde(default, skip_serializing_if = "is_default")]
    settings: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    built_with: Option<Box<Toolchain>>,
    #[serde(default, skip_serializing_if = "is_default")]
    base_provides: Cow<'p, BTreeMap<String, BTreeSet<String>>>,
    #[serde(default, skip_serializing_if = "is_default")]
    roots: Vec<Root>,
    #[serde(default, skip_serializing_if = "is_default")]
    derivations: Option<Box<DerivationArchive>>,
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
        derivations,
    } = &**report;
    let plan = Plan {
        packages: Each(packages),
        edges: Each(edges),
        cycles: cycles.record(),
        problems: Each(problems),
        toolchain: *toolchain,
        settings: settings.clone(),
        built_with: built_with.record(),
        base_provides: Cow::Borrowed(&**base_provides),
        roots: roots.record(),
        derivations: derivations.record(),
    };
    plan.serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<plan::PlanReport>, D::Error> {
    let plan = Plan::<Vec<Package>, Vec<Edge>, Vec<Problem>>::deserialize(from)?;
    Ok(Arc::new(plan::PlanReport {
        packages: Recorded::restore(plan.packages),
        edges: Recorded::restore(plan.edges),
        cycles: Recorded::restore(plan.cycles),
        problems: Recorded::restore(plan.problems),
        toolchain: plan.toolchain,
        settings: plan.settings,
        built_with: Recorded::restore(plan.built_with),
        base_provides: Box::new(plan.base_provides.into_owned()),
        roots: Recorded::restore(plan.roots),
        available: Vec::new(),
        derivations: Recorded::restore(plan.derivations),
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

    /// The stored archive of a plan's derivations.
    DerivationArchive of nix::DerivationArchive {
        digest: Digest,
        size: u64,
    }
}

/// An edge, written as `[from, to, kinds]` because a plan has many. `kinds` has a letter for each property
/// that is set ([`LETTERS`]). Early versions wrote a map.
#[derive(Debug, PartialEq)]
pub(crate) struct Edge(plan::PlanEdge);

/// The letters of `build`, `runtime`, `slot_operator` and `satisfied`.
const LETTERS: [char; 4] = ['b', 'r', '=', 's'];

impl Recorded for plan::PlanEdge {
    type As = Edge;

    fn record(&self) -> Edge {
        Edge(self.clone())
    }

    fn restore(written: Edge) -> Self {
        written.0
    }
}

impl Serialize for Edge {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let plan::PlanEdge { from, to: target, build, runtime, slot_operator, satisfied } = self.0;
        let properties = LETTERS.into_iter().zip([build, runtime, slot_operator, satisfied]);
        let kinds: String = properties.filter(|(_, is_set)| *is_set).map(|(letter, _)| letter).collect();
        (from, target, kinds).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Edge {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EdgeVisitor)
    }
}

/// Reads both forms of an edge.
struct EdgeVisitor;

impl<'de> Visitor<'de> for EdgeVisitor {
    type Value = Edge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an edge")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Edge, A::Error> {
        let missing = || A::Error::custom("an edge has three parts");
        let from = items.next_element()?.ok_or_else(missing)?;
        let to = items.next_element()?.ok_or_else(missing)?;
        let kinds: String = items.next_element()?.ok_or_else(missing)?;
        if let Some(unknown) = kinds.chars().find(|letter| !LETTERS.contains(letter)) {
            return Err(A::Error::custom(format!("unknown kind of edge `{unknown}`")));
        }
        let [build, runtime, slot_operator, satisfied] = LETTERS.map(|letter| kinds.contains(letter));
        Ok(Edge(plan::PlanEdge { from, to, build, runtime, slot_operator, satisfied }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Edge, A::Error> {
        EarlyEdge::deserialize(MapAccessDeserializer::new(map)).map(EarlyEdge::restored)
    }
}

/// An edge as early versions wrote it.
#[derive(Deserialize)]
struct EarlyEdge {
    from: u32,
    to: u32,
    #[serde(default)]
    build: bool,
    #[serde(default)]
    runtime: bool,
    #[serde(default)]
    slot_operator: bool,
    #[serde(default)]
    satisfied: bool,
}

impl EarlyEdge {
    fn restored(self) -> Edge {
        let Self { from, to, build, runtime, slot_operator, satisfied } = self;
        Edge(plan::PlanEdge { from, to, build, runtime, slot_operator, satisfied })
    }
}
