//! A machine with the real Nix that gets everything from a swarm and builds nothing itself.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

use super::{
    programs::part,
    workstation::{copy, text},
};

/// The attribute of the host in the example.
pub const HOST: &str = "nixosConfigurations.atlas.config.system.build.toplevel";

/// First lines of `nix.conf`, for a machine without a daemon and without other caches.
const SETTINGS: &str = "build-users-group =\nsubstituters =\nflake-registry =\nsandbox-fallback = false\n\
    experimental-features = nix-command flakes\n";

/// Last lines of `nix.conf`: tests ask again for paths that did not exist a moment ago.
const IMPATIENCE: &str = "narinfo-cache-negative-ttl = 0\n";

/// The machine, in a folder. Dropping it removes everything.
#[derive(Debug)]
pub struct NixMachine {
    folder: TempDir,
}

impl NixMachine {
    /// Creates a machine with an empty store. `settings` are additional lines of its `nix.conf`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("nix.conf"), format!("{SETTINGS}{settings}{IMPATIENCE}"))?;
        Ok(Self { folder })
    }

    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Whether the store contains a path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.file(path).symlink_metadata().is_ok()
    }

    /// The real location of a file in the store.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.store().join(path.trim_start_matches('/'))
    }

    /// The store paths on the machine, as names without the hash.
    ///
    /// # Errors
    /// The store does not exist.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.file("/nix/store"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some((_, name)) = name.split_once('-')
                && !name.ends_with(".drv")
                && !name.ends_with(".lock")
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// A command of a Nix program that uses this machine's store.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"NIX_"))
        {
            command.env_remove(name);
        }
        let at = self.folder.path();
        command.env("NIX_CONF_DIR", at).env("NIX_REMOTE", self.store()).env("NIX_PATH", "");
        command.env("HOME", at.join("home")).env("XDG_CACHE_HOME", at.join("cache")).stdin(Stdio::null());
        command
    }

    /// Fetches a store path and everything it refers to, without building. Returns whether that succeeded,
    /// and Nix's output.
    ///
    /// # Errors
    /// Nix is missing.
    pub fn realise(&self, path: &str) -> Result<(bool, String)> {
        let done = self.command("nix-store").args(["--realise", path, "--max-jobs", "0"]).output()?;
        Ok((done.status.success(), text(&done)))
    }

    /// Evaluates an attribute of an expression and fetches its output, without building. Returns the path.
    ///
    /// # Errors
    /// The output cannot be fetched.
    pub fn install(&self, expression: &Path, attribute: &str) -> Result<String> {
        let mut command = self.command("nix-build");
        command.arg(expression).args(["-A", attribute, "--no-out-link", "--max-jobs", "0"]);
        printed(&command.output()?)
    }

    /// The derivation of an attribute.
    ///
    /// # Errors
    /// It cannot be evaluated.
    pub fn evaluate(&self, expression: &Path, attribute: &str) -> Result<String> {
        printed(&self.command("nix-instantiate").arg(expression).args(["-A", attribute]).output()?)
    }

    /// The output lines of a `nix-store` query.
    ///
    /// # Errors
    /// The path is unknown.
    pub fn query(&self, question: &str, path: &str) -> Result<Vec<String>> {
        let lines = printed(&self.command("nix-store").args(["--query", question, path]).output()?)?;
        Ok(lines.lines().map(str::to_owned).collect())
    }

    /// Runs a program in a store path and returns its output.
    ///
    /// # Errors
    /// It does not exist, or fails.
    pub fn run(&self, path: &str, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("nix");
        printed(&command.args(["shell", path, "--command", program]).args(arguments).output()?)
    }
}

impl Drop for NixMachine {
    fn drop(&mut self) {
        // Folders in a store are read-only even for their owner.
        let _removable = Command::new("chmod").args(["-R", "u+w"]).arg(self.folder.path()).output();
    }
}

/// Copies the example world to `to`, with the busybox that builds it.
///
/// # Errors
/// This machine has no static busybox.
pub fn world(to: &Path) -> Result<()> {
    copy(&part("examples/nix"), to)?;
    seed(to)
}

/// Copies a static busybox to where the expression in `folder` expects it.
///
/// # Errors
/// This machine has none.
pub fn seed(folder: &Path) -> Result<()> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = folder.join("seed/bin/busybox");
    fs::create_dir_all(folder.join("seed/bin"))?;
    fs::copy(found.context("busybox is missing: apt-get install busybox-static")?, &busybox)?;
    Ok(fs::set_permissions(busybox, fs::Permissions::from_mode(0o755))?)
}

/// Updates a library of the world by editing its version.
///
/// # Errors
/// It does not have the old version.
pub fn bump(world: &Path, library: &str, from: &str, to: &str) -> Result<()> {
    let file = world.join("versions.nix");
    let old = fs::read_to_string(&file)?;
    let line = |version: &str| format!("{library} = \"{version}\";");
    ensure!(old.contains(&line(from)), "{old}");
    Ok(fs::write(file, old.replace(&line(from), &line(to)))?)
}

fn printed(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{}", text(output));
    Ok(String::from_utf8(output.stdout.clone())?.trim_end().to_owned())
}
