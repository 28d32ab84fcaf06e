//! What was told, and what is to be told next: concerns that became wrong or are right
//! again, and runs that ended. Pure bookkeeping; [`super::pass`] looks, writes and sends.
//!
//! A concern is told when it has stood for the window; a critical one after a minute, if
//! nothing was told for a window. Then everything that stands untold goes along in the
//! same message. What comes and goes within the window is never told. What has gone back
//! and forth is told ever more rarely. So whatever happens, there are at most two messages
//! in a window.
//!
//! What a run's end tells (its quarantined and refused packages) counts as told by it.

use super::{
    message::{Kind, Message},
    outbox::Outbox,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{id::RunId, state::Severity, time::TimeMs, wire::view::Concern};

/// A critical concern waits this long, and nothing younger goes along with another.
const SETTLE_MS: u64 = 60_000;

/// Each time that a concern came back doubles its wait, this many times.
const MOST_DOUBLINGS: u32 = 5;

/// A concern that has been right for so long begins anew.
const FORGOTTEN_MS: u64 = 24 * 3_600_000;

/// Everything that must survive a restart so that nothing is told twice or never.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// Concerns by signature.
    concerns: BTreeMap<String, Entry>,
    /// Ended runs that were told, and when they had ended. `None` before the first look:
    /// what ended before there was anybody to tell is not told.
    runs: Option<BTreeMap<RunId, TimeMs>>,
    /// What waits for each sink.
    pub outboxes: BTreeMap<String, Outbox>,
    /// When concerns were last told.
    told_at: Option<TimeMs>,
    last_id: u64,
}

/// One concern.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// In its last words.
    concern: Concern,
    /// Whether it was told to be wrong.
    told: bool,
    /// When it was last told either way.
    told_at: Option<TimeMs>,
    /// How often it was told to be right again.
    returns: u32,
    /// Whether it is wrong now.
    #[serde(skip)]
    wrong: bool,
    /// Since when that is other than was told.
    #[serde(skip)]
    untold_since: Option<TimeMs>,
}

/// One concern in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The concern.
    pub concern: Concern,
    /// It is wrong; else it is right again.
    pub wrong: bool,
}

impl Entry {
    /// How long it must stand before it is told. `quiet`: nothing was told for a window.
    fn wait_ms(&self, window_ms: u64, quiet: bool) -> u64 {
        match self.returns {
            0 if quiet && self.concern.severity == Severity::Critical => window_ms.min(SETTLE_MS),
            returns => window_ms << returns.min(MOST_DOUBLINGS),
        }
    }

    fn stands_ms(&self, now: TimeMs) -> Option<u64> {
        self.untold_since.map(|since| now.since(since))
    }

    fn tell(&mut self, now: TimeMs) -> Change {
        self.told = self.wrong;
        self.returns += u32::from(!self.wrong);
        (self.told_at, self.untold_since) = (Some(now), None);
        Change { concern: self.concern.clone(), wrong: self.wrong }
    }
}

impl Book {
    /// Looks at what is wrong now. Gives what is to be told now, worst first.
    pub fn look(&mut self, now: TimeMs, present: &[Concern], window_ms: u64) -> Vec<Change> {
        for concern in present {
            let fresh = || Entry {
                concern: concern.clone(),
                told: false,
                told_at: None,
                returns: 0,
                wrong: true,
                untold_since: None,
            };
            self.concerns.entry(concern.signature.clone()).or_insert_with(fresh).concern = concern.clone();
        }
        let wrong: BTreeSet<&str> = present.iter().map(|c| c.signature.as_str()).collect();
        for (signature, entry) in &mut self.concerns {
            entry.wrong = wrong.contains(signature.as_str());
            let untold = entry.wrong != entry.told;
            entry.untold_since = untold.then(|| entry.untold_since.unwrap_or(now));
        }
        self.concerns.retain(|_, entry| {
            let recent = entry.told_at.is_some_and(|at| now.since(at) < FORGOTTEN_MS);
            entry.wrong || entry.told || recent
        });
        let quiet = self.told_at.is_none_or(|at| now.since(at) >= window_ms);
        let due = |e: &Entry| e.stands_ms(now).is_some_and(|ms| ms >= e.wait_ms(window_ms, quiet));
        if !self.concerns.values().any(due) {
            return Vec::new();
        }
        self.told_at = Some(now);
        let settled = |e: &Entry| e.stands_ms(now).is_some_and(|ms| ms >= window_ms.min(SETTLE_MS));
        let ripe = self.concerns.values_mut().filter(|e| due(e) || (e.returns == 0 && settled(e)));
        let mut changes: Vec<Change> = ripe.map(|entry| entry.tell(now)).collect();
        changes.sort_by_key(|c| (!c.wrong, std::cmp::Reverse(c.concern.severity)));
        changes
    }

