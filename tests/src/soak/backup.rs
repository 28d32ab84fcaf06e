//! A backup as described in the handbook, and the restore from it.

use super::farm::Farm;
use crate::e2e::{programs::program, swarm::PROFILE};
use anyhow::{Context, Result, ensure};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes a backup while the orchestrator runs.
pub(super) fn make(farm: &Farm) -> Result<PathBuf> {
    let to = farm.file("backup");
    match fs::remove_dir_all(&to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir(&to)?,
    }
    let mut command = Command::new(program("swarm-orchestrator")?);
    command.arg("--config").arg(farm.file("orchestrator.toml"));
    let done = command.args(["journal", "backup"]).arg(to.join("journal.sqlite")).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    copy(&farm.state_dir(), &to, &|name| !name.starts_with("journal"))?;
    Ok(to)
}

/// Stops the orchestrator, restores the backup and starts it again.
pub(super) fn restore(farm: &mut Farm, from: &Path) -> Result<()> {
    farm.stop_orchestrator()?;
    let state = farm.state_dir();
    for entry in fs::read_dir(&state)? {
        let path = entry?.path();
        match path.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    copy(from, &state, &|_| true)?;
    let index = state.join("binhost").join(PROFILE).join("stable/Packages");
    farm.damaged.with(|damaged| damaged.no_index = !index.exists());
    farm.start_orchestrator()
}

/// Copies files that do not change meanwhile, with modes and times.
fn copy(from: &Path, to: &Path, is_selected: &dyn Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_selected(&name.to_string_lossy()) {
            continue;
        }
        let done = Command::new("cp").arg("-a").arg(entry.path()).arg(to).output()?;
        let stderr = String::from_utf8_lossy(&done.stderr);
        // Files that were removed during the copy do not belong in the backup.
        let gone = stderr.lines().all(|line| line.contains("No such file"));
        ensure!(done.status.success() || gone, "{stderr}");
    }
    fs::metadata(to).map(drop).context("the backup is gone")
}
