//! Plans of Nix: derivations and sources in place of packages.

use super::{LONGEST_NAME, MOST_BYTES, MOST_PROBLEMS, is_name};
use std::collections::BTreeSet;
use swarm_common::wire::{
    drone::Target,
    nix::{NixMachine, NixPackage, NixTarget, check_name, is_store_path},
    plan::{PlanPackage, PlanReport},
};

/// The maximum number of outputs of a derivation. A few derivations of Nixpkgs have a dozen.
const MOST_OUTPUTS: usize = 64;

/// Checks what is specific to derivations: that a plan does not mix them with Portage packages, and that each
/// output has a store path of its own.
pub(super) fn check(report: &PlanReport) -> Result<(), String> {
    let derivations = || report.packages.iter().filter_map(PlanPackage::nix);
    match derivations().count() {
        0 if report.roots.is_empty() => return Ok(()),
        count if count == report.packages.len() => {}
        _ => return Err("the plan has both Portage packages and Nix derivations".into()),
    }
    if !report.cycles.is_empty() || report.edges.iter().any(|edge| edge.runtime) {
        return Err("the plan of a Nix profile has cycles or run-time dependencies".into());
    }
    let (mut paths, mut sum) = (BTreeSet::new(), 0);
    for package in derivations() {
        let shown = package.name.chars().take(80).collect::<String>();
        let shown = shown.escape_debug();
        if check_name(&package.name).is_err()
            || package.outputs.is_empty()
            || package.outputs.len() > MOST_OUTPUTS
        {
            return Err(format!(
                "the derivation `{shown}` of the plan has an invalid name or no outputs, or too many"
            ));
        }
        let drv = package.drv.iter().filter(|drv| !drv.ends_with(".drv"));
        let all = package.outputs.iter().map(|output| &output.path).chain(&package.drv);
        if let Some(path) = drv.chain(all.filter(|path| !is_store_path(path))).next() {
            let path: String = path.chars().take(80).collect();
            return Err(format!(
                "`{shown}` of the plan has `{}`, which is no store path",
                path.escape_debug()
            ));
        }
        let names = package
            .outputs
            .iter()
            .map(|output| &output.name)
            .chain(Some(&package.system).filter(|system| !system.is_empty()))
            .chain(&package.features);
        if let Some(name) = names.clone().find(|name| !is_name(name)) {
            let name: String = name.chars().take(80).collect();
            return Err(format!(
                "`{shown}` of the plan has the output, system or feature `{}`",
                name.escape_debug()
            ));
        }
        let longest = package.features.iter().chain([&package.system]).map(String::len).max();
        if package.features.len() > NixMachine::MOST || longest > Some(NixMachine::LONGEST) {
            return Err(format!(
                "`{shown}` of the plan requires {} system features, or has a long name of one; at most {} of {} bytes \
                 are taken",
                package.features.len(),
                NixMachine::MOST,
                NixMachine::LONGEST
            ));
        }
        if let Some(output) = package.outputs.iter().find(|output| !paths.insert(output.path.as_str())) {
            return Err(format!("the plan has {} twice", output.path));
        }
        let words =
            names.chain([&package.name]).chain(&package.drv).chain(package.outputs.iter().map(|o| &o.path));
        sum += words.map(|text| text.len() + size_of::<String>()).sum::<usize>();
    }
    for root in &report.roots {
        if !is_store_path(&root.path) || root.attribute.len() > LONGEST_NAME {
            let attribute: String = root.attribute.chars().take(80).collect();
            return Err(format!(
                "the attribute `{}` of the plan has no store path",
                attribute.escape_debug()
            ));
        }
        sum += root.attribute.len() + root.path.len();
    }
    if report.roots.len() > MOST_PROBLEMS || sum > MOST_BYTES {
        return Err(format!(
            "the names and paths of the plan have {sum} bytes; at most {MOST_BYTES} are taken"
        ));
    }
    Ok(())
}

pub(super) fn targets(package: &NixPackage) -> impl Iterator<Item = Target> {
    package.outputs.iter().map(|output| {
        let target = NixTarget {
            name: package.name.clone(),
            drv: package.drv.clone(),
            output: output.name.clone(),
            path: output.path.clone(),
            content_hash: package.content_hash,
        };
        target.into()
    })
}
