//! Makes a base follow the ebuild tree: packages that a run built and the base contains are installed on the
//! base, which creates its next generation.
//!
//! A generation is an image and a list of artifacts, so every drone makes the same one from them. The first
//! drone to make it also verifies it and reports the outcome. Nothing else is taken from that drone, and only
//! artifacts that were verified on arrival are installed.

use crate::{
    closure,
    decision::{Decision, already},
    event::Event,
    fence::{Fence, fence},
    reason::Reason,
    refusal::Refusal,
    reply::Reply,
    state::{Following, Job, NamedBase, Run, Swarm},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::{PackageState, RunState},
    time::TimeMs,
    wire::{
        base::{Base, BaseGeneration, Dependency},
        drone::{ReportReply, Usage},
    },
};

/// Number of attempts at a generation before it is given up.
const TRIES: usize = 3;

/// The base that a drone is to make for a run.
#[must_use]
pub fn base_for(swarm: &Swarm, run: RunId) -> Option<Base> {
    let (_, base, following) = swarm.following(run)?;
    Some(Base::Image { image: base.current()?.image.clone(), installed: following.installed.clone() })
}

/// The run whose base should be made next, among the runs that the drone is `able` to build for.
pub(crate) fn choose(swarm: &Swarm, now: TimeMs, able: impl Fn(&Run) -> bool) -> Option<RunId> {
    let mut followed = swarm.bases.values().filter_map(|base| base.following.as_ref());
    let followed = followed.find(|following| {
        following.not_before <= now
            && swarm.runs.get(&following.run).is_some_and(&able)
            && swarm.attempts_at(Job::Base(following.run)).next().is_none()
    });
    followed.map(|following| following.run)
}

/// Starts following a run that has ended, if it changes the base.
pub(crate) fn begin(swarm: &Swarm, id: RunId, run: &Run) -> Option<Event> {
    let (name, base, installed) = next(swarm, run)?;
    let is_new = base.follow && base.unwanted != Some(content(base, &installed)?);
    is_new.then(|| Event::BaseFollowBegan { name: name.clone(), run: id, installed })
}

/// The base to be changed after a run, and what would be installed on it. `None` while a generation of the
/// base is being made, or if the base has since got another generation or follows another profile.
fn next<'s>(swarm: &'s Swarm, run: &Run) -> Option<(&'s Name, &'s NamedBase, Vec<Dependency>)> {
    let named = swarm.profiles.get(&run.profile)?.request.base.as_ref()?;
    let (name, base) = swarm.bases.get_key_value(named)?;
    let current = base.current()?;
    let busy = |f: &Following| swarm.attempts_at(Job::Base(f.run)).next().is_some();
    let leads = |profile: &Name| *profile == run.profile || !swarm.users_of(name).any(|user| user == profile);
    let free = run.base == current.base()
        && !base.following.as_ref().is_some_and(busy)
        && base.followed.as_ref().is_none_or(leads);
    let installed = free.then(|| installed(swarm, run, &current.installed)).flatten()?;
    Some((name, base, installed))
}

/// Everything installed on the base after a run: the run's packages that the base contains, and their
/// run-time dependencies. `None` if nothing changes.
fn installed(swarm: &Swarm, run: &Run, before: &[Dependency]) -> Option<Vec<Dependency>> {
    let is_wanted = |id: &&PackageId| {
        swarm.packages.get(id).is_some_and(|p| {
            p.in_base && p.state == PackageState::Received && run.graph.is_installable(p.bundle)
        })
    };
    let found = closure::with_needs(swarm, run.packages.iter().filter(is_wanted).copied());
    let place = |d: &Dependency| (d.cpv.cp().to_owned(), d.slot.clone());
    let replaced: BTreeMap<_, Digest> = found.iter().map(|d| (place(d), d.digest)).collect();
    let stays = |d: &&Dependency| replaced.get(&place(d)).is_none_or(|digest| *digest == d.digest);
    let mut all: Vec<Dependency> = before.iter().filter(stays).cloned().collect();
    let kept: BTreeSet<Digest> = all.iter().map(|d| d.digest).collect();
    all.extend(found.into_iter().filter(|d| !kept.contains(&d.digest)));
    (all.len() > kept.len()).then_some(all)
}

