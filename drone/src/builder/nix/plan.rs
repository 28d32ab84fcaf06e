//! Makes a plan: the derivations that a snapshot's attributes need and that no upstream cache has, with their
//! sources.

use super::{
    derivations,
    evaluation::{self, Root},
    failure,
    graph::{self, Graph, MOST_PACKAGES},
    missing::missing,
    server,
    session::{Session, disk, drone},
    store::Store,
};
use crate::builder::{BuildContext, Stop, steps::Steps};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    state::{FailureClass, Phase},
    wire::{
        nix::NixRoot,
        plan::{PlanEdge, PlanPackage, PlanProblem, PlanReport, ProblemKind},
    },
};
use swarm_formats::{nix::store_path::StoreDir, snapshot::NixSource};

/// Maximum number of edges that an orchestrator accepts (`core/src/plan.rs`).
const MOST_EDGES: usize = 250_000;

/// Makes the plan for the attributes and hosts of the snapshot.
pub(super) async fn plan(
    context: &BuildContext,
    source: &NixSource,
    steps: &mut Steps,
) -> Result<PlanReport, Stop> {
    let mut session = Session::open(context, steps).await?;
    session.clean().await?;
    session.steps.phase(Phase::Building).await;
    let evaluation = evaluation::renew(&mut session, source).await?;
    let derivations: BTreeSet<String> = evaluation.roots.iter().map(|root| root.derivation.clone()).collect();
    let derivations: Vec<String> = derivations.into_iter().collect();
    let store = without_outputs(&mut session, source, &derivations).await?;
    let built = missing(&mut session, &store, &derivations, &source.upstreams).await?;
    check(built.len(), 0)?;
    let all: BTreeSet<String> = built.iter().chain(&derivations).cloned().collect();
    let from = session.evaluation.clone();
    let graph = tokio::task::spawn_blocking(move || Graph::read(&from, &all));
    let graph = graph.await.map_err(|error| drone(error.to_string()))?;
    let mut problems = evaluation.problems;
    let (needed, roots) = select(&graph, &built, evaluation.roots, &mut problems);
    let used: BTreeSet<String> = needed.iter().flat_map(|path| graph.sources(path)).collect();
    if !needed.is_empty() {
        // This drone probably builds some of them, so a process for that starts meanwhile.
        server::warm(&session);
    }
    let sources = sources(&mut session, used).await?;
    let available = available(&session.evaluation, &graph, &needed).map_err(|why| {
        failure::stop(FailureClass::Drone, Phase::Building, format!("the inputs cannot be read: {why}"))
    })?;
    let text = format!("to build: {}; sources: {}", needed.len(), sources.len());
    session.steps.log.say(&text).await;
    let report = report(&graph, &needed, &sources, roots, problems)?;
    let derivations = derivations::send(&mut session, &needed).await?.map(Box::new);
    Ok(PlanReport { available, derivations, ..report })
}

fn check(packages: usize, edges: usize) -> Result<(), Stop> {
    if packages <= MOST_PACKAGES && edges <= MOST_EDGES {
        return Ok(());
    }
    let message = format!(
        "the plan has {packages} derivations and sources and {edges} edges; at most {MOST_PACKAGES} and {MOST_EDGES} \
         are taken. An upstream cache that has most of them makes it smaller"
    );
    Err(failure::stop(FailureClass::Package, Phase::Building, message))
}

/// A store with the derivations and without their outputs: the evaluation store, unless evaluation may build.
async fn without_outputs(
    session: &mut Session<'_>,
    source: &NixSource,
    derivations: &[String],
) -> Result<Store, Stop> {
    if !source.import_from_derivation || derivations.is_empty() {
        return Ok(session.evaluation.clone());
    }
    let dir = session.context.attempt_dir.join("planning");
    let store = Store::open(&dir, &session.context.config.nix).map_err(|error| disk("a store", &error))?;
    let derivations: Vec<&str> = derivations.iter().map(String::as_str).collect();
    session.copy_derivations(&derivations, &store).await?;
    Ok(store)
}

