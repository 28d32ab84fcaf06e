//! The orchestrator's own records in the state directory, such as which concerns were announced. Each has a
//! checksum. A damaged record is moved aside and treated as missing. The file that was moved aside is a
//! concern until an admin removes it, also after a restart.

use crate::store::sealed;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use swarm_common::wire::concern::{ConcernKind, RecordKind};
use swarm_daemon::config::{ConfigError, secret::write_private};

#[derive(Debug, Clone)]
pub struct OwnRecord {
    kind: RecordKind,
    path: PathBuf,
}

impl OwnRecord {
    /// Which concerns have been announced, and the waiting messages.
    #[must_use]
    pub fn notifications(state_dir: &Path) -> Self {
        Self { kind: RecordKind::Notifications, path: state_dir.join("notify.json") }
    }

    /// The last scrub and its findings.
    #[must_use]
    pub fn scrub(state_dir: &Path) -> Self {
        Self { kind: RecordKind::Scrub, path: state_dir.join("scrub.json") }
    }

    /// All records in a state directory.
    #[must_use]
    pub fn all(state_dir: &Path) -> Vec<Self> {
        vec![Self::notifications(state_dir), Self::scrub(state_dir)]
    }

    /// Reads the record. `None` if there is none, or if it was damaged and has been moved aside.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let error = match fs::read(&self.path) {
            Ok(content) => match parse(&content) {
                Ok(value) => return Some(value),
                Err(error) => error,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        let (aside, file) = (self.aside(), self.path.display());
        match fs::rename(&self.path, &aside) {
            Ok(()) => {
                tracing::error!(%file, error, aside = %aside.display(), "damaged record set aside; an empty one is used")
            }
            Err(why) => {
                tracing::error!(%file, error, %why, "a damaged record cannot be set aside; an empty one is used")
            }
        }
        None
    }

    /// Writes the record durably.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write(&self, value: &impl Serialize) -> Result<(), ConfigError> {
        let unwritable = |source| ConfigError::Unwritable { path: self.path.clone(), source };
        let text = serde_json::to_string(value).map_err(|error| unwritable(error.into()))?;
        write_private(&self.path, &sealed::seal(&text))
    }

    /// Reports that the record was damaged, while the file that was moved aside exists.
    #[must_use]
    pub fn concern(&self) -> Option<ConcernKind> {
        let aside = self.aside();
        let [file, to] = [&self.path, &aside].map(|path| path.display().to_string());
        aside.exists().then_some(ConcernKind::RecordDamaged { record: self.kind, file, aside: to })
    }

    fn aside(&self) -> PathBuf {
        self.path.with_extension("damaged")
    }
}

fn parse<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    // Versions before 0.2 wrote no checksum.
    let is_old = content.starts_with(b"{");
    let sealed = || sealed::open(content).map(str::as_bytes).ok_or("it does not match its checksum");
    let text = if is_old { content } else { sealed()? };
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_happens_to_a_record_it_is_read_whole_or_set_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let words = vec!["a concern".to_owned(), "another".to_owned()];
        let value = std::collections::BTreeMap::from([("told", words)]);
        let read = |record: &OwnRecord| record.read::<serde_json::Value>();
        for record in OwnRecord::all(folder.path()) {
            assert_eq!((read(&record), record.concern()), (None, None), "there is none");
            record.write(&value).unwrap();
            let whole = fs::read(&record.path).unwrap();
            let flipped = (0..whole.len()).map(|at| {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                changed
            });
            let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
            for damaged in flipped.chain(cut) {
                fs::write(&record.path, &damaged).unwrap();
                assert_eq!(read(&record), None, "{}", String::from_utf8_lossy(&damaged));
                assert!(matches!(record.concern(), Some(ConcernKind::RecordDamaged { .. })));
                assert!(!record.path.exists() && fs::read(record.aside()).unwrap() == damaged);
            }
            record.write(&value).unwrap();
            assert_eq!(read(&record), Some(serde_json::json!(value)));
            assert!(record.concern().is_some(), "until an admin has seen it");
            fs::remove_file(record.aside()).unwrap();
            assert_eq!(record.concern(), None);
            fs::write(&record.path, serde_json::to_vec(&value).unwrap()).unwrap();
            assert_eq!(read(&record), Some(serde_json::json!(value)), "of an older version");
        }
    }
}
