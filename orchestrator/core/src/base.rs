//! Bases: the root file systems that packages are built in, as generations. A run is pinned to the
//! generation that was current when it started, so that all its drones build in the same one.

use crate::{
    decision::Decision,
    event::Event,
    follow,
    refusal::Refusal,
    reply::Reply,
    state::{NamedBase, Swarm},
};
use swarm_common::{
    id::{DroneId, PackageId},
    name::Name,
    time::TimeMs,
    wire::{
        admin::{BuilderKind, ProfileRequest},
        base::{Base, BaseGeneration, BaseRequest, HOST, Image, UsrMerge},
        concern::Action,
    },
};

/// The base that a run of a profile is pinned to if it starts now.
///
/// # Errors
/// The profile names a base that does not exist.
pub fn current(swarm: &Swarm, request: &ProfileRequest) -> Result<Base, Refusal> {
    if request.builder == BuilderKind::Nix {
        return Ok(Base::Nix);
    }
    let Some(name) = request.base.as_ref().filter(|name| name.as_str() != HOST) else {
        return Ok(Base::Host);
    };
    let generation = swarm.bases.get(name).and_then(NamedBase::current);
    generation.map(BaseGeneration::base).ok_or_else(|| Refusal::UnknownBase(name.clone()))
}

/// Which directories are links below `/usr` in the system where a drone builds a package, and thus
/// in the systems where the package is installed.
#[must_use]
pub fn usr(swarm: &Swarm, package: PackageId, drone: DroneId) -> UsrMerge {
    let run = swarm.packages.get(&package).and_then(|package| swarm.runs.get(&package.run));
    match run.map(|run| &run.base) {
        Some(Base::Image { image, .. }) => image.usr,
        _ => swarm.drones.get(&drone).map(|drone| drone.facts.usr).unwrap_or_default(),
    }
}

/// Every base generation that is kept, is to be made next, or is used by a kept run.
pub fn needed(swarm: &Swarm) -> impl Iterator<Item = Base> {
    let kept = swarm.bases.values().flat_map(|base| &base.generations).map(BaseGeneration::base);
    let followed =
        swarm.bases.values().filter_map(|base| follow::base_for(swarm, base.following.as_ref()?.run));
    kept.chain(followed).chain(swarm.runs.values().map(|run| run.base.clone()))
}

pub(crate) fn put(swarm: &Swarm, now: TimeMs, name: &Name, image: &Image, request: &BaseRequest) -> Decision {
    if name.as_str() == HOST {
        let text = format!("`{HOST}` is the name of the drone's own /: choose another name");
        return Err(Refusal::Invalid(text));
    }
    if !image.has_portage {
        let text = "the image has no /usr/bin/emerge: a base needs its own Portage, as in a stage3";
        return Err(Refusal::Invalid(text.into()));
    }
    let known = swarm.bases.get(name);
    let last = known.and_then(NamedBase::current);
    if let Some(key) = last.and_then(|last| last.signed_by.as_ref())
        && request.signed_by.as_ref() != Some(key)
    {
        let got = match &request.signed_by {
            Some(other) => format!("is signed by {other}"),
            None => "has no verified signature".into(),
        };
        return Err(Refusal::Invalid(format!(
            "base `{name}` was made from an archive signed by {key}, but this one {got}: pass --signature \
             and --key, or create a base with another name"
        )));
    }
    let set = request.follow.filter(|follow| *follow != known.is_none_or(|known| known.follow));
    let set = set.map(|follow| Event::BaseFollowSet { name: name.clone(), follow });
    if last.is_some_and(|last| last.image.digest == image.digest && last.installed.is_empty()) {
        return Ok((set.into_iter().collect(), Reply::Done));
    }
    let generation = BaseGeneration {
        number: known.map_or(0, |known| known.last_number) + 1,
        image: image.clone(),
        installed: Vec::new(),
        source: request.source.clone(),
        signed_by: request.signed_by.clone(),
        made_at: now,
        run: None,
    };
    let put = Event::BasePut { name: name.clone(), generation: Box::new(generation) };
    Ok((std::iter::once(put).chain(set).collect(), Reply::Done))
}

pub(crate) fn roll_back(swarm: &Swarm, name: &Name) -> Decision {
    let base = swarm.bases.get(name).ok_or_else(|| Refusal::UnknownBase(name.clone()))?;
    let [.., before, last] = &base.generations[..] else {
        return Err(Refusal::WrongState {
            what: format!("base `{name}`"),
            state: "at its only generation".into(),
            hint: format!(
                "there is none to roll back to; `{}` makes a new one",
                Action::UpdateBase { base: name.clone() }.command()
            ),
        });
    };
    let (from, to) = (last.number, before.number);
    Ok((vec![Event::BaseRolledBack { name: name.clone(), from, to }], Reply::Done))
}

pub(crate) fn remove(swarm: &Swarm, name: &Name) -> Decision {
    if !swarm.bases.contains_key(name) {
        return Err(Refusal::UnknownBase(name.clone()));
    }
    if let Some(profile) = swarm.users_of(name).next() {
        return Err(Refusal::WrongState {
            what: format!("base `{name}`"),
            state: format!("in use by profile `{profile}`"),
            hint: "give the profile another base, or remove the profile first".into(),
        });
    }
    Ok((vec![Event::BaseRemoved { name: name.clone() }], Reply::Done))
}
