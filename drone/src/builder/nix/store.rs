//! A store of the drone's own: a directory that contains everything below `nix/store`, with a configuration
//! that does not depend on the machine.

use crate::config::NixConfig;
use crate::process;
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Settings of all programs that do not depend on the drone's configuration. See nix.conf(5).
const SETTINGS: &str = "\
build-users-group =
substituters =
trusted-public-keys =
flake-registry =
experimental-features = nix-command flakes
sandbox = true
sandbox-fallback = false
builders =
eval-cache = false
warn-dirty = false
keep-build-log = false
narinfo-cache-negative-ttl = 0
narinfo-cache-positive-ttl = 3600
download-attempts = 2
connect-timeout = 10
stalled-download-timeout = 60
netrc-file = /etc/nix/netrc
";

/// The Nix configuration for all programs.
pub(super) fn settings(config: &NixConfig) -> String {
    let mut settings = SETTINGS.to_owned();
    if let Some(shell) = &config.shell {
        settings.push_str(&format!("sandbox-paths = /bin/sh={}\n", shell.display()));
    }
    // A setting with `extra-` adds to what Nix detects by itself.
    for (name, values) in
        [("extra-platforms", &config.extra_platforms), ("system-features", &config.system_features)]
    {
        if !values.is_empty() {
            settings.push_str(&format!("extra-{name} = {}\n", values.join(" ")));
        }
    }
    settings
}

/// Directory in a store that contains the configuration.
pub(super) const CONFIGURATION: &str = "configuration";
/// Directory in a store that contains the drone's roots.
const ROOTS: &str = "nix/var/nix/gcroots/swarm";

#[derive(Debug, Clone)]
pub(super) struct Store {
    dir: PathBuf,
}

/// Protects paths from garbage collection until it is dropped.
#[derive(Debug)]
pub(super) struct Roots {
    dir: PathBuf,
}

impl Roots {
    /// Protects more paths, whether or not they are in the store yet.
    pub fn keep<'p>(&self, paths: impl IntoIterator<Item = &'p str>) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        for path in paths {
            let at = self.dir.join(path.rsplit('/').next().unwrap_or_default());
            match symlink(path, at) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot remove the roots of a store");
            }
            _ => {}
        }
    }
}

impl Store {
    /// Opens a store. Creates its directory and configuration if necessary.
    pub fn open(dir: &Path, config: &NixConfig) -> io::Result<Self> {
        let configuration = dir.join(CONFIGURATION);
        fs::create_dir_all(&configuration)?;
        fs::create_dir_all(dir.join(ROOTS))?;
        fs::create_dir_all(dir.join("home"))?;
        let settings = settings(config);
        let file = configuration.join("nix.conf");
        if fs::read_to_string(&file).ok().as_ref() != Some(&settings) {
            // Other attempts may be reading or writing it at the same time.
            let mut new = tempfile::NamedTempFile::new_in(&configuration)?;
            new.write_all(settings.as_bytes())?;
            new.persist(file)?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn configuration(&self) -> PathBuf {
        self.dir.join(CONFIGURATION)
    }

    /// The home directory of programs that work on this store.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The file of a store path on this machine.
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// Whether there is a file at a store path. Nix may not have registered it (yet).
    pub fn has(&self, path: &str) -> bool {
        self.file(path).symlink_metadata().is_ok()
    }

    /// Roots with a common name, which protect no paths yet.
    pub fn roots(&self, name: &str) -> Roots {
        Roots { dir: self.dir.join(ROOTS).join(name) }
    }

    /// Size on disk in bytes.
    pub fn size(&self) -> io::Result<u64> {
        process::disk_usage(&self.dir)
    }
}

/// Prefix of the names of an attempt's roots.
pub(super) const ATTEMPT: &str = "attempt-";

/// Removes roots from a store, if it exists, that attempts before the last start left.
pub(super) fn forget_attempts(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir.join(ROOTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(ATTEMPT) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
