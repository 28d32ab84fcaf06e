//! A source on disk: a plain directory, or a Git checkout, of which exactly the commit is used. A checkout
//! with uncommitted changes is refused by default, because no commit would identify what was built.

use super::git::Checkout;
use crate::failure::Failure;
use std::{
    fs,
    path::{Path, PathBuf},
};
use swarm_formats::snapshot::{SnapshotContents, SnapshotError};

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    /// The commit that has exactly this content. `None` without Git or with uncommitted changes.
    pub(super) commit: Option<String>,
    /// The commit that the uncommitted changes are based on.
    dirty: Option<String>,
    /// When that commit was made, in seconds since the Unix epoch.
    pub(super) modified: Option<u64>,
    /// Files and links, as paths below the root.
    pub(super) files: Vec<String>,
}

/// Which part of a directory is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'a> {
    /// A path whose being tracked shows that a directory within a checkout is part of that checkout.
    pub(super) marker: &'a str,
    /// A file or directory below the root that is derived from the rest. A directory is included even if Git
    /// ignores it, and a difference there does not count as a change.
    pub(super) derived: Option<&'a str>,
    /// Whether to use the checkout's commit even if it changed nothing below the root, because Nix reports
    /// that commit to a flake.
    pub(super) whole: bool,
    /// Whether to accept and include uncommitted changes.
    pub(super) allow_dirty: bool,
}

impl Tree {
    /// Lists the files of `root`.
    pub(super) fn read(root: &Path, extent: Extent<'_>) -> Result<Self, Failure> {
        let checkout = Checkout::around(root)?;
        // A directory that lies in a checkout but is not part of it counts as a plain directory.
        let tracked = match &checkout {
            Some(checkout) => !checkout.git(&["ls-files", "-z", "--", extent.marker])?.is_empty(),
            None => false,
        };
        match checkout.filter(|_| tracked) {
            Some(checkout) => Self::of_checkout(root, &checkout, extent),
            None => Self::plain(root, &[".git"]),
        }
    }

    /// Lists everything below `root`, except for `left_out` at the top level.
    pub(super) fn plain(root: &Path, left_out: &[&str]) -> Result<Self, Failure> {
        let files = walk(root, left_out).map_err(super::snapshot_failure)?;
        Ok(Self { root: root.to_owned(), commit: None, dirty: None, modified: None, files })
    }

    /// Whether a file below the root has uncommitted changes.
    pub(super) fn is_changed(&self, file: &str) -> Result<bool, Failure> {
        let status = ["status", "--porcelain", "--untracked-files=all", "--", file];
        match Checkout::around(&self.root)? {
            Some(checkout) => Ok(!checkout.git(&status)?.is_empty()),
            None => Ok(false),
        }
    }

    fn of_checkout(root: &Path, checkout: &Checkout<'_>, extent: Extent<'_>) -> Result<Self, Failure> {
        let excluded = extent.derived.map(|derived| format!(":(exclude){derived}"));
        let mut status = vec!["status", "--porcelain", "--untracked-files=all", "--", "."];
        status.extend(excluded.as_deref());
        let changes = checkout.git(&status)?;
        if !changes.is_empty() && !extent.allow_dirty {
            let first: Vec<&str> = changes.lines().take(5).collect();
            return Err(Failure::Failed(format!(
                "{} has {} uncommitted changes, so no commit describes what would be built; commit them or \
                 pass --allow-dirty: {}",
                root.display(),
                changes.lines().count(),
                first.join(", ")
            )));
        }
        // This is usually not HEAD: a checkout may contain more than this directory, and commits to other
        // parts do not change it.
        let mut newest = vec!["rev-list", "-1", "HEAD", "--"];
        newest.extend((!extent.whole).then_some("."));
        let head = checkout.git(&newest)?.trim().to_owned();
        let time = checkout.git(&["show", "--no-patch", "--no-show-signature", "--format=%ct", &head])?;
        let listed = checkout.git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut files: Vec<String> = listed.split_terminator('\0').map(str::to_owned).collect();
        if let Some(derived) = extent.derived.filter(|derived| root.join(derived).is_dir()) {
            let entries = walk(&root.join(derived), &[]).map_err(super::snapshot_failure)?;
            files.extend(entries.into_iter().map(|entry| format!("{derived}/{entry}")));
        }
        files.sort();
        files.dedup();
        // With uncommitted changes, a tracked file may be missing.
        files.retain(|file| fs::symlink_metadata(root.join(file)).is_ok());
        let (commit, dirty) = if changes.is_empty() { (Some(head), None) } else { (None, Some(head)) };
        Ok(Self { root: root.to_owned(), commit, dirty, modified: time.trim().parse().ok(), files })
    }

    /// Adds the files to a snapshot, below `prefix`.
    pub(super) fn add_to(&self, contents: &mut SnapshotContents, prefix: &str) -> Result<(), SnapshotError> {
        self.files.iter().try_for_each(|file| contents.add_from(prefix, &self.root, file))
    }

    /// The commit for people, such as ` at 0123456789ab with uncommitted changes`. Empty without Git.
    pub(super) fn at(&self) -> String {
        match (&self.commit, &self.dirty) {
            (Some(commit), _) => format!(" at {}", short(commit)),
            (None, Some(commit)) => format!(" at {} with uncommitted changes", short(commit)),
            (None, None) => String::new(),
        }
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// Every file and link below `root`, as paths relative to it. Entries in `left_out` are skipped at
/// the top level.
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

/// The configuration files at a path: the file itself, or all files below a directory, sorted as Portage
/// sorts them.
pub(super) fn files_at(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(if path.is_file() { vec![path.to_owned()] } else { vec![] });
    }
    let mut names = walk(path, &[]).map_err(|e| Failure::Failed(e.to_string()))?;
    names.retain(|name| !name.split('/').any(|part| part.starts_with('.')) && !name.ends_with('~'));
    names.sort();
    Ok(names.into_iter().map(|name| path.join(name)).collect())
}
