//! Restoring state directories from backups.

use super::{FakeDrone, Swarm, until};
use anyhow::Result;
use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};
use swarm_common::secret::Secret;

/// Copies a directory recursively.
///
/// # Errors
/// It cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}

/// The same drone, connected to the orchestrator's current address.
///
/// # Errors
/// No client can be created.
pub fn again(swarm: &Swarm, drone: &FakeDrone) -> Result<FakeDrone> {
    let client = swarm.nobody()?.with_credential(Secret::new(&drone.credential));
    Ok(FakeDrone { client, id: drone.id, credential: drone.credential.clone() })
}

/// Restarts a swarm from its backup.
///
/// # Errors
/// It does not start.
pub async fn restored(swarm: Swarm, backup: &Path) -> Result<Swarm> {
    // The mark counts as a copy only if it is older than a few seconds.
    let old = fs::metadata(backup.join("journal.mark"))?.modified()?;
    until("some time", async || (SystemTime::now() > old + Duration::from_secs(3)).then_some(())).await;
    let mut copied = Ok(());
    let swarm = swarm
        .restart_after(|config| {
            copied = fs::remove_dir_all(&config.state_dir).and_then(|()| copy(backup, &config.state_dir));
        })
        .await?;
    copied?;
    Ok(swarm)
}
