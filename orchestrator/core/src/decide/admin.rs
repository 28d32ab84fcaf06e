//! Decides admin requests about profiles, runs and retries.

use super::{Decision, already};
use crate::{
    base,
    event::Event,
    reason::Reason,
    refusal::Refusal,
    reply::Reply,
    state::{Job, Swarm},
};
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    wire::{
        admin::{BuilderKind, ProfileRequest},
        concern::Action,
    },
};

pub(super) fn put_profile(swarm: &Swarm, name: &Name, request: &ProfileRequest) -> Decision {
    if let Some(profile) = swarm.profiles.get(name) {
        if profile.request == *request && profile.candidates.is_empty() {
            return already();
        }
        if profile.request.builder != request.builder {
            let state = match profile.request.builder {
                BuilderKind::Portage => "built by Portage",
                BuilderKind::Nix => "built by Nix",
            };
            return Err(Refusal::WrongState {
                what: format!("profile `{name}`"),
                state: state.into(),
                hint: "remove it first, or choose another name".into(),
            });
        }
    }
    base::current(swarm, request)?;
    // An active run keeps the snapshot and the base that it started with.
    Ok((vec![Event::ProfilePut { name: name.clone(), request: request.clone() }], Reply::Done))
}

pub(super) fn remove_profile(swarm: &Swarm, name: &Name) -> Decision {
    if !swarm.profiles.contains_key(name) {
        return Err(Refusal::UnknownProfile(name.clone()));
    }
    if let Some(run) = swarm.active_run(name) {
        return Err(Refusal::RunUnderWay { run, profile: name.clone() });
    }
    let runs = swarm.runs.iter().filter(|(_, r)| r.profile == *name);
    let mut events: Vec<Event> = runs.map(|(&run, _)| Event::RunForgotten { run }).collect();
    events.push(Event::ProfileRemoved { name: name.clone() });
    Ok((events, Reply::Done))
}

pub(super) fn start_run(swarm: &Swarm, name: &Name, class: RunClass) -> Decision {
    let profile = swarm.profiles.get(name).ok_or_else(|| Refusal::UnknownProfile(name.clone()))?;
    if let Some(run) = swarm.active_run(name) {
        return Err(Refusal::RunUnderWay { run, profile: name.clone() });
    }
    let run = RunId(swarm.last.run + 1);
    let snapshot = profile.next_snapshot();
    let base = base::current(swarm, &profile.request)?;
    Ok((vec![Event::RunStarted { run, profile: name.clone(), class, snapshot, base }], Reply::Run(run)))
}

pub(super) fn cancel_run(swarm: &Swarm, run: RunId) -> Decision {
    match swarm.runs.get(&run).ok_or(Refusal::UnknownRun(run))?.state {
        RunState::Cancelled => already(),
        state if state.is_over() => Err(Refusal::WrongState {
            what: format!("run {run}"),
            state: state.word().into(),
            hint: "an ended run cannot be cancelled".into(),
        }),
        _ => {
            let reason = Some(Reason::CancelledByAdmin);
            Ok((vec![Event::RunEnded { run, state: RunState::Cancelled, reason }], Reply::Done))
        }
    }
}

pub(super) fn retry_package(swarm: &Swarm, id: PackageId) -> Decision {
    let package = swarm.packages.get(&id).ok_or(Refusal::UnknownPackage(id))?;
    let refuse = |hint: &str| {
        Err(Refusal::WrongState {
            what: package.title(),
            state: package.state.word().into(),
            hint: hint.into(),
        })
    };
    match package.state {
        PackageState::Quarantined | PackageState::Needed => {}
        PackageState::Blocked => {
            let show = Action::ShowPackage { package: id }.command();
            return refuse(&format!("retry the package that it waits for; see `{show}`"));
        }
        PackageState::Delegated => return refuse("a drone is building it"),
        PackageState::Received => {
            return refuse("it is already built; request a rebuild and start a new run");
        }
        PackageState::Cancelled => return refuse("its run was cancelled; start a new run"),
    }
    let run = swarm.runs.get(&package.run).ok_or(Refusal::UnknownRun(package.run))?;
    let mut events = Vec::new();
    if run.state.is_over() {
        let newer = swarm.runs.iter().rfind(|(id, r)| **id > package.run && r.profile == run.profile);
        if let Some((newer, _)) = newer {
            return refuse(&format!("it belongs to run {}, and run {newer} is newer", package.run));
        }
        let profile = swarm.profiles.get(&run.profile);
        let image =
            profile.and_then(|profile| base::current(swarm, &profile.request).ok()).map(|now| now.image());
        if image.is_some_and(|image| image != run.base.image()) {
            let start = Action::StartRun { profile: run.profile.clone() }.command();
            return refuse(&format!(
                "the base has another image than in run {}; `{start}` uses it",
                package.run
            ));
        }
        events.push(Event::RunReopened { run: package.run });
    }
    events.push(Event::PackageReleased { package: id });
    debug_assert!(swarm.attempts_at(Job::Build(id)).next().is_none());
    Ok((events, Reply::Done))
}
