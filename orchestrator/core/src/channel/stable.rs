//! The published contents of a profile's stable channel, as numbered generations.
//!
//! [`Channel`](crate::state::Channel) is what the runs of a profile lead to. Whenever it changes, the
//! core makes the next generation of it and the shell publishes that. A rollback makes a generation
//! with the content of an earlier one, so numbers only increase and clients that refuse to go
//! backwards follow, and holds the channel: runs no longer move it until it is promoted.

use crate::{
    decision::{Decision, already},
    event::Event,
    refusal::Refusal,
    reply::Reply,
    state::{Profile, Swarm},
};
use swarm_common::{name::Name, wire::concern::ConcernKind};

/// Generations kept in any case: without an earlier one there is nothing to roll back to.
pub(crate) const LEAST_KEPT: usize = 2;

/// Generations are dropped early if they have more artifacts than this, because drones send the plans that
/// determine their size.
const MOST_ARTIFACTS: usize = 10_000;

/// No channel gets so many generations.
const MOST_GENERATIONS: u64 = 1 << 50;

fn made(name: &Name, profile: &Profile, like: Option<u64>) -> Event {
    Event::GenerationMade { profile: name.clone(), generation: profile.next_generation(), like }
}

/// The generations to make: of channels that have moved and are not held, and of those whose number
/// is taken.
pub(crate) fn due(swarm: &Swarm) -> impl Iterator<Item = Event> {
    swarm.profiles.iter().filter_map(|(name, profile)| {
        let stable = &profile.stable;
        let current = stable.current().map(|current| current.number);
        if profile.is_staged() && !stable.held {
            return Some(made(name, profile, None));
        }
        let taken = current.filter(|current| *current < profile.generation.max(stable.skipped + 1))?;
        Some(made(name, profile, Some(taken)))
    })
}

/// Generations beyond those to keep.
pub(crate) fn surplus(swarm: &Swarm) -> impl Iterator<Item = Event> {
    swarm.profiles.iter().flat_map(move |(name, profile)| {
        let generations = &profile.stable.generations;
        // The oldest first: without it, there may be few enough.
        let is_large = profile.stable.artifacts.len() > MOST_ARTIFACTS && generations.len() > LEAST_KEPT;
        let surplus = generations.len().saturating_sub(swarm.policy.keep_runs.max(LEAST_KEPT));
        generations
            .iter()
            .take(surplus.max(usize::from(is_large)))
            .map(|old| Event::GenerationForgotten { profile: name.clone(), generation: old.number })
    })
}

fn known<'s>(swarm: &'s Swarm, name: &Name) -> Result<&'s Profile, Refusal> {
    swarm.profiles.get(name).ok_or_else(|| Refusal::UnknownProfile(name.clone()))
}

pub(crate) fn roll_back(swarm: &Swarm, name: &Name, to: Option<u64>) -> Decision {
    let profile = known(swarm, name)?;
    let stable = &profile.stable;
    let none = || Refusal::UnknownGeneration { profile: name.clone(), generation: to };
    let current = stable.current().ok_or_else(none)?;
    let wanted = match to {
        Some(number) => stable.get(number),
        None => stable.before(current),
    };
    let wanted = wanted.ok_or_else(none)?;
    let mut events = Vec::new();
    if wanted.revision != current.revision {
        events.push(made(name, profile, Some(wanted.number)));
    }
    if !stable.held {
        events.push(Event::ChannelHeld { profile: name.clone() });
    }
    Ok((events, Reply::Done))
}

pub(crate) fn promote(swarm: &Swarm, name: &Name) -> Decision {
    let profile = known(swarm, name)?;
    let released = profile.stable.held.then(|| Event::ChannelReleased { profile: name.clone() });
    let made = profile.is_staged().then(|| made(name, profile, None));
    Ok((released.into_iter().chain(made).collect(), Reply::Done))
}

pub(crate) fn skip(swarm: &Swarm, name: &Name, last: u64) -> Decision {
    let profile = known(swarm, name)?;
    if last <= profile.stable.skipped {
        return already();
    }
    if last > MOST_GENERATIONS {
        return Err(Refusal::Invalid(format!("{last} cannot be the number of a generation")));
    }
    Ok((vec![Event::GenerationsSkipped { profile: name.clone(), last }], Reply::Done))
}

/// The channels that are held.
pub(crate) fn concerns(swarm: &Swarm) -> impl Iterator<Item = ConcernKind> {
    let held = swarm.profiles.iter().filter(|(_, profile)| profile.stable.held);
    held.filter_map(|(name, profile)| {
        let current = profile.stable.current()?;
        Some(ConcernKind::ChannelHeld {
            profile: name.clone(),
            generation: current.number,
            like: current.like,
            staged: profile.channel.run.filter(|_| profile.is_staged()),
        })
    })
}
