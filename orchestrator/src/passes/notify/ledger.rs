//! Bookkeeping of notifications: which concerns and ended runs have been announced, and which are due. Does
//! no I/O; [`super::pass`] detects changes, writes and sends.
//!
//! A concern is announced once it has lasted for the window. A critical one is announced after a
//! minute if nothing was announced during the last window. Other concerns that have lasted long
//! enough go into the same message. A concern that comes and goes within the window is not
//! announced, and one that keeps returning is announced less and less often. In total there are at
//! most two messages per window.
//!
//! Concerns that the message at a run's end contains (quarantined and refused packages) count as
//! announced by it.

use super::outbox::Outbox;
use crate::sink::message::{Kind, Message};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    id::RunId,
    state::Severity,
    time::TimeMs,
    wire::concern::{Concern, ConcernKind},
};
use swarm_core::text;

/// How long a critical concern must last to be announced, and any other concern to be included in its
/// message.
const SETTLE_MS: u64 = 60_000;

/// Each return of a concern doubles its wait, at most this many times.
const MOST_DOUBLINGS: u32 = 5;

/// Concerns that have been resolved for this long are forgotten.
const FORGOTTEN_MS: u64 = 24 * 3_600_000;

/// Everything that must survive a restart so that each message is sent exactly once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NotificationLedger {
    concerns: BTreeMap<String, Entry>,
    /// Announced runs, each with the time of its end, which is only for people who read the file, because it
    /// moves when the clock is set. `None` before the first look: runs that ended before it are not
    /// announced.
    runs: Option<BTreeMap<RunId, TimeMs>>,
    /// How many times each run had been reopened when it was announced.
    #[serde(skip)]
    reopened: BTreeMap<RunId, u32>,
    /// How the engine's time had been moved at the last look.
    #[serde(skip)]
    moves: ClockMoves,
    /// Messages waiting for each sink.
    pub outboxes: BTreeMap<String, Outbox>,
    /// When concerns were last announced.
    #[serde(rename = "told_at")]
    announced_at: Option<TimeMs>,
    last_id: u64,
}

/// How the engine's time has been moved since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockMoves {
    /// When the orchestrator started, according to the clock as it is set now.
    pub started_at: TimeMs,
    /// By how much times noted since the start were moved because the clock was set, in milliseconds.
    pub set_by_ms: i64,
    /// How long the orchestrator was suspended since the start, in milliseconds.
    pub stood_still_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEnd {
    pub at: TimeMs,
    /// How many times the run was reopened since the start.
    pub reopened: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// The concern as last seen.
    concern: Concern,
    /// Whether it was announced as present.
    #[serde(rename = "told")]
    announced: bool,
    /// When it was last announced, as present or resolved.
    #[serde(rename = "told_at")]
    announced_at: Option<TimeMs>,
    /// How many times it was announced as resolved.
    returns: u32,
    /// Whether it is present now.
    #[serde(skip)]
    wrong: bool,
    /// Since when its state has differed from the announced state.
    #[serde(skip)]
    unannounced_since: Option<TimeMs>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub concern: Concern,
    /// Whether it is present; otherwise it is resolved.
    pub wrong: bool,
}

impl Entry {
    /// How long a change must last to be announced. `quiet` means that nothing was announced during the last
    /// window.
    fn wait_ms(&self, window_ms: u64, quiet: bool) -> u64 {
        match self.returns {
            0 if quiet && self.concern.severity == Severity::Critical => window_ms.min(SETTLE_MS),
            returns => window_ms << returns.min(MOST_DOUBLINGS),
        }
    }

    fn pending_ms(&self, now: TimeMs) -> Option<u64> {
        self.unannounced_since.map(|since| now.since(since))
    }

    fn announce(&mut self, now: TimeMs) -> Change {
        self.announced = self.wrong;
        self.returns += u32::from(!self.wrong);
        (self.announced_at, self.unannounced_since) = (Some(now), None);
        Change { concern: self.concern.clone(), wrong: self.wrong }
    }
}

impl NotificationLedger {
    /// Follows moves of the engine's time: moves times noted by a wrong clock, and does not count suspended
    /// time as part of a concern's duration.
    pub fn follow(&mut self, moves: ClockMoves) {
        let by_ms = moves.set_by_ms - self.moves.set_by_ms;
        let stood_still_ms = moves.stood_still_ms.saturating_sub(self.moves.stood_still_ms);
        self.moves = moves;
        let moved = |time: TimeMs, by_ms| TimeMs(time.0.saturating_add_signed(by_ms));
        let since = moved(moves.started_at, by_ms.saturating_neg());
        let set = |time: &mut TimeMs| {
            if *time >= since {
                *time = moved(*time, by_ms);
            }
        };
        self.announced_at.iter_mut().for_each(set);
        self.outboxes.values_mut().for_each(|outbox| outbox.set_clock(set));
        for entry in self.concerns.values_mut() {
            entry.announced_at.iter_mut().for_each(set);
            entry.unannounced_since.iter_mut().for_each(|since| {
                set(since);
                *since = *since + stood_still_ms;
            });
        }
    }

