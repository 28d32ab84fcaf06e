//! Pinned generations of stable channels, which are kept until an admin unpins them: however many others follow,
//! a rollback can return to them.
//!
//! A generation names its artifacts, so these are kept with it ([`crate::retention`]), and so are the records of
//! how they were built. Its run is not needed for a rollback and is forgotten like others.

use super::generations::known;
use crate::{
    decision::{Decision, already},
    event::Event,
    refusal::Refusal,
    reply::Reply,
    state::{Profile, Swarm},
};
use swarm_common::name::Name;

/// Largest number of pinned generations of a profile.
const MOST_PINS: usize = 100;

/// Largest number of characters of a note.
const LONGEST_NOTE: usize = 200;

pub(crate) fn pin(swarm: &Swarm, name: &Name, number: u64, note: &str) -> Decision {
    let profile = known(swarm, name)?;
    check(note)?;
    must_be_published(profile, name, number)?;
    match profile.pins.get(&number) {
        Some(same) if same == note => return already(),
        None if profile.pins.len() >= MOST_PINS => {
            return Err(Refusal::Invalid(format!(
                "{MOST_PINS} generations of `{name}` are pinned, which is the most: unpin one first"
            )));
        }
        Some(_) | None => {}
    }
    let pinned = Event::GenerationPinned { profile: name.clone(), generation: number, note: note.to_owned() };
    Ok((vec![pinned], Reply::Done))
}

pub(crate) fn unpin(swarm: &Swarm, name: &Name, number: u64) -> Decision {
    let profile = known(swarm, name)?;
    if !profile.pins.contains_key(&number) {
        profile.stable.get(number).ok_or_else(|| profile.stable.unknown(name, Some(number)))?;
        let pinned = profile.pins.keys().copied().collect();
        return Err(Refusal::NotPinned { profile: name.clone(), generation: number, pinned });
    }
    Ok((vec![Event::GenerationUnpinned { profile: name.clone(), generation: number }], Reply::Done))
}

fn check(note: &str) -> Result<(), Refusal> {
    if note.chars().any(char::is_control) {
        return Err(Refusal::Invalid("a note must be one line without control characters".into()));
    }
    let length = note.chars().count();
    if length > LONGEST_NOTE {
        return Err(Refusal::Invalid(format!("a note has at most {LONGEST_NOTE} characters, not {length}")));
    }
    Ok(())
}

/// Refuses what no client of the stable channel can have seen.
fn must_be_published(profile: &Profile, name: &Name, number: u64) -> Result<(), Refusal> {
    let refuse = |state: &str, hint: &str| {
        let what = format!("generation {number} of `{name}`");
        Err(Refusal::WrongState { what, state: state.into(), hint: hint.into() })
    };
    if profile.staging.get(number).is_some() {
        return refuse("in staging", "promote it, and pin the generation of stable that this makes");
    }
    profile.stable.get(number).ok_or_else(|| profile.stable.unknown(name, Some(number)))?;
    if number > profile.generation {
        return refuse("not published yet", "try again in a few seconds");
    }
    Ok(())
}
