//! Waiting for conditions, with a time limit.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Repeats `question` until it returns an answer, and returns that.
///
/// Other processes provide no event to wait for, so this polls twenty times a second.
///
/// # Errors
/// There was no answer within `limit`, or the question itself failed.
pub fn until<T>(what: &str, limit: Duration, mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if started.elapsed() > limit {
            bail!("waited {} s in vain: {what}", limit.as_secs());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
