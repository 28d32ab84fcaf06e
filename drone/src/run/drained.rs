//! Whether the drone was drained on this machine. This survives a restart, because a drained machine is often
//! rebooted during maintenance.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A marker file that exists while the drone is drained.
pub(super) struct Drained {
    file: PathBuf,
    is_set: bool,
}

impl Drained {
    /// Reads the setting that an earlier start saved.
    pub(super) fn open(state_dir: &Path) -> Self {
        let file = state_dir.join("drained");
        let is_set = file.exists();
        if is_set {
            tracing::info!("drained before this start: no work is accepted until resumed (SIGUSR2)");
        }
        Self { file, is_set }
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set
    }

    pub(super) fn set(&mut self, drained: bool) {
        self.is_set = drained;
        let done = match drained {
            true => fs::write(&self.file, ""),
            false => match fs::remove_file(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            },
        };
        if let Err(error) = done {
            tracing::warn!(%error, drained, "cannot save the drained state; it is lost at a restart");
        }
    }
}
