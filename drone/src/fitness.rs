//! Checks whether this machine can build before a build fails: the programs that builds in its own
//! `/` need, and the directories that the drone writes to.

use crate::{
    builder::nix,
    buildroot::Tree,
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
use swarm_common::wire::nix::NixMachine;

/// Programs that Portage and the build of almost every package use.
const PROGRAMS: [&str; 13] =
    ["bash", "cc", "ld", "ar", "make", "patch", "tar", "gzip", "bzip2", "xz", "zstd", "scanelf", "file"];

/// Interval between checks.
const EVERY: Duration = Duration::from_secs(60);

/// Maximum length of the text about one directory, in bytes.
const LONGEST: usize = 500;

/// The result of the last check.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Missing programs.
    pub lacks: Vec<String>,
    /// Unusable directories, each with the reason.
    pub unusable: Vec<String>,
    /// Version of the Nix to build with.
    pub nix: Option<String>,
    /// What that can build.
    pub nix_machine: Option<Box<NixMachine>>,
}

/// Checks the machine periodically. Clones share the result.
#[derive(Debug, Clone)]
pub struct Fitness {
    builder: BuilderConfig,
    dirs: Vec<PathBuf>,
    last: Arc<Mutex<(Instant, Found)>>,
}

impl Fitness {
    /// Runs the first check.
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

    /// Returns the last result. If it is old, a new check starts in the background.
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
    let tree = Tree::at(builder.base());
    let missing = PROGRAMS.iter().filter(|program| tree.program(program).is_none());
    let mut lacks: Vec<String> = missing.map(|&program| program.to_owned()).collect();
    let (emerge, there) = match &builder.portage_prefix {
        // A configured prefix is a path of this machine.
        Some(prefix) => (prefix.join("bin/emerge"), prefix.join("bin/emerge").exists()),
        None => ("/usr/bin/emerge".into(), tree.has(Path::new("/usr/bin/emerge"))),
    };
    if !there {
        lacks.push(format!("Portage ({}; see builder.portage_prefix)", emerge.display()));
    }
    let unusable = dirs.iter().filter_map(|dir| {
        let why = try_out(dir).err()?;
        let mut text = format!("cannot use {}: {why}", dir.display());
        text.truncate(text.floor_char_boundary(LONGEST));
        Some(text)
    });
    let unusable = unusable.collect();
    let nix = match nix::find(&builder.nix) {
        Ok(found) => found,
        Err(why) => {
            lacks.push(format!("Nix ({why}; see builder.nix)"));
            None
        }
    };
    let nix_machine = nix.as_ref().and_then(|programs| match programs.machine(&builder.nix) {
        Ok(machine) => Some(Box::new(machine)),
        Err(why) => {
            tracing::warn!("it is not known what this machine can build with Nix: {why}");
            None
        }
    });
    Found { lacks, unusable, nix: nix.map(|programs| programs.version), nix_machine }
}

/// Checks that a file can be written and that there is enough free space.
fn try_out(dir: &Path) -> Result<(), String> {
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let written = fs::File::create(&path).and_then(|mut file| file.write_all(&[0; 4096]));
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|error| error.to_string())?;
    // With less, a build would be stopped right away.
    match too_little_free(dir).map_err(|error| error.to_string())? {
        Some(free) => Err(format!("only {} MiB free", free >> 20)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_missing_and_directories_that_cannot_be_written_are_named() {
        let base = tempfile::tempdir().unwrap();
        let bin = base.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        for program in PROGRAMS.iter().filter(|p| **p != "scanelf").chain(&["emerge"]) {
            fs::write(bin.join(program), "").unwrap();
        }
        // Like gcc-config: an absolute link, to be resolved within the base.
        fs::rename(bin.join("cc"), base.path().join("usr/gcc-of-the-base")).unwrap();
        std::os::unix::fs::symlink("/usr/gcc-of-the-base", bin.join("cc")).unwrap();
        // Not even root can write here.
        let (good, bad) = (base.path().join("work"), PathBuf::from("/proc"));
        fs::create_dir(&good).unwrap();
        let builder = BuilderConfig { base_root: Some(base.path().into()), ..BuilderConfig::default() };
        let found = look(&builder, &[good.clone(), bad]);
        assert_eq!(found.lacks, ["scanelf"]);
        assert_eq!(found.unusable.len(), 1, "{found:?}");
        assert!(found.unusable[0].starts_with("cannot use /proc: "), "{found:?}");
        assert_eq!(fs::read_dir(good).unwrap().count(), 0, "nothing is left of a look");
        fs::remove_file(bin.join("emerge")).unwrap();
        let lacks = look(&builder, &[]).lacks;
        assert!(lacks[1].starts_with("Portage ("), "{lacks:?}");
    }
}