/// The derivations to build for those attributes that can be built, and these attributes.
fn select(
    graph: &Graph,
    built: &BTreeSet<String>,
    roots: Vec<Root>,
    problems: &mut Vec<PlanProblem>,
) -> (BTreeSet<String>, Vec<NixRoot>) {
    let (mut needed, mut found) = (BTreeSet::new(), Vec::new());
    for root in roots {
        let selected =
            output(graph, &root).and_then(|path| Ok((path, graph.needs(&root.derivation, built)?)));
        match selected {
            Ok((path, needs)) => {
                needed.extend(needs);
                found.push(NixRoot { attribute: root.attribute, path, host: root.host });
            }
            Err(message) => problems.push(PlanProblem {
                kind: ProblemKind::Evaluation,
                atoms: vec![root.attribute],
                message,
                suggestion: None,
            }),
        }
    }
    (needed, found)
}

/// The outputs of other derivations that the derivations to build need.
fn available(store: &Store, graph: &Graph, needed: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let dir = StoreDir::default();
    let mut required: BTreeMap<String, BTreeSet<&String>> = BTreeMap::new();
    for path in needed {
        for (input, names) in &graph.get(path)?.input_derivations {
            let input = dir.absolute(input);
            if !needed.contains(&input) {
                required.entry(input).or_default().extend(names);
            }
        }
    }
    let mut found = Vec::new();
    for (input, names) in required {
        let derivation = graph::read(store, &input)?;
        let outputs = names.iter().filter_map(|name| derivation.outputs.get(*name));
        found.extend(outputs.map(|output| dir.absolute(&output.path)));
    }
    Ok(found)
}

/// The store path that an attribute evaluates to.
fn output(graph: &Graph, root: &Root) -> Result<String, String> {
    let derivation = graph.get(&root.derivation).map_err(str::to_owned)?;
    let outputs = &derivation.outputs;
    let found = match &root.output {
        Some(name) => outputs.get(name),
        None => outputs.get("out").or_else(|| outputs.values().next()),
    };
    let path = found.map(|output| StoreDir::default().absolute(&output.path));
    path.ok_or_else(|| format!("{} has no such output", root.derivation))
}

/// The sources and everything that they refer to, each with its references.
async fn sources(
    session: &mut Session<'_>,
    used: BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<String>>, Stop> {
    let mut found = BTreeMap::new();
    let mut next: Vec<String> = used.into_iter().collect();
    while !next.is_empty() {
        let store = session.evaluation.clone();
        found.extend(session.registered(&store, next.iter().map(String::as_str)).await?);
        next = found.values().flatten().filter(|path| !found.contains_key(*path)).cloned().collect();
        check(found.len() + next.len(), 0)?;
    }
    // This drone probably delivers them too.
    session.context.caches.nix.remember_sources(&found);
    Ok(found)
}

fn report(
    graph: &Graph,
    needed: &BTreeSet<String>,
    sources: &BTreeMap<String, Vec<String>>,
    roots: Vec<NixRoot>,
    problems: Vec<PlanProblem>,
) -> Result<PlanReport, Stop> {
    let nodes = needed.iter().chain(sources.keys());
    let numbers: BTreeMap<&String, u32> = nodes.zip(0..).collect();
    let broken = |why: &str| failure::stop(FailureClass::Drone, Phase::Building, why.to_owned());
    let (mut packages, mut edges) = (Vec::new(), Vec::new());
    let mut depend = |from: &String, on: &[String]| {
        let to = on.iter().filter_map(|path| numbers.get(path));
        let edge = |&to| PlanEdge {
            from: numbers[from],
            to,
            build: true,
            runtime: false,
            slot_operator: false,
            satisfied: false,
        };
        edges.extend(to.map(edge));
    };
    for path in needed {
        packages.push(PlanPackage::Nix(graph::package(path, graph.get(path).map_err(broken)?)));
        depend(path, &graph.inputs(path).map_err(|why| broken(&why))?);
        depend(path, &graph.sources(path));
    }
    for (path, references) in sources {
        packages.push(PlanPackage::Nix(graph::source(path)));
        depend(path, references);
    }
    check(packages.len(), edges.len())?;
    Ok(PlanReport {
        packages,
        edges,
        cycles: Vec::new(),
        problems,
        toolchain: Digest::of(b"nix"),
        settings: BTreeMap::new(),
        built_with: None,
        base_provides: Box::default(),
        roots,
        available: Vec::new(),
        derivations: None,
    })
}
