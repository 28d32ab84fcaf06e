//! Candidates: content that a profile switches to only if a run of it can serve everything that is served
//! now. Until then the profile keeps its content, and nothing of the run is published.
//!
//! Attributes that already fail do not block the switch, so that one broken attribute does not hold up
//! all others.

use crate::{
    channel,
    decision::{Decision, already},
    event::Event,
    explain,
    reason::{NotBuilt, NotEvaluated, Reason},
    refusal::Refusal,
    reply::Reply,
    state::{Profile, Refused, Run, Swarm},
};
use swarm_common::{
    name::Name,
    state::RunState,
    wire::admin::{BuilderKind, CandidateRequest},
};

/// Offers new content. It replaces an earlier offer that no run has tried yet.
pub(crate) fn offer(swarm: &Swarm, name: &Name, content: &CandidateRequest) -> Decision {
    let profile = known(swarm, name)?;
    let is_known = match profile.candidates.open().last() {
        Some((_, newest)) => newest.snapshot == content.snapshot,
        // If something else was refused, a run with the pinned content shows that all is well again.
        None => profile.request.snapshot == content.snapshot && profile.candidates.refused.is_none(),
    };
    if is_known {
        return already();
    }
    let offered = Event::CandidateOffered { profile: name.clone(), candidate: content.clone() };
    Ok((vec![offered], Reply::Done))
}

/// Records that no candidate could be made.
pub(crate) fn fail(swarm: &Swarm, name: &Name, source: &str, why: &str) -> Decision {
    let refused = known(swarm, name)?.candidates.refused.as_ref();
    let why = Reason::NoCandidate { error: why.into() };
    let is_known =
        |refused: &Refused| refused.trial.is_none() && refused.source == source && refused.why == why;
    if refused.is_some_and(is_known) {
        return already();
    }
    let (profile, source) = (name.clone(), source.to_owned());
    Ok((vec![Event::CandidateRefused { profile, run: None, source, why }], Reply::Done))
}

/// A profile that may have candidates.
fn known<'s>(swarm: &'s Swarm, name: &Name) -> Result<&'s Profile, Refusal> {
    let profile = swarm.profiles.get(name).ok_or_else(|| Refusal::UnknownProfile(name.clone()))?;
    match profile.request.builder {
        BuilderKind::Nix => Ok(profile),
        BuilderKind::Portage => Err(Refusal::Invalid(format!(
            "`{name}` is built by Portage, and its channel keeps the working version of each package until its \
             successor is built: update it without a candidate"
        ))),
    }
}

/// The events that follow for candidates whose runs have ended.
pub(crate) fn due(swarm: &Swarm) -> impl Iterator<Item = Event> {
    swarm.profiles.iter().filter_map(|(name, profile)| {
        let trial = profile.candidates.trial.as_ref()?;
        let (profile, run, source) = (name.clone(), trial.run, trial.content.source.clone());
        let record = swarm.runs.get(&run)?;
        let why = match record.state {
            RunState::Succeeded | RunState::Partial => regression(swarm, record),
            RunState::Failed => Some(record.reason.clone().unwrap_or(Reason::RecordsGone)),
            RunState::Planning | RunState::Building | RunState::Cancelled => return None,
        };
        Some(match why {
            Some(why) => Event::CandidateRefused { profile, run: Some(run), source, why },
            None => Event::CandidateTaken { profile, run },
        })
    })
}

/// Why an attribute whose newest content is served now could not be served after the run. `None` if there is
/// no such attribute.
fn regression(swarm: &Swarm, run: &Run) -> Option<Reason> {
    let channel = &swarm.profiles.get(&run.profile)?.channel;
    let last = channel.run.and_then(|last| swarm.runs.get(&last));
    let served = channel.roots.iter().map(|at| &at.root);
    let mut sound = served.filter(|root| last.is_none_or(|last| last.roots.contains(root)));
    sound.find_map(|root| failure(swarm, run, &root.attribute))
}

/// Why a run cannot serve an attribute. `None` if it can, or if the attribute was removed.
fn failure(swarm: &Swarm, run: &Run, attribute: &String) -> Option<Reason> {
    if let Some(problem) = run.problems.iter().find(|problem| problem.atoms.contains(attribute)) {
        let line = problem.message.lines().map(str::trim).find(|line| !line.is_empty());
        let error = line.unwrap_or_default().to_owned();
        let failed = NotEvaluated { attribute: attribute.clone(), error };
        return Some(Reason::NotEvaluated(Box::new(failed)));
    }
    let root = run.roots.iter().find(|root| root.attribute == *attribute)?;
    let missing = channel::missing(swarm, run, root)?;
    let cause = explain::stuck_on(swarm, missing).first().copied().unwrap_or(missing);
    let cause = swarm.packages.get(&cause)?;
    let (package, why) = (cause.title(), cause.reason.clone());
    Some(Reason::NotBuilt(Box::new(NotBuilt { attribute: attribute.clone(), package, why })))
}