/// Digest of a base's content: its image with these packages installed.
pub(crate) fn content(base: &NamedBase, installed: &[Dependency]) -> Option<Digest> {
    let image = base.current()?.image.clone();
    Some(Base::Image { image, installed: installed.to_vec() }.digest())
}

/// Sets whether a base follows. Turning it on also permits content again that had failed or was rolled back.
pub(crate) fn set(swarm: &Swarm, name: &Name, follow: bool) -> Decision {
    let base = swarm.bases.get(name).ok_or_else(|| Refusal::UnknownBase(name.clone()))?;
    let mut events = Vec::new();
    if follow != base.follow || follow && (base.failed.is_some() || base.unwanted.is_some()) {
        events.push(Event::BaseFollowSet { name: name.clone(), follow });
    }
    let ended = |run: &Run| matches!(run.state, RunState::Succeeded | RunState::Partial);
    let of_run = |(&run, record): (&RunId, &Run)| {
        let (found, _, installed) = next(swarm, record).filter(|_| ended(record))?;
        let begun = || Event::BaseFollowBegan { name: name.clone(), run, installed };
        (found == name).then(begun)
    };
    if follow && base.following.is_none() {
        events.extend(swarm.runs.iter().rev().find_map(of_run));
    }
    if events.is_empty() { already() } else { Ok((events, Reply::Done)) }
}

/// Accepts a base that was made and passed verification.
pub(crate) fn receive(
    swarm: &Swarm,
    now: TimeMs,
    drone: DroneId,
    attempt: AttemptId,
    usage: Usage,
) -> Decision {
    let answer = |reason: &str| Reply::Report(ReportReply { accepted: true, reason: reason.into() });
    let record = swarm.attempts.get(&attempt).ok_or(Refusal::UnknownAttempt(attempt))?;
    let Job::Base(run) = record.job else {
        return Err(Refusal::Invalid(format!("attempt {attempt} is not for a base")));
    };
    if fence(swarm, drone, attempt)? == Fence::Repeat {
        return Ok((Vec::new(), answer("the base was received")));
    }
    let Some((name, base, following)) = swarm.following(run) else { return already() };
    let (Some(last), Some(record)) = (base.current(), swarm.runs.get(&run)) else { return already() };
    let generation = BaseGeneration {
        number: base.last_number + 1,
        installed: following.installed.clone(),
        source: format!("{run} of {}", record.profile),
        made_at: now,
        run: Some(run),
        ..last.clone()
    };
    let event = Event::BaseReceived { name: name.clone(), attempt, generation: Box::new(generation), usage };
    Ok((vec![event], answer("the base was received")))
}

/// Returns a base to the queue after an attempt at it, or gives the base up.
pub(crate) fn again(swarm: &Swarm, run: RunId, not_before: TimeMs, reason: Reason) -> Option<Event> {
    let (name, _, following) = swarm.following(run)?;
    let tries = swarm.runs.get(&run)?.base_attempts.iter().filter(|id| **id > following.after).count();
    if tries < TRIES {
        return Some(Event::BaseNeeded { run, not_before, reason });
    }
    let reason = Reason::BaseGivenUp { attempts: tries as u64, last: Box::new(reason) };
    Some(Event::BaseFollowEnded { name: name.clone(), reason })
}

pub(crate) fn give_up(swarm: &Swarm, run: RunId, reason: Reason) -> Option<Event> {
    let (name, ..) = swarm.following(run)?;
    Some(Event::BaseFollowEnded { name: name.clone(), reason })
}
