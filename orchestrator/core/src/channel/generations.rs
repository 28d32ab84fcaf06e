//! The published contents of a profile's channels, as numbered generations.
//!
//! [`Channel`](crate::state::Channel) is what the runs of a profile lead to. Whenever it changes, the core
//! makes the next generation of the channel that the profile publishes to, and the shell publishes it. If
//! that channel is staging, a promotion gives stable the content of a staged generation. A rollback gives
//! stable the content of one of its earlier generations and holds it: runs do not change it until the next
//! promotion.
//!
//! Old generations are forgotten, except those that an admin has pinned ([`pins`](super::pins)).
//!
//! A promotion and a rollback make new generations, so numbers only increase, and clients that refuse to go
//! backwards follow. The channels of a profile never have the same number.

use crate::{
    decision::{Decision, already},
    event::Event,
    refusal::Refusal,
    reply::Reply,
    state::{Generation, History, Profile, Swarm},
};
use swarm_common::{
    id::RunId,
    name::Name,
    wire::{channel::ChannelName, concern::ConcernKind},
};

/// Number of generations always kept: without an earlier one there is nothing to roll back to.
pub(crate) const LEAST_KEPT: usize = 2;

/// Generations are dropped early if they have more artifacts than this together, because their size depends
/// on plans, which drones send.
const MOST_ARTIFACTS: usize = 10_000;

/// The maximum generation number.
const MOST_GENERATIONS: u64 = 1 << 50;

impl History {
    /// The refusal of a request for generation `number` of the profile `name`, which is not among these.
    pub(super) fn unknown(&self, name: &Name, number: Option<u64>) -> Refusal {
        let kept = self.generations.iter().map(|generation| generation.number).collect();
        Refusal::UnknownGeneration { profile: name.clone(), generation: number, kept }
    }
}

fn made(name: &Name, profile: &Profile, channel: ChannelName, like: Option<u64>) -> Event {
    let (profile, generation) = (name.clone(), profile.next_generation());
    match channel {
        ChannelName::Stable => Event::GenerationMade { profile, generation, like },
        ChannelName::Staging => Event::GenerationStaged { profile, generation, like },
    }
}

/// The generations to make: those of channels that have not followed the runs yet, and those whose number is
/// taken. At most one for each profile, since the number of the next depends on it.
pub(crate) fn due(swarm: &Swarm) -> impl Iterator<Item = Event> {
    swarm.profiles.iter().filter_map(|(name, profile)| {
        ChannelName::ALL.into_iter().find_map(|channel| {
            if profile.follows(channel) && profile.is_behind(channel) {
                return Some(made(name, profile, channel, None));
            }
            let history = profile.history(channel);
            let current = history.current().map(|current| current.number);
            let least = profile.published(channel).max(history.skipped + 1);
            let taken = current.filter(|current| *current < least)?;
            Some(made(name, profile, channel, Some(taken)))
        })
    })
}

/// Generations beyond the number to keep that are not pinned.
pub(crate) fn surplus(swarm: &Swarm) -> impl Iterator<Item = Event> {
    let recent = swarm.policy.keep_runs.max(LEAST_KEPT);
    swarm.profiles.iter().flat_map(move |(name, profile)| {
        let drop =
            |old: &Generation| Event::GenerationForgotten { profile: name.clone(), generation: old.number };
        ChannelName::ALL.into_iter().flat_map(move |channel| {
            let mut surplus: Vec<Event> = profile.beyond(channel, recent).map(drop).collect();
            // Drop the oldest first: the rest may then be small enough.
            if surplus.is_empty() && is_large(profile, channel) {
                surplus.extend(profile.beyond(channel, LEAST_KEPT).next().map(drop));
            }
            surplus
        })
    })
}

/// Whether the generations that are not pinned may have too many artifacts together. Pins do not shorten the
/// list of the others.
fn is_large(profile: &Profile, channel: ChannelName) -> bool {
    let History { generations, artifacts, .. } = profile.history(channel);
    let pinned = generations.iter().filter(|generation| profile.pins.contains_key(&generation.number));
    artifacts.len() > MOST_ARTIFACTS + pinned.map(|generation| generation.artifacts.len()).sum::<usize>()
}

pub(super) fn known<'s>(swarm: &'s Swarm, name: &Name) -> Result<&'s Profile, Refusal> {
    swarm.profiles.get(name).ok_or_else(|| Refusal::UnknownProfile(name.clone()))
}

pub(crate) fn roll_back(swarm: &Swarm, name: &Name, to: Option<u64>) -> Decision {
    let profile = known(swarm, name)?;
    let stable = &profile.stable;
    let none = || stable.unknown(name, to);
    let current = stable.current().ok_or_else(none)?;
    let target = match to {
        Some(number) => stable.get(number),
        None => stable.before(current),
    };
    let target = target.ok_or_else(none)?;
    let mut events = Vec::new();
    if target.revision != current.revision {
        events.push(made(name, profile, ChannelName::Stable, Some(target.number)));
    }
    if !stable.held {
        events.push(Event::ChannelHeld { profile: name.clone() });
    }
    Ok((events, Reply::Done))
}

pub(crate) fn promote(swarm: &Swarm, name: &Name, generation: Option<u64>) -> Decision {
    let profile = known(swarm, name)?;
    let staged = match generation {
        Some(_) if profile.request.publish == ChannelName::Stable => {
            return Err(Refusal::Invalid(format!(
                "the stable channel of `{name}` follows its runs, so no generation can be chosen for it: publish to \
                 staging first, or roll back to an earlier generation"
            )));
        }
        Some(number) => {
            Some(profile.staging.get(number).ok_or_else(|| profile.staging.unknown(name, generation))?)
        }
        None => profile.staging.current(),
    };
    let stable = profile.stable.current().map(|current| current.revision);
    let is_news = staged.map_or(profile.is_behind(ChannelName::Stable), |g| Some(g.revision) != stable);
    let like = staged.map(|staged| staged.number);
    let released = profile.stable.held.then(|| Event::ChannelReleased { profile: name.clone() });
    let made = is_news.then(|| made(name, profile, ChannelName::Stable, like));
    Ok((released.into_iter().chain(made).collect(), Reply::Done))
}

pub(crate) fn record(
    swarm: &Swarm,
    name: &Name,
    channel: ChannelName,
    run: RunId,
    generation: u64,
    packages: u64,
) -> Decision {
    if generation <= known(swarm, name)?.published(channel) {
        return already();
    }
    let event = Event::GenerationPublished { profile: name.clone(), run, generation, packages, channel };
    Ok((vec![event], Reply::Done))
}

pub(crate) fn skip(swarm: &Swarm, name: &Name, channel: ChannelName, last: u64) -> Decision {
    if last <= known(swarm, name)?.history(channel).skipped {
        return already();
    }
    if last > MOST_GENERATIONS {
        return Err(Refusal::Invalid(format!("{last} cannot be the number of a generation")));
    }
    Ok((vec![Event::GenerationsSkipped { profile: name.clone(), last, channel }], Reply::Done))
}

pub(crate) fn concerns(swarm: &Swarm) -> impl Iterator<Item = ConcernKind> {
    let held = swarm.profiles.iter().filter(|(_, profile)| profile.stable.held);
    held.filter_map(|(name, profile)| {
        let current = profile.stable.current()?;
        Some(ConcernKind::ChannelHeld {
            profile: name.clone(),
            generation: current.number,
            like: current.like,
            staged: profile.channel.run.filter(|_| profile.is_behind(ChannelName::Stable)),
        })
    })
}
