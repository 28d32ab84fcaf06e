//! Stops the start if a key, a certificate or the journal is missing although something derived from it shows
//! that it existed. Replacing it silently would lock out everybody who trusts the old one, or hide that a
//! disk is not mounted. The admin can accept the loss. Also notes which key is in use, to report a change.

use std::path::{Path, PathBuf};
use swarm_common::wire::{admin::BuilderKind, concern::ConcernKind};
use swarm_daemon::config::{ConfigError, secret::write_private};

/// Something that should exist is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {} is missing, but {trace}: restore it from a backup (check that its disk is mounted), or start once \
     with --accept-new {cost}",
    path.display()
)]
pub struct MissingState {
    /// What is missing, such as `the signing key`.
    pub what: &'static str,
    pub path: PathBuf,
    /// The evidence that it existed.
    pub trace: String,
    /// The consequence of accepting the loss, as the end of a sentence: `to have another made, which …`.
    pub cost: &'static str,
}

impl MissingState {
    /// Stops the start if the file is missing although its trace exists.
    ///
    /// # Errors
    /// It is missing, and the loss was not accepted.
    pub fn check(self, trace: &Path, accepted: bool) -> Result<(), Self> {
        match matches!(self.path.try_exists(), Ok(false)) && trace.exists() {
            true => self.unless(accepted),
            false => Ok(()),
        }
    }

    /// Logs the loss if the admin accepted it.
    ///
    /// # Errors
    /// The loss was not accepted.
    pub fn unless(self, accepted: bool) -> Result<(), Self> {
        if !accepted {
            return Err(self);
        }
        tracing::warn!(file = %self.path.display(), "{} is missing, accepted with --accept-new", self.what);
        Ok(())
    }
}

/// Records which key or certificate is in use, as evidence for the next start. Returns the previous
/// one if it was different, and saves it to the file `previous`, if given.
///
/// # Errors
/// The file cannot be read or written.
pub fn note(path: &Path, now: &str, previous: Option<&Path>) -> Result<Option<String>, ConfigError> {
    let before = match std::fs::read_to_string(path) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    };
    if before.as_deref() == Some(now) {
        return Ok(None);
    }
    let before = before.filter(|before| !before.is_empty());
    // First, so that a start that is killed in between does not lose it.
    if let (Some(before), Some(previous)) = (&before, previous) {
        write_private(previous, &format!("{before}\n"))?;
    }
    write_private(path, &format!("{now}\n"))?;
    Ok(before)
}

/// The file with the signing key that was in use before the one that `trace` names.
#[must_use]
pub fn previous_key_file(trace: &Path) -> PathBuf {
    trace.with_extension("previous")
}

/// The signing key that has changed according to `trace`, which names the current one. It is a concern until an
/// admin removes the file with the previous one.
#[must_use]
pub fn changed_key(clients: BuilderKind, trace: &Path) -> Option<ConcernKind> {
    let previous = previous_key_file(trace);
    let [before, now] = [previous.as_path(), trace].map(|file| std::fs::read_to_string(file).ok());
    let (before, now) = (before?.trim().to_owned(), now?.trim().to_owned());
    let file = previous.display().to_string();
    (before != now).then_some(ConcernKind::SigningKeyChanged { clients, before, now, file })
}
