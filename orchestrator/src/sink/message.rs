//! The format of messages, and merging several into one.
//!
//! Much of the text comes from drones, builds and resolvers, so control characters are removed and all
//! lengths are limited.

use serde::{Deserialize, Serialize};
use swarm_common::{state::Severity, time::TimeMs};

const TITLE: usize = 160;

/// Maximum length of the text in bytes. An ntfy server turns more than 4096 into an attachment.
const TEXT: usize = 3200;

const LINE: usize = 400;

/// A message that is delivered later than this states when it was created.
const LATE_MS: u64 = 5 * 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The end of a run.
    Run,
    Concerns,
    /// A test by an admin.
    Test,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Number of the message. Repeated deliveries have the same number.
    pub id: u64,
    pub at: TimeMs,
    pub kind: Kind,
    pub severity: Severity,
    pub title: String,
    /// Details in several lines; may be empty.
    pub text: String,
}

impl Message {
    /// Creates a message. Shortens its title and lines and makes them safe to display.
    #[must_use]
    pub fn new(at: TimeMs, kind: Kind, severity: Severity, title: &str, lines: &[String]) -> Self {
        let title = line(title).chars().take(TITLE).collect();
        let mut text = String::new();
        for (n, next) in lines.iter().enumerate() {
            let next = line(next);
            if text.len() + next.len() > TEXT {
                text.push_str(&format!("and {} more lines; see `swarmctl status`\n", lines.len() - n));
                break;
            }
            text.push_str(&next);
            text.push('\n');
        }
        Self { id: 0, at, kind, severity, title, text: text.trim_end().to_owned() }
    }

    /// The message as delivered at `now`. If it is late, its title includes when it was created.
    #[must_use]
    pub fn delivered(mut self, now: TimeMs) -> Self {
        if now.since(self.at) >= LATE_MS {
            self.title = format!("{} ({})", self.title, moment(self.at));
        }
        self
    }

    /// Merges as many of the oldest messages as fit into one, and returns their number. `None` if no message
    /// waits.
    #[must_use]
    pub fn joined<'m>(waiting: impl IntoIterator<Item = &'m Message>, now: TimeMs) -> Option<(Self, usize)> {
        let mut waiting = waiting.into_iter();
        let first = waiting.next()?;
        let mut parts = vec![first.clone().delivered(now)];
        let whole = |m: &Message| m.title.len() + m.text.len() + 2;
        let mut length = whole(&parts[0]);
        for next in waiting {
            let next = next.clone().delivered(now);
            length += whole(&next);
            if length > TEXT {
                break;
            }
            parts.push(next);
        }
        let count = parts.len();
        if count == 1 {
            return parts.pop().map(|only| (only, 1));
        }
        let text: Vec<String> = parts.iter().map(|m| format!("{}\n{}", m.title, m.text)).collect();
        let joined = Self {
            severity: parts.iter().map(|m| m.severity).max().unwrap_or(first.severity),
            title: format!("{count} messages since {}", moment(first.at)),
            text: text.join("\n\n"),
            // The newest ID, so that a later merge of more messages counts as a different message.
            id: parts.iter().map(|m| m.id).max().unwrap_or(first.id),
            ..first.clone()
        };
        Some((joined, count))
    }
}

/// Removes control characters and characters that are invisible or change the text direction, and limits the
/// length.
fn line(text: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let shown = |c: char| if c.is_control() || hidden(c) { ' ' } else { c };
    let mut line: String = text.trim_end().chars().map(shown).collect();
    if line.len() > LINE {
        let end = (0..=LINE).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

/// For example `2026-11-21 03:10 UTC`.
fn moment(at: TimeMs) -> String {
    match i64::try_from(at.0).map(jiff::Timestamp::from_millisecond) {
        Ok(Ok(stamp)) => stamp.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        _ => format!("{} ms", at.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, at: u64, lines: &[String]) -> Message {
        Message { id, ..Message::new(TimeMs(at), Kind::Concerns, Severity::Info, "a title", lines) }
    }

    #[test]
    fn hostile_text_is_bounded_and_cannot_steer_a_terminal_or_forge_a_line() {
        let lines = vec!["x\x1b[2J\r\nSubject: y\u{202e}".to_owned(); 1000];
        let made = Message::new(TimeMs(0), Kind::Run, Severity::Info, &"ü\n".repeat(500), &lines);
        assert!(made.title.chars().count() <= TITLE && !made.title.contains('\n'));
        assert!(made.text.len() < TEXT + 100, "{}", made.text.len());
        assert!(!made.text.contains(['\x1b', '\r', '\u{202e}']));
        assert!(made.text.lines().all(|l| l.starts_with('x') || l.starts_with("and ")), "{}", made.text);
    }

    #[test]
    fn a_message_that_comes_late_says_of_when_it_is() {
        let made = message(1, 0, &[]);
        assert_eq!(made.clone().delivered(TimeMs(1000)).title, "a title");
        assert_eq!(made.delivered(TimeMs(LATE_MS)).title, "a title (1970-01-01 00:00 UTC)");
    }

    #[test]
    fn what_waits_is_joined_as_far_as_one_message_holds_it() {
        let small: Vec<Message> = (1..=3).map(|id| message(id, 0, &["short".into()])).collect();
        let (joined, count) = Message::joined(&small, TimeMs(0)).unwrap();
        assert_eq!((count, joined.id), (3, 3));
        assert_eq!(joined.text.matches("short").count(), 3);
        let large: Vec<Message> = (1..=3).map(|id| message(id, 0, &vec!["y".repeat(300); 9])).collect();
        assert_eq!(Message::joined(&large, TimeMs(0)).unwrap(), (large[0].clone(), 1));
        assert_eq!(Message::joined(&[], TimeMs(0)), None);
    }
}
