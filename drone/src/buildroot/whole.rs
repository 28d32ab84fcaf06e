//! Checks the installed packages of a base against its package database.

use super::{layer::owned_path, tree::Tree};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use swarm_formats::portage::sonames::{self, Sonames};

/// Returns the first path in a package's `CONTENTS` that does not exist. `entry` is
/// `category/name-version`.
///
/// # Errors
/// The package's `CONTENTS` cannot be read.
pub fn missing(base: &Tree, entry: &str) -> io::Result<Option<String>> {
    let contents = fs::read_to_string(base.entry(entry).join("CONTENTS"))?;
    let mut paths = contents.lines().filter_map(owned_path);
    Ok(paths.find(|path| !base.has_itself(Path::new(path))).map(str::to_owned))
}

/// The sonames that packages require and no package provides. Empty if no package provides the C library,
/// because libraries may then come from outside the package database.
#[must_use]
pub fn unprovided(base: &Tree) -> Sonames {
    let (mut needed, mut provided) = (Sonames::new(), Sonames::new());
    for entry in base.packages() {
        let entry = base.entry(&entry);
        let read = |name| sonames::parse(&fs::read_to_string(entry.join(name)).unwrap_or_default());
        needed.extend(read("REQUIRES"));
        provided.extend(read("PROVIDES"));
    }
    if !provided.iter().any(|(_, soname)| soname.starts_with("libc.")) {
        return Sonames::new();
    }
    needed.difference(&provided).cloned().collect()
}

/// The first program of `before` that is a dangling link in `after`, for example because an alternative
/// points to a program that is not installed.
#[must_use]
pub fn dangling(before: &Tree, after: &Tree) -> Option<PathBuf> {
    let dirs = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(Path::new);
    let mut programs = dirs.into_iter().flat_map(|dir| before.entries(dir));
    programs.find(|path| before.has(path) && after.has_itself(path) && !after.has(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn package(top: &Path, entry: &str, files: &[(&str, &str)]) {
        let at = top.join("var/db/pkg").join(entry);
        fs::create_dir_all(&at).unwrap();
        files.iter().for_each(|(name, text)| fs::write(at.join(name), text).unwrap());
    }

    #[test]
    fn a_file_that_is_not_there_is_named_also_where_a_link_of_the_base_leads() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        fs::write(dir.path().join("usr/lib/libx.so.1"), "").unwrap();
        symlink("nowhere", dir.path().join("usr/lib/libx.so")).unwrap();
        let contents = "dir /lib\nobj /lib/libx.so.1 d41d8 1\nsym /lib/libx.so -> nowhere 1\n";
        package(dir.path(), "a/x-1", &[("CONTENTS", contents)]);
        let tree = Tree::at(dir.path());
        assert_eq!(missing(&tree, "a/x-1").unwrap(), None);
        fs::remove_file(dir.path().join("usr/lib/libx.so.1")).unwrap();
        assert_eq!(missing(&tree, "a/x-1").unwrap().as_deref(), Some("/lib/libx.so.1"));
        assert!(missing(&tree, "a/y-1").is_err());
    }

    #[test]
    fn a_program_that_becomes_a_dangling_link_is_named() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&old, &new] {
            fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
            symlink("usr/bin", dir.path().join("bin")).unwrap();
            symlink("../../bin/tar", dir.path().join("usr/bin/gtar")).unwrap();
            symlink("gone", dir.path().join("usr/bin/always")).unwrap();
            fs::write(dir.path().join("usr/bin/sed"), "").unwrap();
        }
        fs::write(old.path().join("usr/bin/tar"), "").unwrap();
        fs::write(old.path().join("usr/bin/removed"), "").unwrap();
        let (before, after) = (Tree::at(old.path()), Tree::at(new.path()));
        assert_eq!(dangling(&before, &before), None);
        assert_eq!(dangling(&before, &after), Some("/usr/bin/gtar".into()));
        // An alternative that points back at itself.
        symlink("gtar", new.path().join("usr/bin/tar")).unwrap();
        assert_eq!(dangling(&before, &after), Some("/usr/bin/gtar".into()));
        fs::remove_file(new.path().join("usr/bin/tar")).unwrap();
        fs::write(new.path().join("usr/bin/tar"), "").unwrap();
        assert_eq!(dangling(&before, &after), None);
    }

    #[test]
    fn a_library_that_nobody_provides_is_named_where_the_c_library_is_a_package() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::at(dir.path());
        package(dir.path(), "a/x-1", &[("REQUIRES", "x86_64: libc.so.6 libold.so.1\n")]);
        assert!(unprovided(&tree).is_empty());
        package(dir.path(), "sys-libs/glibc-2", &[("PROVIDES", "x86_64: libc.so.6\n")]);
        assert_eq!(unprovided(&tree), Sonames::from([("x86_64".into(), "libold.so.1".into())]));
    }
}
