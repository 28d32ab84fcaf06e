//! The mark that identifies the directory of packages, snapshots and images.
//!
//! If a disk is not mounted, there is an empty directory in its place. Without the mark, everything in the
//! directory would count as lost, and would be built and published again on the disk below.

use super::StartError;
use crate::{
    missing_state::MissingState,
    store::disk::{self, DiskError},
};
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};
use swarm_core::{Swarm, retention};

/// The file that marks the directory.
const MARK: &str = ".build-swarm";
/// The content of the mark, for people.
const TEXT: &str = "Build Swarm stores packages here. It does not start without this file, so that it notices if a \
                    disk is not mounted.\n";
/// Subdirectories in which earlier versions, which wrote no mark, stored files.
const FILES: [&str; 3] = ["store/sha256", "snapshots", "images"];

/// Whether the state refers to files in the directory.
pub(super) fn is_used(swarm: &Swarm) -> bool {
    !swarm.profiles.is_empty() || !swarm.bases.is_empty() || !retention::artifacts(swarm, None).is_empty()
}

/// Stops the start if the directory is `used` but has neither a mark nor files. Otherwise writes the mark.
///
/// # Errors
/// The files have vanished and their loss was not accepted, or the disk fails.
pub(super) fn check(dir: &Path, used: bool, accepted: bool) -> Result<(), StartError> {
    let mark = dir.join(MARK);
    if mark.try_exists().map_err(DiskError::at("look at", &mark))? {
        return Ok(());
    }
    if used && !has_files(dir) {
        let missing = MissingState {
            what: "the mark of the directory of packages,",
            path: mark.clone(),
            trace: "the journal refers to packages or snapshots in it, and there are none".into(),
            cost: "to go on without them",
        };
        missing.unless(accepted)?;
    }
    let written = File::create(&mark).and_then(|mut file| {
        file.write_all(TEXT.as_bytes())?;
        file.sync_all()
    });
    written.map_err(DiskError::at("write", &mark))?;
    Ok(disk::sync_dir(dir)?)
}

fn has_files(dir: &Path) -> bool {
    let mut entries = FILES.iter().filter_map(|files| fs::read_dir(dir.join(files)).ok());
    entries.any(|mut entries| entries.next().is_some())
}
