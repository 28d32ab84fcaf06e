//! A package repository on disk: a plain directory, or a Git checkout, of which exactly
//! the commit is taken. A checkout with uncommitted changes is refused, because its
//! commit would not say what was built.

use super::git::Checkout;
use crate::failure::Failure;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};
use swarm_common::format::{
    digests::FileHasher,
    snapshot::{SnapshotContents, SnapshotError, is_repository_name},
};

/// What Portage would find out by running every ebuild.
const METADATA: &str = "metadata/md5-cache";
/// So many ebuilds without metadata are worth a word; a plan reads some twenty a second.
const MANY: usize = 500;
/// So many entries are compared with their ebuilds.
const SAMPLES: usize = 100;

/// A package repository.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) root: PathBuf,
    pub(super) name: String,
    /// The commit that has exactly this content.
    pub(super) commit: Option<String>,
    /// The commit that uncommitted changes were made to.
    dirty: Option<String>,
    /// Files and links below the root.
    files: Vec<String>,
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
        let mut plain = Self { root: root.to_owned(), name, commit: None, dirty: None, files: vec![] };
        let checkout = Checkout::around(root)?;
        // A directory that lies in a checkout but is not part of it is a plain one.
        let tracked = match &checkout {
            Some(checkout) => !checkout.git(&["ls-files", "-z", "--", "profiles/repo_name"])?.is_empty(),
            None => false,
        };
        match checkout.filter(|_| tracked) {
            Some(checkout) => plain.read_checkout(&checkout, allow_dirty)?,
            None => plain.files = walk(root, &[".git"]).map_err(super::told)?,
        }
        Ok(plain)
    }

    fn read_checkout(&mut self, checkout: &Checkout<'_>, allow_dirty: bool) -> Result<(), Failure> {
        // Metadata follows from the ebuilds, so it is no change, committed or not.
        let but_metadata = format!(":(exclude){METADATA}");
        let changes =
            checkout.git(&["status", "--porcelain", "--untracked-files=all", "--", ".", &but_metadata])?;
        if !changes.is_empty() && !allow_dirty {
            let first: Vec<&str> = changes.lines().take(5).collect();
            return Err(Failure::Failed(format!(
                "{} has {} uncommitted changes, so no commit says what would be built; commit them, or say --allow-dirty: {}",
                self.root.display(),
                changes.lines().count(),
                first.join(", ")
            )));
        }
        // Not HEAD: a checkout may hold more than this repository, and a commit to the rest
        // does not make this another.
        let head = checkout.git(&["rev-list", "-1", "HEAD", "--", "."])?.trim().to_owned();
        let listed = checkout.git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        self.files = listed.split_terminator('\0').map(str::to_owned).collect();
        // Git often ignores it, and without it each drone has to run every ebuild once.
        let metadata = self.root.join(METADATA);
        if metadata.is_dir() {
            let entries = walk(&metadata, &[]).map_err(super::told)?;
            self.files.extend(entries.into_iter().map(|entry| format!("{METADATA}/{entry}")));
        }
        self.files.sort();
        self.files.dedup();
        // With changes a tracked file may be gone.
        let root = &self.root;
        self.files.retain(|file| fs::symlink_metadata(root.join(file)).is_ok());
        if changes.is_empty() {
            self.commit = Some(head)
        } else {
            self.dirty = Some(head)
        }
        Ok(())
    }

    /// Puts the repository's files into a snapshot.
    pub(super) fn add_to(&self, contents: &mut SnapshotContents) -> Result<(), SnapshotError> {
        let prefix = format!("repos/{}", self.name);
        for file in &self.files {
            contents.add_from(&prefix, &self.root, file)?;
        }
        Ok(())
    }

    /// The words of a setting in its `layout.conf`.
    pub(super) fn layout(&self, key: &str) -> Vec<String> {
        let text = fs::read_to_string(self.root.join("metadata/layout.conf")).unwrap_or_default();
        let mut values = text.lines().filter_map(|line| {
            let (found, value) = line.split('#').next()?.split_once('=')?;
            (found.trim() == key).then(|| value.split_whitespace().map(str::to_owned).collect())
        });
        values.next_back().unwrap_or_default()
    }

    /// How many versions of packages it has.
    pub(super) fn ebuilds(&self) -> usize {
        self.files.iter().filter(|file| ebuild(file).is_some()).count()
    }

    /// Whether drones can use the metadata that it brings, for people if they cannot.
    pub(super) fn metadata_note(&self) -> Option<String> {
        let entries: HashSet<&str> = self.files.iter().map(String::as_str).collect();
        let ebuilds: Vec<(&String, String)> =
            self.files.iter().filter_map(|file| Some((file, ebuild(file)?))).collect();
        let missing = ebuilds.iter().filter(|(_, entry)| !entries.contains(entry.as_str())).count();
        // All would have to be read; as many of a tree are synced or damaged at once, some tell.
        let looked_at = ebuilds.iter().filter(|(_, entry)| entries.contains(entry.as_str()));
        let looked_at: Vec<_> = looked_at.step_by(ebuilds.len() / SAMPLES + 1).collect();
        let wrong = looked_at.iter().filter(|(file, entry)| !self.is_current(file, entry)).count();
        let what = match (missing, wrong) {
            (missing, _) if missing >= MANY && missing == ebuilds.len() => "there is none".to_owned(),
            (missing, _) if missing >= MANY => {
                format!("{missing} of {} ebuilds are not in it", ebuilds.len())
            }
            (_, wrong) if wrong * 10 > looked_at.len() && ebuilds.len() >= MANY => {
                format!(
                    "it is old or damaged: of {} entries, {wrong} do not fit their ebuilds",
                    looked_at.len()
                )
            }
            _ => return None,
        };
        Some(format!(
            "{}: {METADATA} is of no use: {what}; the first plan on each drone is slow, because it makes \
             the metadata itself (`egencache --update --repo {}` makes it here)",
            self.root.display(),
            self.name
        ))
    }

    fn is_current(&self, file: &str, entry: &str) -> bool {
        let Ok(text) = fs::read_to_string(self.root.join(entry)) else { return false };
        let Ok(digests) = fs::File::open(self.root.join(file)).and_then(FileHasher::read_all) else {
            return false;
        };
        text.lines().any(|line| line.strip_prefix("_md5_=") == Some(&digests.md5))
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

/// The metadata's path of an ebuild, if the file is one.
fn ebuild(file: &str) -> Option<String> {
    let mut parts = file.split('/');
    let (category, _, name) = (parts.next()?, parts.next()?, parts.next()?.strip_suffix(".ebuild")?);
    parts.next().is_none().then(|| format!("{METADATA}/{category}/{name}"))
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
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
