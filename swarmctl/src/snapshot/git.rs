//! Reads Git checkouts, whoever owns them.
//!
//! On Gentoo a synced repository belongs to the user `portage`. Git refuses to read another user's checkout,
//! because its configuration can name programs to run. Here each call disables such programs and then reads
//! the checkout. The user's own Git configuration is not changed.

use crate::failure::Failure;
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A directory in a Git checkout.
#[derive(Debug)]
pub(super) struct Checkout<'a> {
    root: &'a Path,
    /// Git configuration that applies to these calls only.
    settings: Vec<(String, String)>,
}

impl<'a> Checkout<'a> {
    /// The checkout that contains a directory. `None` if there is none.
    pub(super) fn around(root: &'a Path) -> Result<Option<Self>, Failure> {
        let above = root.canonicalize().ok();
        let above = above.as_deref().into_iter().flat_map(Path::ancestors).map(|dir| dir.join(".git"));
        let Some(git_dir) = above.into_iter().find(|path| path.exists()) else { return Ok(None) };
        let mut checkout = Self { root, settings: vec![] };
        if is_of_somebody_else(&git_dir) || is_of_somebody_else(root) {
            checkout.set("safe.directory", "*");
            checkout.set("core.fsmonitor", "false");
            let filters =
                ["config", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process|required)$"];
            // The command fails if there are no filters.
            let found = checkout.call(&filters)?;
            for key in String::from_utf8_lossy(&found.stdout).lines() {
                checkout.set(key, if key.ends_with(".required") { "false" } else { "" });
            }
        }
        Ok(Some(checkout))
    }

    fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Runs Git and returns its output.
    pub(super) fn git(&self, args: &[&str]) -> Result<String, Failure> {
        let output = self.call(args)?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().replace('\t', "    ");
            return Err(self.failed(args, &stderr));
        }
        String::from_utf8(output.stdout).map_err(|_| self.failed(args, "a file name is not UTF-8"))
    }

    fn call(&self, args: &[&str]) -> Result<Output, Failure> {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.root).args(args).env("LC_ALL", "C");
        // No configured pager, hook or prompt may interfere.
        git.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
        let count = "GIT_CONFIG_COUNT";
        let given = std::env::var(count).ok().and_then(|count| count.parse().ok()).unwrap_or(0_usize);
        for (number, (key, value)) in (given..).zip(&self.settings) {
            git.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        git.env(count, (given + self.settings.len()).to_string());
        git.output().map_err(|e| self.failed(args, &format!("cannot run git: {e}")))
    }

    fn failed(&self, args: &[&str], why: &str) -> Failure {
        Failure::Failed(format!("`git {}` in {}: {why}", args.join(" "), self.root.display()))
    }
}

fn is_of_somebody_else(path: &Path) -> bool {
    let owner = |path: &Path| fs::metadata(path).map(|meta| meta.uid()).ok();
    owner(path) != owner(&PathBuf::from("/proc/self"))
}
