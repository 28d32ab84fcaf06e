//! A Gentoo workstation: the real Portage with its own root directory, configured by `swarmctl client setup`.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

use super::programs;

/// A workstation in a folder. Dropping it removes everything.
#[derive(Debug)]
pub struct Workstation {
    folder: TempDir,
}

impl Workstation {
    /// Creates a workstation with nothing installed, for the packages of `repository`.
    ///
    /// # Errors
    /// Portage is missing and cannot be installed.
    pub fn new(repository: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bundle = programs::part("examples/desktop");
        let made = script("new", folder.path()).arg(repository).arg(bundle).output()?;
        ensure!(made.status.success(), "{}", text(&made));
        Ok(Self { folder })
    }

    /// A path in its root directory.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    /// The folder with all of its files, including the root directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Uses packages from another address than the one that `swarmctl client setup` configured, still
    /// requiring signatures.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn redirect(&self, uri: &str) -> Result<()> {
        let folder = self.folder.path().join("binhost");
        self.rewrite_binrepos("sync-uri", uri)?;
        // Files downloaded from the two addresses must not be mixed.
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        Ok(())
    }

    /// Adapts the files that `swarmctl client setup --out` wrote to a root directory other than `/`: moves
    /// Portage's package cache there and trusts the key.
    ///
    /// # Errors
    /// gpg refuses the key.
    pub(super) fn finish_setup(&self, name: &str) -> Result<()> {
        self.rewrite_binrepos("location", &self.folder.path().join("binhost").display().to_string())?;
        let script = self.path("etc/portage").join(name).join("trust");
        let done = Command::new("sh").arg(script).output()?;
        ensure!(done.status.success(), "{}", text(&done));
        Ok(())
    }

    fn rewrite_binrepos(&self, key: &str, value: &str) -> Result<()> {
        for entry in fs::read_dir(self.path("etc/portage/binrepos.conf"))? {
            let file = entry?.path();
            let lines = fs::read_to_string(&file)?;
            let starts = format!("{key} = ");
            let lines: Vec<String> = lines
                .lines()
                .map(
                    |line| {
                        if line.starts_with(&starts) { format!("{starts}{value}") } else { line.to_owned() }
                    },
                )
                .collect();
            fs::write(&file, lines.join("\n") + "\n")?;
        }
        Ok(())
    }

    /// Updates its package repository.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn sync(&self, from: &Path) -> Result<()> {
        copy(from, &self.folder.path().join("repository"))
    }

    /// Trusts an OpenPGP key, given as armored text, with the same steps as a user.
    ///
    /// # Errors
    /// gpg refuses the key.
    pub fn trust(&self, public_key: &str, fingerprint: &str) -> Result<()> {
        let home = self.path("etc/portage/gnupg");
        let key = self.folder.path().join("key.asc");
        fs::write(&key, public_key)?;
        let steps = format!(
            "set -e; mkdir -p -m 755 '{home}'; export GNUPGHOME='{home}'
             gpg --batch --quiet --import '{key}'
             echo '{fingerprint}:6:' | gpg --batch --quiet --import-ownertrust
             gpg --batch --quiet --check-trustdb
             gpgconf --kill all
             find '{home}' -type d -exec chmod 755 {{}} + ; find '{home}' -type f -exec chmod 644 {{}} +",
            home = home.display(),
            key = key.display()
        );
        let done = Command::new("sh").args(["-c", &steps]).output()?;
        ensure!(done.status.success(), "{}", text(&done));
        Ok(())
    }

    /// Runs emerge with `arguments`. Returns whether it succeeded, and its output.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn emerge(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let mut command = self.command("emerge");
        let done = command.args(["--color=n", "--quiet-build=y"]).args(arguments).output()?;
        Ok((done.status.success(), text(&done)))
    }

    /// Updates the world with binary packages only, as in the README.
    ///
    /// # Errors
    /// emerge fails.
    pub fn update(&self) -> Result<String> {
        let (good, output) =
            self.emerge(&["--usepkg", "--usepkgonly", "--getbinpkg", "--update", "--deep", "@world"])?;
        ensure!(good, "{output}");
        Ok(output)
    }

    /// A command of Portage for this workstation.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = script("in", self.folder.path());
        command.arg(name);
        command
    }

    /// Runs an installed program and returns its output.
    ///
    /// # Errors
    /// It does not exist, or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let done = script("run", self.folder.path()).arg(program).args(arguments).output()?;
        ensure!(done.status.success(), "{program}: {}", text(&done));
        Ok(text(&done))
    }

    /// Whether a version of a package is installed.
    #[must_use]
    pub fn has(&self, cpv: &str) -> bool {
        self.path("var/db/pkg").join(cpv).is_dir()
    }
}

fn script(verb: &str, folder: &Path) -> Command {
    let mut command = Command::new(programs::part("scripts/workstation"));
    command.arg(verb).arg(folder).stdin(std::process::Stdio::null());
    command
}

/// The combined output of a finished command.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Copies the files of a folder over another one, like `cp -r FROM/. TO`.
///
/// # Errors
/// A file cannot be copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
