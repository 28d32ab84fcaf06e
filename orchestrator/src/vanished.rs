//! What was there and is gone: a key, a certificate or a journal, while something that came of
//! it still is. Another one made without a word would cut off whoever trusts the first, or
//! hide that a disk is not mounted. So the start stops, unless the admin accepts the loss.

use std::path::{Path, PathBuf};
use swarm_common::config::{ConfigError, secret::write_private};

/// What stops a start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {} is gone, and {trace}: restore it from a backup (is its disk mounted?), or start once with \
     --accept-new {cost}",
    path.display()
)]
pub struct Vanished {
    /// What it was: `the signing key`.
    pub what: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// How it is known that it was there.
    pub trace: String,
    /// What comes of accepting the loss: `to have another made, which …`.
    pub cost: &'static str,
}

impl Vanished {
    /// Says that it is accepted, if it is.
    ///
    /// # Errors
    /// It is not.
    pub fn unless(self, accepted: bool) -> Result<(), Self> {
        if !accepted {
            return Err(self);
        }
        tracing::warn!(file = %self.path.display(), "{} is gone, and that is accepted", self.what);
        Ok(())
    }
}

/// Keeps in a file which key or certificate is in use, as a trace of it. Gives the one that
/// was in use before, if it was another.
///
/// # Errors
/// The file cannot be read or written.
pub fn note(path: &Path, now: &str) -> Result<Option<String>, ConfigError> {
    let before = match std::fs::read_to_string(path) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(ConfigError::Secret {
                path: path.to_owned(),
                what: format!("cannot be read: {error}"),
            });
        }
    };
    if before.as_deref() == Some(now) {
        return Ok(None);
    }
    write_private(path, &format!("{now}\n"))?;
    Ok(before)
}
