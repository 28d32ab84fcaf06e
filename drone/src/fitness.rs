//! Checks whether this machine can build, before a build fails: the requirements of the kinds of builders,
//! and the directories that the drone writes to.

use crate::{
    builder::{self, Equipment},
    config::{BuilderConfig, Config},
    process::too_little_free,
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(60);

/// Maximum length of the text about one directory, in bytes.
const LONGEST: usize = 500;

#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What the machine can build with, and what it lacks.
    pub equipment: Equipment,
    /// Unusable directories, each with the reason.
    pub unusable: Vec<String>,
}

/// Checks the machine periodically. Clones share the result.
#[derive(Debug, Clone)]
pub struct Fitness {
    builder: BuilderConfig,
    dirs: Vec<PathBuf>,
    last: Arc<Mutex<(Instant, Found)>>,
}

impl Fitness {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let builder = config.builder.clone();
        let mut dirs = vec![
            config.state_dir.clone(),
            config.cache_dir.clone(),
            builder.cache_dir.clone(),
            builder.work_dir.clone(),
        ];
        dirs.dedup();
        let found = look(&builder, &dirs);
        for what in &found.unusable {
            tracing::error!("{what}: no builds until this is fixed");
        }
        Self { builder, dirs, last: Arc::new(Mutex::new((Instant::now(), found))) }
    }

    /// The last result. If it is old, a new check starts in the background.
    #[must_use]
    pub fn found(&self) -> Found {
        let mut last = self.lock();
        if last.0.elapsed() >= EVERY {
            last.0 = Instant::now();
            let fitness = self.clone();
            tokio::task::spawn_blocking(move || {
                let found = look(&fitness.builder, &fitness.dirs);
                fitness.lock().1 = found;
            });
        }
        last.1.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Instant, Found)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(builder: &BuilderConfig, dirs: &[PathBuf]) -> Found {
    let unusable = dirs.iter().filter_map(|dir| {
        let why = try_out(dir).err()?;
        let mut text = format!("cannot use {}: {why}", dir.display());
        text.truncate(text.floor_char_boundary(LONGEST));
        Some(text)
    });
    Found { equipment: builder::equipment(builder), unusable: unusable.collect() }
}

/// Checks that a file can be written and that there is enough free space.
fn try_out(dir: &Path) -> Result<(), String> {
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let written = fs::File::create(&path).and_then(|mut file| file.write_all(&[0; 4096]));
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|error| error.to_string())?;
    // With less free space, a build would be stopped right away.
    match too_little_free(dir).map_err(|error| error.to_string())? {
        Some(free) => Err(format!("only {} MiB free", free >> 20)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_cannot_be_written_are_named() {
        let folder = tempfile::tempdir().unwrap();
        // Not even root can write to this directory.
        let (good, bad) = (folder.path().join("work"), PathBuf::from("/proc"));
        fs::create_dir(&good).unwrap();
        let found = look(&BuilderConfig::default(), &[good.clone(), bad]);
        assert_eq!(found.unusable.len(), 1, "{found:?}");
        assert!(found.unusable[0].starts_with("cannot use /proc: "), "{found:?}");
        assert_eq!(fs::read_dir(good).unwrap().count(), 0, "nothing is left of a look");
    }
}
