//! Removes files that no generation refers to.

use super::{
    NixCache, PATHS, lock_path, names, order,
    place::{digest_of, nar_path, read_narinfo},
};
use crate::{
    publish::generations::{self, seconds_of},
    store::disk::{self, DiskError},
};
use std::{collections::BTreeSet, fs, path::Path};
use swarm_common::wire::ready::Ready;
use swarm_formats::nix::narinfo::NarInfo;

impl NixCache {
    /// Removes generations that are not among `kept` and were replaced more than `grace_secs` before `now`,
    /// and files that no remaining generation refers to. Narinfos are removed at once, and archives in the
    /// next sweep, because a client may just have read the narinfo. Returns the number of removed files.
    ///
    /// # Errors
    /// The disk fails; the rest is removed next time.
    pub fn sweep(&mut self, now: u64, grace_secs: u64, kept: &BTreeSet<u64>) -> Result<usize, DiskError> {
        let (mut named, mut locks) = (BTreeSet::new(), self.locks(&self.dir.join("ready"), "")?);
        let numbers = generations::numbers(&self.dir)?;
        for (at, &number) in numbers.iter().enumerate() {
            let next = numbers.get(at + 1).map(|&next| generations::path(&self.dir, next).join(PATHS));
            let replaced_at = next.map(|path| seconds_of(&path).unwrap_or(0));
            let is_old = replaced_at.is_some_and(|at| now.saturating_sub(at) >= grace_secs);
            if is_old && !kept.contains(&number) {
                generations::remove(&self.dir, number)?;
                continue;
            }
            let path = generations::path(&self.dir, number).join(PATHS);
            let list = fs::read_to_string(&path).map_err(DiskError::at("read", &path))?;
            locks.extend(self.locks(&generations::path(&self.dir, number), "ready-")?);
            named.extend(list.lines().filter_map(|line| Some(line.get(..32)?.to_owned())));
        }
        if numbers.is_empty() {
            return Ok(0);
        }
        let (mut all, mut removed) = (Vec::new(), 0);
        for name in names(&self.dir)? {
            let Some(hash) = name.strip_suffix(".narinfo") else { continue };
            match read_narinfo(&self.dir.join(&name)) {
                Some(info) => all.push(info),
                // The publisher will write the damaged narinfo again.
                None if named.contains(hash) => return Ok(0),
                None => removed += usize::from(disk::remove_file(&self.dir.join(&name))?),
            }
        }
        // Remove referring paths first, so that a client never finds a path without its references.
        for info in order::references_first(&all, |info| info).into_iter().rev() {
            let hash = info.path.hash_part();
            if !named.contains(hash) {
                removed += usize::from(disk::remove_file(&self.dir.join(format!("{hash}.narinfo")))?);
                removed += usize::from(disk::remove_file(&self.dir.join(format!("{hash}.ls")))?);
            }
        }
        disk::sync_dir(&self.dir)?;
        Ok(removed + self.sweep_files(&all, &named, &locks)?)
    }

    /// The lock files that the pointers in a directory refer to.
    fn locks(&self, dir: &Path, prefix: &str) -> Result<BTreeSet<String>, DiskError> {
        let pointers = names(dir)?.into_iter().filter(|name| name.starts_with(prefix));
        let lock = |name: String| {
            let ready: Ready = serde_json::from_slice(&fs::read(dir.join(name)).ok()?).ok()?;
            ready.lock.map(lock_path)
        };
        Ok(pointers.filter_map(lock).collect())
    }

    /// Removes archives that no narinfo referred to before this sweep, logs that none refers to now, and all
    /// locks except `locks`.
    fn sweep_files(
        &self,
        before: &[NarInfo],
        named: &BTreeSet<String>,
        locks: &BTreeSet<String>,
    ) -> Result<usize, DiskError> {
        let nars: BTreeSet<String> = before.iter().filter_map(digest_of).map(nar_path).collect();
        let stay = before.iter().filter(|info| named.contains(info.path.hash_part()));
        let logs: BTreeSet<String> =
            stay.filter_map(|info| info.deriver.as_ref()).map(|drv| format!("log/{drv}")).collect();
        let mut removed = 0;
        for part in ["", "nar", "log", "ready", "lock"] {
            removed += remove_unfinished(&self.dir.join(part))?;
        }
        for (part, kept) in [("nar", &nars), ("log", &logs), ("lock", locks)] {
            for name in names(&self.dir.join(part))? {
                let name = format!("{part}/{name}");
                if !kept.contains(&name) {
                    removed += usize::from(disk::remove_file(&self.dir.join(name))?);
                }
            }
        }
        Ok(removed)
    }
}

/// Removes files left by interrupted publications.
fn remove_unfinished(dir: &Path) -> Result<usize, DiskError> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(DiskError::at("list", dir))? {
        let path = entry.map_err(DiskError::at("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            removed += usize::from(disk::remove_file(&path)?);
        }
    }
    Ok(removed)
}
