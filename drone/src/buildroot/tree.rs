//! The tree that a build sees as `/`, examined from outside.
//!
//! Whether a build has Portage, a user or a tool depends on this tree, not on the drone's machine, which may
//! run another distribution. Symbolic links are resolved as from inside: an absolute link starts at the top
//! of the tree.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};
use swarm_common::cpv::Cpv;

/// Linux's limit on symbolic links in a path.
const MOST_LINKS: u32 = 40;

#[derive(Debug, Clone)]
pub struct Tree {
    top: PathBuf,
}

impl Tree {
    #[must_use]
    pub fn at(top: impl Into<PathBuf>) -> Self {
        Self { top: top.into() }
    }

    /// Resolves the symbolic links in a path; argument and result are paths inside. Missing components are
    /// kept unchanged.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let parts = |path: &Path| -> Vec<OsString> {
            let plain =
                path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir));
            plain.map(|c| c.as_os_str().to_owned()).collect()
        };
        let mut left: VecDeque<OsString> = parts(path).into();
        let (mut real, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = left.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            match fs::read_link(self.outside(&real.join(&part))) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        real = PathBuf::from("/");
                    }
                    parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
                }
                _ => real.push(part),
            }
        }
        real
    }

    /// Converts a path inside to a path outside, without following links.
    pub(super) fn outside(&self, path: &Path) -> PathBuf {
        self.top.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The reverse of [`Self::outside`].
    pub(super) fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.top).unwrap_or(path))
    }

    /// Whether the path exists inside, following links. A loop of links counts as missing.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.outside(&self.resolve(path)).symlink_metadata().is_ok_and(|found| !found.is_symlink())
    }

    /// Whether the path is a directory, following links.
    #[must_use]
    pub fn has_dir(&self, path: &Path) -> bool {
        self.outside(&self.resolve(path)).symlink_metadata().is_ok_and(|found| found.is_dir())
    }

    /// The paths of a directory's entries, sorted; empty if it cannot be read.
    #[must_use]
    pub fn entries(&self, dir: &Path) -> Vec<PathBuf> {
        let found = fs::read_dir(self.outside(&self.resolve(dir))).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = found.map(|entry| dir.join(entry.file_name())).collect();
        paths.sort();
        paths
    }

    /// Like [`Self::has`], but does not follow a link in the last component.
    #[must_use]
    pub fn has_itself(&self, path: &Path) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return true };
        self.outside(&self.resolve(parent).join(name)).symlink_metadata().is_ok()
    }

    /// The directory of a package's entry in the database. `package` is `category/name-version`.
    #[must_use]
    pub fn entry(&self, package: &str) -> PathBuf {
        self.outside(&self.resolve(&Path::new("/var/db/pkg").join(package)))
    }

    /// Finds a program in the usual directories; returns its path inside.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let dirs = ["/usr/bin", "/bin", "/usr/local/bin"];
        dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| self.has(path))
    }

    #[must_use]
    pub fn has_user(&self, name: &str) -> bool {
        fs::read_to_string(self.outside(&self.resolve(Path::new("/etc/passwd"))))
            .is_ok_and(|text| text.lines().any(|line| line.split(':').next() == Some(name)))
    }

    /// The package installed in a slot: `category/name-version` and its build time, separated by a space.
    #[must_use]
    pub fn installed(&self, cp: &str, slot: &str) -> Option<String> {
        let (category, name) = cp.split_once('/')?;
        let top = self.outside(&self.resolve(&Path::new("/var/db/pkg").join(category)));
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        for entry in fs::read_dir(top).ok()?.flatten() {
            let pf = entry.file_name().to_string_lossy().into_owned();
            let same = format!("{category}/{pf}").parse::<Cpv>().is_ok_and(|cpv| cpv.pn() == name);
            if same && read(entry.path().join("SLOT")).split('/').next() == Some(slot) {
                return Some(format!("{category}/{pf} {}", read(entry.path().join("BUILD_TIME"))));
            }
        }
        None
    }

    /// The numeric ID of a user or group. `file` is `/etc/passwd` or `/etc/group`.
    #[must_use]
    pub fn number_of(&self, file: &str, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.outside(&self.resolve(Path::new(file)))).ok()?;
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(2)?.parse().ok()
    }

    /// All installed packages as `category/name-version`.
    #[must_use]
    pub fn packages(&self) -> BTreeSet<String> {
        let names = |dir: &Path| -> Vec<String> {
            let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
            let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
            // Portage prefixes unfinished entries with a dash.
            names.filter(|name| !name.starts_with(['-', '.'])).collect()
        };
        let top = self.outside(&self.resolve(Path::new("/var/db/pkg")));
        let of = |category: String| {
            let packages = names(&top.join(&category));
            packages.into_iter().map(move |name| format!("{category}/{name}"))
        };
        names(&top).into_iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_as_from_inside() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::at(dir.path());
        for made in ["usr/bin", "usr/lib/python-exec", "var/db/pkg/dev-libs/icu-75.1", "etc"] {
            fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        symlink("usr/bin", dir.path().join("bin")).unwrap();
        symlink("/usr/lib/python-exec/emerge", dir.path().join("usr/bin/emerge")).unwrap();
        symlink("../../../usr/lib/../bin/round", dir.path().join("usr/bin/round")).unwrap();
        symlink("/bin/sh", dir.path().join("usr/bin/outside")).unwrap();
        assert_eq!(tree.resolve(Path::new("/bin/x/y")), Path::new("/usr/bin/x/y"));
        assert!(!tree.has(Path::new("/bin/emerge")), "what it points to is not there yet");
        fs::write(dir.path().join("usr/lib/python-exec/emerge"), "").unwrap();
        assert_eq!(tree.program("emerge"), Some("/usr/bin/emerge".into()));
        assert_eq!(tree.program("outside"), None, "the machine's own shell is not the tree's");
        assert_eq!(tree.program("round"), None, "a loop of links does not exist");
        assert_eq!(tree.packages(), ["dev-libs/icu-75.1".to_owned()].into());
        fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nportage:x:250:250::/:/bin/false\n",
        )
        .unwrap();
        assert!(tree.has_user("portage") && !tree.has_user("port"));
    }
}