    /// Compares with the concerns that are present now. Returns the changes to announce: new concerns first,
    /// then by severity.
    pub fn look(&mut self, now: TimeMs, present: &[Concern], window_ms: u64) -> Vec<Change> {
        self.note(present);
        // In an earlier process, the clock was ahead, so the real time is unknown.
        self.announced_at = self.announced_at.filter(|&at| at <= now);
        let wrong: BTreeSet<&str> = present.iter().map(|c| c.signature.as_str()).collect();
        for (signature, entry) in &mut self.concerns {
            entry.wrong = wrong.contains(signature.as_str());
            entry.announced_at = entry.announced_at.map(|at| at.min(now));
            let unannounced = entry.wrong != entry.announced;
            entry.unannounced_since = unannounced.then(|| entry.unannounced_since.unwrap_or(now));
        }
        self.concerns.retain(|_, entry| {
            let recent = entry.announced_at.is_some_and(|at| now.since(at) < FORGOTTEN_MS);
            entry.wrong || entry.announced || recent
        });
        let quiet = self.announced_at.is_none_or(|at| now.since(at) >= window_ms);
        let due = |e: &Entry| e.pending_ms(now).is_some_and(|ms| ms >= e.wait_ms(window_ms, quiet));
        if !self.concerns.values().any(due) {
            return Vec::new();
        }
        self.announced_at = Some(now);
        let settled = |e: &Entry| e.pending_ms(now).is_some_and(|ms| ms >= window_ms.min(SETTLE_MS));
        let ripe = self.concerns.values_mut().filter(|e| due(e) || (e.returns == 0 && settled(e)));
        let mut changes: Vec<Change> = ripe.map(|entry| entry.announce(now)).collect();
        changes.sort_by_key(|c| (!c.wrong, std::cmp::Reverse(c.concern.severity)));
        changes
    }

    /// The ended runs that have not been announced, which this marks as announced. `runs` are all ended
    /// runs. A run that was reopened and has ended again is announced again.
    pub fn ended(&mut self, runs: &BTreeMap<RunId, RunEnd>) -> Vec<RunId> {
        let announced = self.runs.replace(runs.iter().map(|(&id, end)| (id, end.at)).collect());
        let reopened =
            std::mem::replace(&mut self.reopened, runs.iter().map(|(&id, end)| (id, end.reopened)).collect());
        let Some(announced) = announced else { return Vec::new() };
        let is_new = |(id, end): &(&RunId, &RunEnd)| {
            !announced.contains_key(id) || reopened.get(id).copied().unwrap_or(0) < end.reopened
        };
        runs.iter().filter(is_new).map(|(&id, _)| id).collect()
    }

    /// Marks the concerns selected by `which` as announced, because another message covers them.
    pub fn mark_announced(&mut self, now: TimeMs, which: impl Fn(&ConcernKind) -> bool, present: &[Concern]) {
        self.note(present.iter().filter(|concern| which(&concern.fact)));
        for (signature, entry) in self.concerns.iter_mut().filter(|(_, entry)| which(&entry.concern.fact)) {
            let wrong = present.iter().any(|concern| concern.signature == *signature);
            (entry.announced, entry.wrong) = (wrong, wrong);
            (entry.announced_at, entry.unannounced_since) = (Some(now), None);
        }
    }

    /// Stores the current version of each present concern.
    fn note<'c>(&mut self, present: impl IntoIterator<Item = &'c Concern>) {
        for concern in present {
            let fresh = || Entry {
                concern: concern.clone(),
                announced: false,
                announced_at: None,
                returns: 0,
                wrong: true,
                unannounced_since: None,
            };
            self.concerns.entry(concern.signature.clone()).or_insert_with(fresh).concern = concern.clone();
        }
    }

    /// Adds a message to a sink's outbox, with the next id.
    pub fn post(&mut self, sink: &str, message: Message) {
        self.last_id += 1;
        let message = Message { id: self.last_id, ..message };
        self.outboxes.entry(sink.to_owned()).or_default().push(message);
    }

    /// Removes the outboxes of all other sinks.
    pub fn keep_sinks(&mut self, sinks: &[String]) {
        self.outboxes.retain(|name, _| sinks.contains(name));
    }
}

/// Writes the message for these changes; `None` if there are none.
#[must_use]
pub fn compose(now: TimeMs, changes: &[&Change]) -> Option<Message> {
    let severity = changes.iter().map(|c| c.concern.severity).max()?;
    let wrong = changes.iter().filter(|c| c.wrong).count();
    let title = match changes {
        [only] if only.wrong => only.concern.what.clone(),
        [only] => format!("resolved: {}", short(&only.concern)),
        _ if wrong == 0 => format!("{} concerns resolved", changes.len()),
        _ => {
            let right = changes.len() - wrong;
            let also = if right > 0 { format!(", {right} resolved") } else { String::new() };
            format!("{wrong} new concern{}{also}", if wrong == 1 { "" } else { "s" })
        }
    };
    let mut lines = Vec::new();
    for change in changes {
        let Change { concern, wrong } = change;
        match (wrong, changes.len()) {
            (true, 1) => lines.push(format!("Next: {}", concern.next)),
            (true, _) => lines.extend([format!("! {}", concern.what), format!("  {}", concern.next)]),
            (false, 1) => lines.push("No action needed.".to_owned()),
            (false, _) => lines.push(format!("resolved: {}", short(concern))),
        }
    }
    Some(Message::new(now, Kind::Concerns, severity, &title, &lines))
}

/// Short description of a concern. A concern stored by an older version has no fact; its signature serves as
/// the title.
fn short(concern: &Concern) -> String {
    match &concern.fact {
        ConcernKind::Unknown => concern.signature.clone(),
        fact => text::concern::title(fact),
    }
}

#[cfg(test)]
mod tests;
