//! What of a new plan nobody has to build: built before, by whatever profile, or known to be
//! broken.

use crate::{
    event::Event,
    keys::keys,
    plan,
    swarm::{Built, Swarm},
    view,
};
use std::collections::BTreeMap;
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::PackageState,
    time::TimeMs,
    wire::{artifact::Artifact, plan::PlanReport},
};

/// The packages of a plan that are taken over, and those that are left alone.
pub(super) fn known(
    swarm: &Swarm,
    now: TimeMs,
    run: RunId,
    first: PackageId,
    report: &PlanReport,
) -> Vec<Event> {
    let profile = swarm.runs.get(&run).map(|run| &run.profile);
    let rule =
        profile.and_then(|name| swarm.profiles.get(name)).map(|p| p.request.rebuild).unwrap_or_default();
    let own = profile.map(|profile| Paths::of(swarm, profile)).unwrap_or_default();
    let nodes = plan::nodes(report);
    let mut events = Vec::new();
    for (n, (node, keys)) in nodes.iter().zip(keys(report, &nodes)).enumerate() {
        let key = keys.of(rule);
        let package = PackageId(first.0 + n as u64);
        let members = || node.members.iter().map(|&m| &report.packages[m as usize]);
        let unknown = members().any(|p| p.live.as_ref().is_some_and(|live| live.commit.is_none()));
        let fits = |built: &&Built| {
            let stale = unknown && now.since(built.at) >= swarm.policy.live_max_age_ms;
            !swarm.rebuilds.contains_key(&key) && !stale && own.admit(&built.artifacts)
        };
        if let Some(built) = swarm.built.get(&key).filter(fits) {
            events.push(Event::PackageReused { package, artifacts: built.artifacts.clone() });
        } else if let Some(broken) = swarm.quarantine.keeps(swarm, now, &keys.strict) {
            events.push(Event::PackageHeld { package, reason: broken.words() });
        }
    }
    events
}

/// The packages of other profiles' runs under way for which a result does as well.
pub(super) fn by_others(swarm: &Swarm, received: PackageId, artifacts: &[Artifact]) -> Vec<Event> {
    let Some(package) = swarm.packages.get(&received) else { return Vec::new() };
    let others = swarm.runs.iter().filter(|(id, run)| **id != package.run && !run.state.is_over());
    let mut events = Vec::new();
    for (_, run) in others {
        let same =
            run.open.iter().filter_map(|(_, id)| Some((*id, swarm.packages.get(id)?))).find(|(_, p)| {
                p.build_key == package.build_key
                    && matches!(p.state, PackageState::Blocked | PackageState::Needed)
            });
        if let Some((package, _)) = same
            && Paths::of(swarm, &run.profile).admit(artifacts)
        {
            events.push(Event::PackageReused { package, artifacts: artifacts.to_vec() });
        }
    }
    events
}

/// What a profile may have published. A path keeps its bytes, so what another profile has
/// built under the same path cannot be taken over.
#[derive(Default)]
struct Paths(BTreeMap<String, Digest>);

impl Paths {
    fn of(swarm: &Swarm, profile: &Name) -> Self {
        let known = view::artifacts(swarm, Some(profile));
        Self(known.into_iter().map(|a| (a.target.path(), a.digest)).collect())
    }

    fn admit(&self, artifacts: &[Artifact]) -> bool {
        artifacts.iter().all(|a| self.0.get(&a.target.path()).is_none_or(|known| *known == a.digest))
    }
}
