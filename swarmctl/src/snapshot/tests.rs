//! Snapshots from realistic bundles and repositories.

mod repositories;
mod settings;

use super::*;
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};
use swarm_formats::snapshot::unpack;

fn put(root: &Path, path: &str, text: &str) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, text).unwrap();
}

/// A bundle and a repository below `dir`.
fn sources(dir: &Path) -> Sources {
    let (bundle, repository) = (dir.join("bundle"), dir.join("repo"));
    put(&bundle, "etc/portage/make.conf", "USE=\"a\"\n");
    put(&bundle, "etc/portage/package.use/tools", "app-misc/a b\n");
    put(&bundle, "etc/portage/repos.conf/x.conf", "[x]\n");
    put(&bundle, "etc/portage/binrepos.conf", "[y]\n");
    put(&bundle, "etc/portage/gnupg/private-keys-v1.d/k", "secret\n");
    put(&bundle, "distfiles/a-1.tar.gz", "gz");
    put(&bundle, "world", "# mine\napp-misc/a\n@tools\n");
    put(&bundle, "profile.toml", "portage_profile = \"example/amd64\"\n");
    put(&repository, "profiles/repo_name", "example\n");
    put(&repository, "profiles/example/amd64/eapi", "8\n");
    put(&repository, "app-misc/a/a-1.ebuild", "EAPI=8\n");
    Sources { bundle, repositories: vec![repository], allow_dirty: false, drones: vec![] }
}

fn quiet(sources: &Sources) -> Result<Made, Failure> {
    make(sources, |_, _| ())
}

fn git(root: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];
    let done = Command::new("git").arg("-C").arg(root).args(identity).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_bundle_and_a_directory_become_a_snapshot_without_what_is_the_machines_own() {
    let dir = tempfile::tempdir().unwrap();
    let made = quiet(&sources(dir.path())).unwrap();
    let to = dir.path().join("to");
    let manifest = unpack(fs::File::open(made.archive.path()).unwrap(), made.digest, &to).unwrap();
    assert_eq!(manifest.main_repository, "example");
    assert_eq!(manifest.repositories[0].commit, None);
    for there in [
        "etc/portage/package.use/tools",
        "world",
        "distfiles/a-1.tar.gz",
        "repos/example/app-misc/a/a-1.ebuild",
    ] {
        assert!(to.join(there).is_file(), "{there}");
    }
    for gone in ["etc/portage/repos.conf", "etc/portage/binrepos.conf", "etc/portage/gnupg"] {
        assert!(!to.join(gone).exists(), "{gone}");
    }
    assert!(made.notes.iter().any(|note| note.contains("gnupg")));
}

#[test]
fn a_commit_is_taken_exactly_and_changes_are_refused_unless_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(dir.path());
    let repository = sources.repositories[0].clone();
    let plain = quiet(&sources).unwrap();
    put(&repository, ".gitignore", "*.cache\n");
    git(&repository, &["init", "-q"]);
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-qm", "x"]);
    put(&repository, "junk.cache", "ignored");
    let first = quiet(&sources).unwrap();
    assert_ne!(first.digest, plain.digest, "the commit is part of it");
    assert!(first.source.contains("example from"), "{}", first.source);
    assert_eq!(quiet(&sources).unwrap().digest, first.digest, "twice the same");

    put(&repository, "app-misc/a/a-2.ebuild", "EAPI=8\n");
    let error = quiet(&sources).unwrap_err().to_string();
    assert!(error.contains("--allow-dirty") && error.contains("a-2.ebuild"), "{error}");
    sources.allow_dirty = true;
    let dirty = quiet(&sources).unwrap();
    assert!(dirty.source.contains("uncommitted"), "{}", dirty.source);
    let to = dir.path().join("to");
    let manifest = unpack(fs::File::open(dirty.archive.path()).unwrap(), dirty.digest, &to).unwrap();
    assert_eq!(manifest.repositories[0].commit, None, "no commit has this content");
    assert!(to.join("repos/example/app-misc/a/a-2.ebuild").is_file());
    assert!(!to.join("repos/example/junk.cache").exists());
    assert!(!to.join("repos/example/.git").exists());
}

#[test]
fn make_profile_may_say_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    fs::remove_file(sources.bundle.join("profile.toml")).unwrap();
    let error = quiet(&sources).unwrap_err().to_string();
    assert!(error.contains("portage_profile ="), "{error}");
    let link = sources.bundle.join("etc/portage/make.profile");
    symlink("/var/db/repos/example/profiles/example/amd64", link).unwrap();
    assert!(quiet(&sources).is_ok());
}

#[test]
fn what_is_missing_or_wrong_is_told_with_what_to_do() {
    type Spoil = fn(&Path, &mut Sources);
    let cases: [(Spoil, &str); 8] = [
        (|d, _| fs::remove_dir_all(d.join("bundle/etc")).unwrap(), "no directory etc/portage"),
        (|d, _| fs::remove_file(d.join("bundle/world")).unwrap(), "list the packages to build"),
        (|d, _| put(d, "bundle/world", "# nothing\n"), "lists no packages"),
        (|d, _| put(d, "bundle/world", "app-misc/a\nrm -rf /\n"), "world:2: `rm -rf /` is neither"),
        (|d, _| put(d, "bundle/profile.toml", "portage_profil = \"x\"\n"), "did you mean `portage_profile`?"),
        (|d, _| put(d, "bundle/profile.toml", "portage_profile = \"example/arm\"\n"), "no directory"),
        (|d, _| fs::remove_file(d.join("repo/profiles/repo_name")).unwrap(), "is not a package repository"),
        (|d, s| s.repositories.push(d.join("repo")), "several repositories (example, example)"),
    ];
    for (spoil, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = sources(dir.path());
        spoil(dir.path(), &mut sources);
        let error = quiet(&sources).unwrap_err().to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
}
