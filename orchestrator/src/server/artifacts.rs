//! The mark by which the directory of packages, snapshots and images is known.
//!
//! A disk that is not mounted leaves an empty directory in its place. Everything in it would count as
//! lost, and be published and built anew on the disk below.

use super::StartError;
use crate::{
    store::disk::{self, DiskError},
    vanished::Vanished,
};
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};
use swarm_core::{Swarm, kept};

/// The file that every such directory has.
const MARK: &str = ".build-swarm";
/// What it says to people.
const TEXT: &str = "Build Swarm stores packages here. It does not start without this file, so that it notices if a \
                    disk is not mounted.\n";
/// Where earlier versions, which wrote no mark, stored files.
const FILES: [&str; 3] = ["store/sha256", "snapshots", "images"];

/// Whether the state refers to files in the directory.
pub(super) fn is_used(swarm: &Swarm) -> bool {
    !swarm.profiles.is_empty() || !swarm.bases.is_empty() || !kept::artifacts(swarm, None).is_empty()
}

/// Stops the start if the directory has no mark and no files although it is `used`. Otherwise marks it.
///
/// # Errors
/// The files have vanished, and their loss was not accepted; or the disk fails.
pub(super) fn check(dir: &Path, used: bool, accepted: bool) -> Result<(), StartError> {
    let mark = dir.join(MARK);
    if mark.try_exists().map_err(DiskError::at("look at", &mark))? {
        return Ok(());
    }
    if used && !has_files(dir) {
        let vanished = Vanished {
            what: "the mark of the directory of packages,",
            path: mark.clone(),
            trace: "the journal refers to packages or snapshots in it, and there are none".into(),
            cost: "to go on without them",
        };
        vanished.unless(accepted)?;
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
