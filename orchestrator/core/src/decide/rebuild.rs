//! Decides requests to rebuild packages whose inputs have not changed.

use super::Decision;
use crate::{
    closure,
    event::Event,
    reason::Reason,
    refusal::Refusal,
    reply::Reply,
    state::{Package, Swarm},
};
use swarm_common::{id::*, state::PackageState};

pub(super) fn rebuild(swarm: &Swarm, id: PackageId, dependants: bool, reason: &str) -> Decision {
    let package = swarm.packages.get(&id).ok_or(Refusal::UnknownPackage(id))?;
    if !is_known(swarm, package) {
        let hint = match package.state {
            PackageState::Delegated => "a drone is building it",
            PackageState::Cancelled => "it was never built; start a new run to build it",
            _ => "it has not been built yet; its run will build it",
        };
        return Err(Refusal::WrongState {
            what: package.title(),
            state: package.state.word().into(),
            hint: hint.into(),
        });
    }
    let mut packages = vec![id];
    if dependants {
        let run = swarm.runs.get(&package.run).ok_or(Refusal::UnknownRun(package.run))?;
        let mut others = closure::built_with(swarm, run, id);
        others.retain(|other| swarm.packages.get(other).is_some_and(|p| is_known(swarm, p)));
        packages.extend(others);
    }
    let event = Event::RebuildWanted { packages: packages.clone(), reason: Reason::admin(reason) };
    Ok((vec![event], Reply::Packages(packages)))
}

/// Whether a new run would not build the package if none of its inputs changed.
fn is_known(swarm: &Swarm, package: &Package) -> bool {
    swarm.built.contains_key(&package.build_key) || package.state == PackageState::Quarantined
}
