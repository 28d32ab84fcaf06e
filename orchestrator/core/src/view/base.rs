//! API views of bases, and concerns about them.

use crate::{
    state::{Drone, FollowFailure, Job, NamedBase, Swarm},
    text,
};
use std::collections::BTreeSet;
use swarm_common::{
    digest::Digest,
    id::DroneId,
    name::Name,
    state::DroneState,
    wire::{
        base::{BaseFailure, BaseFollowing, BaseStatus, BaseView},
        concern::ConcernKind,
    },
};

#[must_use]
pub fn base(swarm: &Swarm, name: &Name, base: &NamedBase) -> BaseView {
    BaseView {
        name: name.clone(),
        generations: base.generations.iter().rev().cloned().collect(),
        profiles: swarm.users_of(name).cloned().collect(),
        follow: base.follow,
        following: following(swarm, base),
        failed: base.failed.as_ref().map(failure),
    }
}

pub(super) fn statuses(swarm: &Swarm) -> Vec<BaseStatus> {
    let of = |(name, base): (&Name, &NamedBase)| {
        let current = base.current()?;
        Some(BaseStatus {
            name: name.clone(),
            generation: current.number,
            made_at: current.made_at,
            run: current.run,
            following: following(swarm, base),
        })
    };
    swarm.bases.iter().filter_map(of).collect()
}

fn following(swarm: &Swarm, base: &NamedBase) -> Option<BaseFollowing> {
    let following = base.following.as_ref()?;
    let before: BTreeSet<Digest> = base.current()?.installed.iter().map(|d| d.digest).collect();
    let new = following.installed.iter().filter(|d| !before.contains(&d.digest)).count();
    let at_work = swarm.attempts_at(Job::Base(following.run)).next();
    Some(BaseFollowing {
        run: following.run,
        packages: new as u64,
        since: following.since,
        drone: at_work.map(|(_, attempt)| attempt.drone_name.clone()),
        reason: text::optional_reason(following.reason.as_ref()),
    })
}

fn failure(failed: &FollowFailure) -> BaseFailure {
    BaseFailure { run: failed.run, reason: text::reason(&failed.reason) }
}

pub(super) fn concerns(swarm: &Swarm, found: &mut Vec<ConcernKind>) {
    for (name, base) in &swarm.bases {
        if let (Some(failed), Some(current)) = (&base.failed, base.current()) {
            found.push(ConcernKind::BaseStays {
                base: name.clone(),
                generation: current.number,
                run: failed.run,
                why: text::reason(&failed.reason),
            });
        }
        let Some((id, run)) = base.following.as_ref().and_then(|f| Some((f.run, swarm.runs.get(&f.run)?)))
        else {
            continue;
        };
        let able =
            |(id, d): (&DroneId, &Drone)| d.builds_for(run) && swarm.state_of(*id, d) == DroneState::Online;
        if !swarm.drones.iter().any(able) {
            found.push(ConcernKind::BaseWaits { base: name.clone(), run: id });
        }
    }
}
