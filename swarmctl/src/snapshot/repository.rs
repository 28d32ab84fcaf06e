//! A package repository on disk: a plain directory, or a Git checkout, of which exactly
//! the commit is taken. A checkout with uncommitted changes is refused, because its
//! commit would not say what was built.

use crate::failure::Failure;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use swarm_common::format::snapshot::{SnapshotContents, SnapshotError, is_repository_name};

/// A package repository.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) root: PathBuf,
    pub(super) name: String,
    /// The commit that has exactly this content.
    pub(super) commit: Option<String>,
    /// The commit that uncommitted changes were made to.
    dirty: Option<String>,
    /// Files below the root, for a checkout; otherwise all that are there.
    files: Option<Vec<String>>,
}

impl Repository {
    /// Looks at the repository at `root`.
    pub(super) fn read(root: &Path, allow_dirty: bool) -> Result<Self, Failure> {
        let name_file = root.join("profiles/repo_name");
        let name = fs::read_to_string(&name_file).map_err(|e| {
            Failure::Failed(format!(
                "{} is no package repository: {} cannot be read: {e}",
                root.display(),
                name_file.display()
            ))
        })?;
        let name = name.lines().next().unwrap_or_default().trim().to_owned();
        if !is_repository_name(&name) {
            return Err(Failure::Failed(format!(
                "{}: `{}` is not a repository's name",
                name_file.display(),
                name.escape_debug()
            )));
        }
        let plain = Self { root: root.to_owned(), name, commit: None, dirty: None, files: None };
        if !is_in_checkout(root) {
            return Ok(plain);
        }
        // A directory that lies in a checkout but is not part of it is a plain one.
        let tracked = git(root, &["ls-files", "-z", "--", "profiles/repo_name"])?;
        if tracked.is_empty() {
            return Ok(plain);
        }
        let changes = git(root, &["status", "--porcelain", "--untracked-files=all", "--", "."])?;
        if !changes.is_empty() && !allow_dirty {
            let first: Vec<&str> = changes.lines().take(5).collect();
            return Err(Failure::Failed(format!(
                "{} has {} uncommitted changes, so no commit says what would be built; commit them, or say --allow-dirty: {}",
                root.display(),
                changes.lines().count(),
                first.join(", ")
            )));
        }
        // Not HEAD: a checkout may hold more than this repository, and a commit to the rest
        // does not make this another.
        let head = git(root, &["rev-list", "-1", "HEAD", "--", "."])?.trim().to_owned();
        let mut files: Vec<String> =
            git(root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?
                .split_terminator('\0')
                .map(str::to_owned)
                .collect();
        files.sort();
        files.dedup();
        // With changes a tracked file may be gone.
        files.retain(|file| fs::symlink_metadata(root.join(file)).is_ok());
        let (commit, dirty) = if changes.is_empty() { (Some(head), None) } else { (None, Some(head)) };
        Ok(Self { commit, dirty, files: Some(files), ..plain })
    }

    /// Puts the repository's files into a snapshot.
    pub(super) fn add_to(&self, contents: &mut SnapshotContents) -> Result<(), SnapshotError> {
        let prefix = format!("repos/{}", self.name);
        let all;
        let files = match &self.files {
            Some(files) => files,
            None => {
                all = walk(&self.root, &[".git"])?;
                &all
            }
        };
        for file in files {
            contents.add_from(&prefix, &self.root, file)?;
        }
        Ok(())
    }

    /// Where it came from, for people.
    pub(super) fn describe(&self) -> String {
        let at = match (&self.commit, &self.dirty) {
            (Some(commit), _) => format!(" at {}", short(commit)),
            (None, Some(commit)) => format!(" at {} with uncommitted changes", short(commit)),
            (None, None) => String::new(),
        };
        format!("{} from {}{at}", self.name, self.root.display())
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// Whether a directory lies in a Git checkout.
fn is_in_checkout(root: &Path) -> bool {
    root.canonicalize().is_ok_and(|path| path.ancestors().any(|dir| dir.join(".git").exists()))
}

/// Runs Git in `root` and gives what it prints.
fn git(root: &Path, args: &[&str]) -> Result<String, Failure> {
    let failed =
        |why: String| Failure::Failed(format!("`git {}` in {}: {why}", args.join(" "), root.display()));
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(args)
        .env("LC_ALL", "C")
        // No configured pager, hook or prompt may come between.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .map_err(|e| failed(format!("cannot be run: {e}")))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("a file name is not UTF-8".to_owned()))
}

/// Every file and link below `root`, as paths relative to it. `left_out` names what is
/// skipped at its top.
pub(super) fn walk(root: &Path, left_out: &[&str]) -> Result<Vec<String>, SnapshotError> {
    let mut files = Vec::new();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        let at = root.join(&dir);
        let wrong = |source| SnapshotError::Io { what: at.display().to_string(), source };
        for entry in fs::read_dir(&at).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(SnapshotError::Entry {
                    path: entry.path().display().to_string().escape_debug().to_string(),
                    why: "the name is not UTF-8".to_owned(),
                });
            };
            if dir.is_empty() && left_out.contains(&name) {
                continue;
            }
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            if entry.file_type().map_err(wrong)?.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}
