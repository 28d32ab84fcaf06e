//! Why a package is rebuilt: which of its inputs differ from the last time.

use crate::{keys::Fields, package::Package, swarm::Swarm};
use std::collections::BTreeSet;
use swarm_common::{id::*, wire::drone::Target};

/// What a package is compared with, and what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The run that had it last.
    pub since: RunId,
    /// Its version then, if it was another one.
    pub version: Option<String>,
    /// Everything else, by name.
    pub fields: Vec<Change>,
}

/// A value that differs. Empty where there was none, or is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What it is.
    pub name: String,
    /// Then.
    pub from: String,
    /// Now.
    pub to: String,
}

/// What differs from the last run of the same profile that had the package in the same slot.
/// `None` if there was none, or nothing is kept of one of them.
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

/// Whether both are the same packages in the same slots, whatever their versions.
fn is_same(one: &Package, other: &Package) -> bool {
    let place = |t: &Target| (t.cpv.cp().to_owned(), t.slot.clone());
    one.targets.iter().map(place).eq(other.targets.iter().map(place))
}

/// All that the keys of a package were computed from. What several targets have goes by the
/// name of each.
fn fields(swarm: &Swarm, package: &Package) -> Option<Fields> {
    let inputs = swarm.inputs.get(&package.strict_key)?;
    let mut all = swarm.settings.get(&inputs.settings)?.clone();
    for (target, fields) in package.targets.iter().zip(&inputs.targets) {
        let own = [
            ("use", target.use_flags.join(" ")),
            ("subslot", target.subslot.clone()),
            ("repository", target.repository.clone()),
            ("chost", target.chost.clone()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        for (name, value) in own.chain(fields.clone()) {
            let name = match package.targets.len() {
                1 => name,
                _ => format!("{} of {}", name, target.cpv.cp()),
            };
            all.insert(name, value);
        }
    }
    all.insert("bound".into(), inputs.bound.iter().cloned().collect::<Vec<_>>().join(" "));
    Some(all)
}
