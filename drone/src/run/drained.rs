//! Whether somebody on this machine wants the drone to take no work. That outlives a restart: who drains
//! a machine to work on it may well reboot it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A file that is there as long as the drone is drained.
pub(super) struct Drained {
    file: PathBuf,
    is_set: bool,
}

impl Drained {
    /// As an earlier start was told.
    pub(super) fn open(state_dir: &Path) -> Self {
        let file = state_dir.join("drained");
        let is_set = file.exists();
        if is_set {
            tracing::info!("drained before this start: no work is taken until it is resumed (SIGUSR2)");
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
            tracing::warn!(%error, drained, "this does not outlive a restart");
        }
    }
}
