//! Waiting for something to become true, never longer than said.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Asks `question` until it gives an answer, and returns it.
///
/// Other processes have no event to wait for, so this looks again twenty times a second.
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
