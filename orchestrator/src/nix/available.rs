//! Checks the paths that a plan expects from upstream caches. The drone's Nix asks the caches without
//! verifying signatures, and its answers may be old.

use super::upstream::Upstreams;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use swarm_common::{
    digest::Digest,
    wire::{
        nix::{base_name, is_store_path},
        plan::{PlanPackage, PlanProblem, PlanReport, ProblemKind},
    },
};
use swarm_formats::nix::store_path::StorePath;

/// Maximum paths to ask caches for. Nixpkgs has fewer.
const MOST: usize = 200_000;

/// Reports a problem for each path that a plan needs and does not contain, if no upstream cache of its
/// snapshot has it with a signature by one of the cache's keys. Attributes at such paths are removed from the
/// plan.
///
/// # Errors
/// The snapshot cannot be read, or a cache does not answer.
pub async fn check(
    upstreams: &Arc<Upstreams>,
    snapshot: Digest,
    plan: &mut PlanReport,
) -> Result<(), String> {
    let mut external: BTreeMap<String, StorePath> = BTreeMap::new();
    let available = std::mem::take(&mut plan.available);
    for path in plan.roots.iter().map(|root| &root.path).chain(&available).filter(|path| is_store_path(path))
    {
        external.extend(base_name(path).parse().ok().map(|parsed| (path.clone(), parsed)));
    }
    let packages = plan.packages.iter().filter_map(PlanPackage::nix);
    for output in packages.flat_map(|package| &package.outputs) {
        external.remove(&output.path);
    }
    if external.is_empty() {
        return Ok(());
    }
    if external.len() > MOST {
        return Err(format!(
            "the plan needs {} paths of upstream caches; at most {MOST} are taken",
            external.len()
        ));
    }
    let this = upstreams.clone();
    let source = tokio::task::spawn_blocking(move || this.source(snapshot)).await;
    let source = source.map_err(std::io::Error::other).flatten();
    let source = source.map_err(|error| format!("cannot read the snapshot {}: {error}", snapshot.short()))?;
    if source.upstreams.is_empty() {
        // Without upstream caches, the drone's Nix expected nothing from them.
        return Ok(());
    }
    let hashes = external.values().map(|path| path.hash_part().to_owned()).collect();
    let found: BTreeSet<StorePath> = upstreams.find(&source.upstreams, hashes).await?;
    external.retain(|_, path| !found.contains(&*path));
    let caches: Vec<&str> = source.upstreams.iter().map(|upstream| upstream.url.as_str()).collect();
    let mut problem = |atom: &str, path: &str| {
        plan.problems.push(PlanProblem {
            kind: ProblemKind::Other,
            atoms: vec![atom.to_owned()],
            message: format!(
                "{path} is not planned and must come from an upstream cache, but none has it with a signature by one \
                 of its keys: {}",
                caches.join(", ")
            ),
            suggestion: None,
        });
    };
    let mut roots = BTreeSet::new();
    for root in plan.roots.iter().filter(|root| external.contains_key(&root.path)) {
        problem(&root.attribute, &root.path);
        roots.insert(root.path.clone());
    }
    for path in external.keys().filter(|path| !roots.contains(*path)) {
        problem(base_name(path), path);
    }
    plan.roots.retain(|root| !roots.contains(&root.path));
    Ok(())
}
