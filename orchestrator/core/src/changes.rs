//! Why a package is rebuilt: which of its inputs differ from the last time.

use crate::state::{Fields, Package, Swarm};
use std::collections::BTreeSet;
use swarm_common::{id::*, wire::drone::Target};

/// The run a package is compared with, and the differences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The last run that had the package.
    pub since: RunId,
    /// The version in that run, if it was different.
    pub version: Option<String>,
    /// All other differences, by name.
    pub fields: Vec<Change>,
}

/// A value that differs. Empty if absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub name: String,
    /// The value in the earlier run.
    pub from: String,
    /// The value in this run.
    pub to: String,
}

/// The differences from the last run of the same profile that had the package in the same slot.
/// `None` if there was none, or if the inputs of either are not kept.
#[must_use]
pub fn since_last(swarm: &Swarm, package: &Package) -> Option<Changes> {
    let profile = &swarm.runs.get(&package.run)?.profile;
    let earlier = swarm.runs.range(..package.run).rev().filter(|(_, run)| run.profile == *profile);
    let (since, last) = earlier.into_iter().find_map(|(run, record)| {
        let packages = record.packages.iter().filter_map(|id| swarm.packages.get(id));
        Some((*run, packages.into_iter().find(|last| is_same(last, package))?))
    })?;
    let (then, now) = (fields(swarm, last)?, fields(swarm, package)?);
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let value = |fields: &Fields, name: &String| fields.get(name).cloned().unwrap_or_default();
    let changes = names.into_iter().filter(|name| then.get(*name) != now.get(*name));
    Some(Changes {
        since,
        version: (last.title() != package.title()).then(|| last.title()),
        fields: changes
            .map(|name| Change { name: name.clone(), from: value(&then, name), to: value(&now, name) })
            .collect(),
    })
}

/// Whether both are the same packages in the same slots, regardless of versions.
fn is_same(one: &Package, other: &Package) -> bool {
    let place = |t: &Target| match t {
        Target::Portage(target) => (target.cpv.cp().to_owned(), target.slot.clone()),
        Target::Nix(target) => (target.family().to_owned(), target.output.clone()),
    };
    one.targets.iter().map(place).eq(other.targets.iter().map(place))
}

/// All inputs of a package's keys. If the package has several targets, each name ends with that of its
/// target.
fn fields(swarm: &Swarm, package: &Package) -> Option<Fields> {
    let inputs = swarm.inputs.get(&package.strict_key)?;
    let mut all = swarm.settings.get(&inputs.settings)?.clone();
    for (target, fields) in package.targets.iter().zip(&inputs.targets) {
        let own = match target {
            Target::Portage(target) => vec![
                ("use", target.use_flags.join(" ")),
                ("subslot", target.subslot.clone()),
                ("repository", target.repository.clone()),
                ("chost", target.chost.clone()),
            ],
            Target::Nix(target) => vec![("derivation", target.drv.clone().unwrap_or_default())],
        };
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        for (name, value) in own.chain(fields.clone()) {
            let name = match package.targets.len() {
                1 => name,
                _ => format!("{} of {}", name, target.family()),
            };
            all.insert(name, value);
        }
    }
    all.insert("bound".into(), inputs.bound.iter().cloned().collect::<Vec<_>>().join(" "));
    Some(all)
}
