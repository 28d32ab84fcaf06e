//! The package of a base that an artifact replaces, and which of its paths are gone afterwards.
//!
//! Portage removes the files that the new package does not own. Layers are read-only and shared, so a layer
//! has a list of these paths instead, and each build root gets one directory of whiteouts between the base
//! and all layers. A file that moved to another package is thus hidden in the base only, whatever the order
//! of the layers.

use super::{
    RootError,
    flat::alike,
    layer::{has_phase, owned_path},
    tree::Tree,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};
use swarm_formats::portage::gpkg::Metadata;

#[derive(Debug, Clone)]
pub struct Replaced {
    base: Tree,
    /// Its entry in the package database, as a path on this machine.
    entry: PathBuf,
}

impl Replaced {
    /// The package `category/name-version` of `base`.
    #[must_use]
    pub fn new(base: &Tree, package: &str) -> Self {
        Self { base: base.clone(), entry: base.entry(package) }
    }

    /// Whether only Portage can replace the package: it has removal scripts, or it has a library that the new
    /// one lacks and that Portage keeps while other packages use it (`preserve-libs`).
    #[must_use]
    pub fn acts(&self, new: &Metadata) -> bool {
        let read = |key| fs::read_to_string(self.entry.join(key)).unwrap_or_default();
        let libraries =
            |text: &str| -> BTreeSet<String> { text.split_whitespace().map(str::to_owned).collect() };
        has_phase(&read("DEFINED_PHASES"), ["prerm", "postrm"])
            || !libraries(&read("PROVIDES")).is_subset(&libraries(&new.line("PROVIDES")))
    }

    /// Returns the paths that are gone from the base when the files in `layer` replace the package. Returns
    /// `None` if only Portage can tell, because one of them would be a link to a directory.
    ///
    /// # Errors
    /// A disk error, or the package has no list of its files.
    pub fn gone(&self, layer: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        let contents = fs::read_to_string(self.entry.join("CONTENTS"))?;
        let there =
            |path: &Path| layer.join(path.strip_prefix("/").unwrap_or(path)).symlink_metadata().is_ok();
        let (mut gone, mut dirs) = (BTreeSet::new(), BTreeSet::new());
        for line in contents.lines() {
            let Some(path) = owned_path(line).map(Path::new) else { continue };
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let path = self.base.resolve(parent).join(name);
            let at = self.base.outside(&path);
            let Ok(found) = at.symlink_metadata() else { continue };
            if there(&path) {
                continue;
            }
            if found.is_dir() {
                dirs.insert(path);
            } else if found.is_symlink() && self.base.has_dir(&path) {
                return Ok(None);
            } else {
                gone.insert(path);
            }
        }
        // The whole entry is gone, unless the new one has the same name.
        let entry = self.base.inside(&self.entry);
        if there(&entry) {
            let files = fs::read_dir(&self.entry)?.map(|file| Ok(entry.join(file?.file_name())));
            let files: Vec<PathBuf> = files.collect::<io::Result<_>>()?;
            gone.extend(files.into_iter().filter(|path| !there(path)));
        } else {
            gone.insert(entry);
        }
        // Directories that are now empty, innermost first.
        for dir in dirs.into_iter().rev() {
            let files = fs::read_dir(self.base.outside(&dir))?.map(|file| Ok(dir.join(file?.file_name())));
            let files: Vec<PathBuf> = files.collect::<io::Result<_>>()?;
            if files.iter().all(|file| gone.contains(file)) {
                files.iter().for_each(|file| _ = gone.remove(file));
                gone.insert(dir);
            }
        }
        Ok(Some(gone.into_iter().collect()))
    }
}

/// Makes a directory that hides these paths when laid over `base`. Owners and modes are those of the base.
pub(crate) fn hide(gone: &[PathBuf], base: &Tree, to: &Path) -> Result<(), RootError> {
    let make = || -> io::Result<()> {
        fs::create_dir(to)?;
        let paths: BTreeSet<&PathBuf> = gone.iter().collect();
        let (mut hidden, mut dirs) = (None::<&PathBuf>, BTreeMap::new());
        for path in paths {
            // Paths below a hidden one directly follow it.
            if hidden.is_some_and(|hidden| path.starts_with(hidden)) {
                continue;
            }
            // The base may have been updated since the layer was made.
            if path.parent().is_none_or(|parent| base.resolve(parent) != parent) || !base.has_itself(path) {
                continue;
            }
            let below = path.strip_prefix("/").unwrap_or(path);
            let parents: Vec<&Path> = below.ancestors().skip(1).collect();
            for parent in parents.into_iter().rev() {
                let like = fs::symlink_metadata(base.outside(parent))?;
                if dirs.insert(to.join(parent), like).is_none() && !parent.as_os_str().is_empty() {
                    fs::create_dir(to.join(parent))?;
                }
            }
            mknodat(CWD, to.join(below), FileType::CharacterDevice, Mode::empty(), 0)?;
            hidden = Some(path);
        }
        dirs.iter().rev().try_for_each(|(dir, like)| alike(dir, like))
    };
    make().map_err(RootError::io("hide what was replaced in", to))
}
