//! Whether and when a failed request is sent again.
//!
//! | result of the request | sent again |
//! |---|---|
//! | no connection | yes |
//! | the connection was cut | if the request may be repeated |
//! | 429, 503: it was not processed | yes |
//! | 408, 425, 500, 502, 504 | if the request may be repeated |
//! | no answer within the time limit, an untrusted certificate | no |
//! | 507 and all other answers | no |
//!
//! A request may be repeated if it changes nothing, or identifies what it changes: by an idempotency key, the
//! key of a claim, an attempt, or the offset at which its bytes begin. Enrolment with a token alone and a
//! test of notifications may not be repeated.
//!
//! The pause doubles each time, with ±25 % jitter; `Retry-After` can only lengthen it. All pauses together
//! last at most as long as the caller's [`Patience`]. A drone's claims and deliveries have no patience: its
//! agent repeats them for ever, with pauses of its own.

use reqwest::{StatusCode, header::HeaderMap};
use std::time::Duration;

/// The pause before the first retry, without jitter.
const FIRST: Duration = Duration::from_millis(500);

/// The maximum pause, unless the server asks for a longer one.
const LONGEST: Duration = Duration::from_secs(8);

/// How long all pauses of one request may last together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(Duration);

impl Patience {
    /// Sends nothing again.
    pub const NONE: Self = Self(Duration::ZERO);
    /// For interactive commands.
    pub const PERSON: Self = Self(Duration::from_secs(3));
    /// For downloads, so that a restart of the orchestrator fails no build.
    pub const DOWNLOAD: Self = Self(Duration::from_secs(30));

    /// Starts counting the tries of one request.
    #[must_use]
    pub fn tries(self) -> Tries {
        Tries { left: self.0, failures: 0 }
    }
}

/// Counts the tries of one request, and the patience that is left.
#[derive(Debug)]
pub struct Tries {
    left: Duration,
    failures: u32,
}

impl Tries {
    /// The pause before the next try, at least `asked`. `None` if it would exceed the patience.
    pub fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let base = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures += 1;
        let pause = jittered(base).max(asked.unwrap_or_default());
        self.left = self.left.checked_sub(pause)?;
        Some(pause)
    }
}

/// A pause between 75 % and 125 % of `base`, so that callers do not return in lockstep.
fn jittered(base: Duration) -> Duration {
    // Without randomness, use the middle.
    let dice = getrandom::u32().unwrap_or(u32::MAX / 2);
    base.mul_f64(0.75 + 0.5 * f64::from(dice) / f64::from(u32::MAX))
}

/// Whether the same request may succeed soon without intervention.
pub(super) fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 502..=504)
}

/// Whether a request is sent again after an answer with this status.
pub(super) fn is_repeated(status: StatusCode, repeatable: bool) -> bool {
    let was_refused = matches!(status.as_u16(), 429 | 503);
    was_refused || (repeatable && (is_temporary(status.as_u16()) || status == 500))
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); a date is ignored.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_and_are_as_long_as_the_server_asks() {
        for (patience, most) in [(Patience::NONE, 0), (Patience::PERSON, 4), (Patience::DOWNLOAD, 9)] {
            let mut tries = patience.tries();
            let pauses: Vec<Duration> = std::iter::from_fn(|| tries.pause(None)).collect();
            assert!(pauses.len() <= most && pauses.iter().sum::<Duration>() <= patience.0, "{pauses:?}");
            assert!(pauses.iter().all(|pause| *pause <= LONGEST.mul_f64(1.25)), "{pauses:?}");
            assert!(pauses.len() >= most / 2, "{pauses:?}");
        }
        let mut tries = Patience::PERSON.tries();
        assert_eq!(tries.pause(Some(Duration::from_secs(2))), Some(Duration::from_secs(2)));
        assert_eq!(tries.pause(Some(Duration::from_secs(2))), None, "it would be too long");
        assert!(Patience::DOWNLOAD.tries().pause(Some(Duration::MAX)).is_none());
    }
}
