//! A package repository on disk, with its name and its metadata cache.

use super::tree::{Extent, Tree};
use crate::failure::Failure;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};
use swarm_formats::{
    archive::digests::FileHasher,
    snapshot::{SnapshotContents, SnapshotError, is_repository_name},
};

/// The metadata cache, without which Portage has to run every ebuild.
const METADATA: &str = "metadata/md5-cache";
/// Number of ebuilds without metadata from which on the user gets a note. A plan reads some twenty per
/// second.
const MANY: usize = 500;
/// Number of cache entries that are compared with their ebuilds.
const SAMPLES: usize = 100;

#[derive(Debug)]
pub(super) struct Repository {
    pub(super) root: PathBuf,
    pub(super) name: String,
    pub(super) tree: Tree,
}

impl Repository {
    pub(super) fn read(root: &Path, allow_dirty: bool) -> Result<Self, Failure> {
        let name_file = root.join("profiles/repo_name");
        let name = fs::read_to_string(&name_file).map_err(|e| {
            Failure::Failed(format!(
                "{} is not a package repository: cannot read {}: {e}",
                root.display(),
                name_file.display()
            ))
        })?;
        let name = name.lines().next().unwrap_or_default().trim().to_owned();
        if !is_repository_name(&name) {
            return Err(Failure::Failed(format!(
                "{}: invalid repository name `{}`",
                name_file.display(),
                name.escape_debug()
            )));
        }
        // Git often ignores the cache, but without it each drone has to run every ebuild once.
        let extent =
            Extent { marker: "profiles/repo_name", derived: Some(METADATA), whole: false, allow_dirty };
        Ok(Self { root: root.to_owned(), name, tree: Tree::read(root, extent)? })
    }

    /// Adds the repository's files to a snapshot.
    pub(super) fn add_to(&self, contents: &mut SnapshotContents) -> Result<(), SnapshotError> {
        self.tree.add_to(contents, &format!("repos/{}", self.name))
    }

    /// The words of a setting in `layout.conf`.
    pub(super) fn layout(&self, key: &str) -> Vec<String> {
        let text = fs::read_to_string(self.root.join("metadata/layout.conf")).unwrap_or_default();
        let mut values = text.lines().filter_map(|line| {
            let (found, value) = line.split('#').next()?.split_once('=')?;
            (found.trim() == key).then(|| value.split_whitespace().map(str::to_owned).collect())
        });
        values.next_back().unwrap_or_default()
    }

    pub(super) fn ebuilds(&self) -> usize {
        self.tree.files.iter().filter(|file| ebuild(file).is_some()).count()
    }

    /// Why drones cannot use the repository's metadata cache, as a note for the user. `None` if they can.
    pub(super) fn metadata_note(&self) -> Option<String> {
        let entries: HashSet<&str> = self.tree.files.iter().map(String::as_str).collect();
        let ebuilds: Vec<(&String, String)> =
            self.tree.files.iter().filter_map(|file| Some((file, ebuild(file)?))).collect();
        let missing = ebuilds.iter().filter(|(_, entry)| !entries.contains(entry.as_str())).count();
        // A sample is enough: a cache is usually out of date or damaged as a whole.
        let looked_at = ebuilds.iter().filter(|(_, entry)| entries.contains(entry.as_str()));
        let looked_at: Vec<_> = looked_at.step_by(ebuilds.len() / SAMPLES + 1).collect();
        let wrong = looked_at.iter().filter(|(file, entry)| !self.is_current(file, entry)).count();
        let what = match (missing, wrong) {
            (missing, _) if missing >= MANY && missing == ebuilds.len() => "there is none".to_owned(),
            (missing, _) if missing >= MANY => {
                format!("it lacks {missing} of {} ebuilds", ebuilds.len())
            }
            (_, wrong) if wrong * 10 > looked_at.len() && ebuilds.len() >= MANY => {
                format!(
                    "it is outdated or damaged: of {} entries, {wrong} do not match their ebuilds",
                    looked_at.len()
                )
            }
            _ => return None,
        };
        Some(format!(
            "{}: {METADATA} is unusable: {what}; the first plan on each drone will be slow because it \
             generates the metadata (`egencache --update --repo {}` generates it here)",
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

    /// Describes the repository and its commit, for people.
    pub(super) fn describe(&self) -> String {
        format!("{} from {}{}", self.name, self.root.display(), self.tree.at())
    }
}

/// The path of an ebuild's entry in the metadata cache. `None` if the file is not an ebuild.
fn ebuild(file: &str) -> Option<String> {
    let mut parts = file.split('/');
    let (category, _, name) = (parts.next()?, parts.next()?, parts.next()?.strip_suffix(".ebuild")?);
    parts.next().is_none().then(|| format!("{METADATA}/{category}/{name}"))
}