    /// Which of the ended runs nobody was told of yet; they then count as told. `known`
    /// are all ended runs with their ends.
    pub fn ended(&mut self, known: &BTreeMap<RunId, TimeMs>) -> Vec<RunId> {
        let told = self.runs.replace(known.clone());
        let Some(told) = told else { return Vec::new() };
        known.iter().filter(|(id, end)| told.get(id) != Some(end)).map(|(&id, _)| id).collect()
    }

    /// Something else has told how things stand with these concerns.
    pub fn told_otherwise(&mut self, now: TimeMs, signatures: &[String], present: &[Concern]) {
        for signature in signatures {
            let wrong = present.iter().find(|c| c.signature == *signature);
            match (self.concerns.get_mut(signature), wrong) {
                (Some(entry), wrong) => {
                    (entry.told, entry.wrong) = (wrong.is_some(), wrong.is_some());
                    (entry.told_at, entry.untold_since) = (Some(now), None);
                }
                (None, Some(concern)) => {
                    let entry = Entry {
                        concern: concern.clone(),
                        told: true,
                        told_at: Some(now),
                        returns: 0,
                        wrong: true,
                        untold_since: None,
                    };
                    self.concerns.insert(signature.clone(), entry);
                }
                (None, None) => {}
            }
        }
    }

    /// Puts a message into a sink's outbox.
    pub fn post(&mut self, sink: &str, message: Message) {
        self.last_id += 1;
        let message = Message { id: self.last_id, ..message };
        self.outboxes.entry(sink.to_owned()).or_default().push(message);
    }

    /// Keeps only the outboxes of these sinks.
    pub fn keep_sinks(&mut self, sinks: &[String]) {
        self.outboxes.retain(|name, _| sinks.contains(name));
    }
}

/// The message of these changes.
#[must_use]
pub fn compose(now: TimeMs, changes: &[&Change]) -> Option<Message> {
    let severity = changes.iter().map(|c| c.concern.severity).max()?;
    let wrong = changes.iter().filter(|c| c.wrong).count();
    let title = match changes {
        [only] if only.wrong => only.concern.what.clone(),
        [only] => format!("right again: {}", only.concern.signature),
        _ if wrong == 0 => format!("{} concerns are right again", changes.len()),
        _ => {
            let right = changes.len() - wrong;
            let also = if right > 0 { format!(", {right} right again") } else { String::new() };
            format!("{wrong} new concern{}{also}", if wrong == 1 { "" } else { "s" })
        }
    };
    let mut lines = Vec::new();
    for change in changes {
        let Change { concern, wrong } = change;
        match (wrong, changes.len()) {
            (true, 1) => lines.push(format!("Next: {}", concern.next)),
            (true, _) => lines.extend([format!("! {}", concern.what), format!("  {}", concern.next)]),
            (false, 1) => lines.push("Nothing is to be done.".to_owned()),
            (false, _) => lines.push(format!("right again: {}", concern.signature)),
        }
    }
    Some(Message::new(now, Kind::Concerns, severity, &title, &lines))
}

#[cfg(test)]
mod tests;
