//! The messages waiting for one sink, and when to retry.

use crate::sink::{DeliveryError, message::Message};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use swarm_common::time::TimeMs;

/// Maximum number of waiting messages. Further messages replace the oldest.
const LONGEST: usize = 64;

/// Delay before the second attempt; doubles with each further attempt.
const RETRY_MS: u64 = 5_000;

/// Maximum delay between two attempts.
const LONGEST_RETRY_MS: u64 = 600_000;

/// Maximum delay that a sink can request.
const LONGEST_WISH_MS: u64 = 6 * 3_600_000;

/// Number of consecutive failures that raise a concern.
const TOLD_AFTER: u32 = 2;

/// The messages waiting for one sink.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    pub waiting: VecDeque<Message>,
    /// Number of messages that were replaced and lost.
    pub dropped: u64,
    /// The failures since the last delivery. Not stored: a restart retries immediately.
    #[serde(skip)]
    pub failing: Option<Failing>,
    /// Time of the last delivery since the orchestrator started.
    #[serde(skip)]
    pub delivered_at: Option<TimeMs>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Time of the first failure.
    pub since: TimeMs,
    pub times: u32,
    pub why: String,
    /// Time of the next attempt.
    pub next: TimeMs,
    /// The pause before the next attempt, in milliseconds.
    pub pause_ms: u64,
}

impl Failing {
    /// Whether to keep waiting. If more than the whole pause is left, the clock was set back in between.
    fn waits(&self, now: TimeMs) -> bool {
        let left_ms = self.next.since(now);
        left_ms > 0 && left_ms <= self.pause_ms
    }
}

impl Outbox {
    pub fn push(&mut self, message: Message) {
        if self.waiting.len() >= LONGEST {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(message);
    }

    /// The message to send now, and the last queued message that it covers.
    #[must_use]
    pub fn due(&self, now: TimeMs) -> Option<(Message, u64)> {
        if self.failing.as_ref().is_some_and(|failing| failing.waits(now)) {
            return None;
        }
        let (mut message, count) = Message::joined(&self.waiting, now)?;
        if self.dropped > 0 {
            message.text.push_str(&format!(
                "\n{} earlier messages were dropped while this sink was unreachable.",
                self.dropped
            ));
        }
        Some((message, self.waiting.get(count - 1)?.id))
    }

    /// Records that everything up to this message was delivered.
    pub fn delivered(&mut self, now: TimeMs, up_to: u64) {
        self.waiting.retain(|message| message.id > up_to);
        (self.dropped, self.failing, self.delivered_at) = (0, None, Some(now));
    }

    pub fn failed(&mut self, now: TimeMs, DeliveryError { why, after_ms }: DeliveryError) {
        let before = self.failing.take();
        let times = before.as_ref().map_or(0, |b| b.times) + 1;
        let pause_ms = (RETRY_MS << (times - 1).min(16)).min(LONGEST_RETRY_MS);
        let pause_ms = pause_ms.max(after_ms.unwrap_or(0).min(LONGEST_WISH_MS));
        let since = before.map_or(now, |b| b.since);
        self.failing = Some(Failing { since, times, why, next: now + pause_ms, pause_ms });
    }

    /// Moves times that were noted by a wrong clock. `set` moves one time.
    pub fn set_clock(&mut self, set: impl Fn(&mut TimeMs)) {
        self.waiting.iter_mut().for_each(|message| set(&mut message.at));
        self.delivered_at.iter_mut().for_each(&set);
        if let Some(failing) = &mut self.failing {
            set(&mut failing.since);
            set(&mut failing.next);
        }
    }

    /// The failures, if there are enough for a concern.
    #[must_use]
    pub fn failing(&self) -> Option<&Failing> {
        self.failing.as_ref().filter(|failing| failing.times >= TOLD_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::message::Kind;
    use swarm_common::state::Severity;

    fn message(id: u64) -> Message {
        Message { id, ..Message::new(TimeMs(0), Kind::Concerns, Severity::Info, "t", &[]) }
    }

    #[test]
    fn a_failed_delivery_is_tried_again_ever_more_rarely_and_becomes_a_trouble() {
        let mut outbox = Outbox::default();
        outbox.push(message(1));
        let (mut now, mut pauses) = (TimeMs(0), Vec::new());
        for _ in 0..12 {
            assert!(outbox.due(now).is_some());
            outbox.failed(now, "refused".to_owned().into());
            let next = outbox.failing.as_ref().unwrap().next;
            assert!(outbox.due(TimeMs(next.0 - 1)).is_none());
            pauses.push(next.since(now));
            now = next;
        }
        assert_eq!(pauses[..3], [5_000, 10_000, 20_000]);
        assert_eq!(pauses[11], LONGEST_RETRY_MS);
        assert_eq!(outbox.failing().unwrap().since, TimeMs(0));
        let (_, up_to) = outbox.due(now).unwrap();
        outbox.delivered(now, up_to);
        assert!(outbox.waiting.is_empty() && outbox.failing().is_none());
    }

    // fault: 58
    #[test]
    fn a_clock_that_was_ahead_does_not_silence_a_sink() {
        let mut outbox = Outbox::default();
        outbox.push(message(1));
        let (right, ahead_ms) = (TimeMs(1_800_000_000_000), 365 * 24 * 3_600_000);
        outbox.failed(right + ahead_ms, "refused".to_owned().into());
        assert!(outbox.due(right + ahead_ms + 1_000).is_none());
        assert!(outbox.due(right + 1_000).is_some(), "even if nothing was moved");
        outbox.set_clock(|at| *at = TimeMs(at.0.saturating_sub(ahead_ms)));
        assert!(outbox.due(right + 1_000).is_none());
        assert!(outbox.due(right + RETRY_MS).is_some());
        assert_eq!(outbox.failing.unwrap().since, right);
    }

    #[test]
    fn a_sink_that_says_when_to_come_back_is_left_alone_until_then() {
        let mut outbox = Outbox::default();
        outbox.push(message(1));
        for (wish, pause) in [(1, RETRY_MS), (3_600_000, 3_600_000), (u64::MAX, LONGEST_WISH_MS)] {
            outbox.failing = None;
            outbox.failed(TimeMs(0), DeliveryError { why: "HTTP 429".into(), after_ms: Some(wish) });
            assert_eq!(outbox.failing.as_ref().unwrap().next, TimeMs(pause));
        }
    }

    #[test]
    fn a_full_outbox_lets_the_oldest_go_and_says_so() {
        let mut outbox = Outbox::default();
        for id in 1..=LONGEST as u64 + 3 {
            outbox.push(message(id));
        }
        assert_eq!((outbox.waiting.len(), outbox.dropped), (LONGEST, 3));
        let (sent, up_to) = outbox.due(TimeMs(0)).unwrap();
        assert!(sent.text.contains("3 earlier messages were dropped"), "{}", sent.text);
        outbox.delivered(TimeMs(0), up_to);
        assert_eq!(outbox.dropped, 0);
    }
}
