//! Whether this machine can build, found out before a build fails for it: the programs that builds in
//! its own `/` call, and the directories that everything is written to.

use crate::{builder::BuilderConfig, buildroot::Tree, config::Config};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What Portage and builds of almost every package call.
const PROGRAMS: [&str; 13] =
    ["bash", "cc", "ld", "ar", "make", "patch", "tar", "gzip", "bzip2", "xz", "zstd", "scanelf", "file"];

/// With fewer bytes free nothing can be built in a directory.
const ROOM: u64 = 64 << 20;

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(60);

/// Bytes of what is said of one directory.
const LONGEST: usize = 500;

/// What the last look found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Programs that are not there.
    pub lacks: Vec<String>,
    /// Directories that cannot be used, each with the reason.
    pub unusable: Vec<String>,
}

/// Looks now and then.
#[derive(Debug, Clone)]
pub struct Fitness {
    builder: BuilderConfig,
    dirs: Vec<PathBuf>,
    last: Arc<Mutex<(Instant, Found)>>,
}

impl Fitness {
    /// Looks at the machine for the first time.
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
            tracing::error!("{what}: nothing is built until that is mended");
        }
        Self { builder, dirs, last: Arc::new(Mutex::new((Instant::now(), found))) }
    }

    /// What was found last. If that is long ago, it is looked again in the background.
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
        // It is brought along from this machine.
        Some(prefix) => (prefix.join("bin/emerge"), prefix.join("bin/emerge").exists()),
        None => ("/usr/bin/emerge".into(), tree.has(Path::new("/usr/bin/emerge"))),
    };
    if !there {
        lacks.push(format!("Portage ({}; see builder.portage_prefix)", emerge.display()));
    }
    let unusable = dirs.iter().filter_map(|dir| {
        let why = try_out(dir).err()?;
        let mut text = format!("{} cannot be used: {why}", dir.display());
        text.truncate(text.floor_char_boundary(LONGEST));
        Some(text)
    });
    Found { lacks, unusable: unusable.collect() }
}

/// Whether something can be written there and there is room for more.
fn try_out(dir: &Path) -> Result<(), String> {
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let written = fs::File::create(&path).and_then(|mut file| file.write_all(&[0; 4096]));
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|error| error.to_string())?;
    let disk = rustix::fs::statvfs(dir).map_err(|error| error.to_string())?;
    match disk.f_bavail.saturating_mul(disk.f_frsize) {
        free @ ..ROOM => Err(format!("only {} MiB are free on its disk", free >> 20)),
        _ => Ok(()),
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
        // As gcc-config makes it: a link that begins at the base's own top.
        fs::rename(bin.join("cc"), base.path().join("usr/gcc-of-the-base")).unwrap();
        std::os::unix::fs::symlink("/usr/gcc-of-the-base", bin.join("cc")).unwrap();
        // Not even root can write to it.
        let (good, bad) = (base.path().join("work"), PathBuf::from("/proc"));
        fs::create_dir(&good).unwrap();
        let builder = BuilderConfig { base_root: Some(base.path().into()), ..BuilderConfig::default() };
        let found = look(&builder, &[good.clone(), bad]);
        assert_eq!(found.lacks, ["scanelf"]);
        assert_eq!(found.unusable.len(), 1, "{found:?}");
        assert!(found.unusable[0].starts_with("/proc cannot be used: "), "{found:?}");
        assert_eq!(fs::read_dir(good).unwrap().count(), 0, "nothing is left of a look");
        fs::remove_file(bin.join("emerge")).unwrap();
        let lacks = look(&builder, &[]).lacks;
        assert!(lacks[1].starts_with("Portage ("), "{lacks:?}");
    }
}
