//! Several repositories, profiles from any of them, and checkouts with the ownership that they have on
//! Gentoo.

use super::*;

/// The sources with an additional repository, which has `profile` with `parent`.
fn with_overlay(dir: &Path, profile: &str, parent: &str) -> Sources {
    let mut sources = sources(dir);
    let overlay = dir.join("overlay");
    put(&overlay, "profiles/repo_name", "local\n");
    put(&overlay, "metadata/layout.conf", "masters = example\nprofile-formats = portage-2\n");
    put(&overlay, "app-misc/b/b-1.ebuild", "EAPI=8\n");
    put(&overlay, &format!("profiles/{profile}/parent"), parent);
    sources.repositories.push(overlay);
    sources
}

fn manifest(made: &Made, dir: &Path) -> (SnapshotManifest, std::path::PathBuf) {
    let to = dir.join("unpacked");
    let _ = fs::remove_dir_all(&to);
    (unpack(fs::File::open(made.archive.path()).unwrap(), made.digest, &to).unwrap(), to)
}

#[test]
fn priorities_and_masters_of_repos_conf_are_taken_along_and_its_places_are_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = with_overlay(dir.path(), "mine", "example:example/amd64\n");
    let place = |name: &str| dir.path().join(name).display().to_string();
    let conf = format!(
        "[DEFAULT]\nmain-repo = example\n[example]\nlocation = {}\nsync-type = git\n[local]\nlocation = {}\n\
         priority = 50\nmasters = example\n[elsewhere]\npriority = 3\n",
        place("repo"),
        place("overlay")
    );
    fs::remove_dir_all(sources.bundle.join("etc/portage/repos.conf")).unwrap();
    put(&sources.bundle, "etc/portage/repos.conf", &conf);
    let given = quiet(&sources).unwrap();
    sources.repositories.clear();
    let made = quiet(&sources).unwrap();
    assert_eq!(made.digest, given.digest);
    let (manifest, _) = manifest(&made, dir.path());
    assert_eq!(manifest.main_repository, "example");
    let [example, local] = &manifest.repositories[..] else { panic!("{manifest:?}") };
    assert!(example.settings.is_empty(), "how it is synced is the machine's: {example:?}");
    assert_eq!((local.settings["priority"].as_str(), local.settings["masters"].as_str()), ("50", "example"));
    let lost: Vec<_> = made.notes.iter().filter(|note| note.contains("elsewhere")).collect();
    assert!(lost.len() == 1 && lost[0].contains("skipping repository"), "{:?}", made.notes);

    put(&sources.bundle, "etc/portage/repos.conf", "");
    let error = quiet(&sources).unwrap_err().to_string();
    assert!(error.contains("--repository") && error.contains("repos.conf"), "{error}");
}

#[test]
fn a_profile_in_an_overlay_is_found_and_inherits_from_the_main_repository() {
    let dir = tempfile::tempdir().unwrap();
    let sources = with_overlay(dir.path(), "mine", "example:example/amd64\n");
    for name in ["mine", "local:mine"] {
        put(&sources.bundle, "profile.toml", &format!("portage_profile = \"{name}\"\n"));
        let (manifest, _) = manifest(&quiet(&sources).unwrap(), dir.path());
        assert_eq!(manifest.main_repository, "example", "the one that builds on no other");
        assert_eq!(manifest.profile_path(), "repos/local/profiles/mine");
    }
    fs::remove_file(sources.bundle.join("profile.toml")).unwrap();
    let link = sources.bundle.join("etc/portage/make.profile");
    symlink("../../var/db/repos/local/profiles/mine", link).unwrap();
    assert_eq!(
        manifest(&quiet(&sources).unwrap(), dir.path()).0.profile_repository.as_deref(),
        Some("local")
    );
}

#[test]
fn a_parent_that_no_drone_would_have_is_told_with_its_line() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &str); 5] = [
        ("example:example/none\n", |_| (), "parent:1: the parent `example:example/none` is missing"),
        ("# x\ngentoo:base\n", |_| (), "parent:2: the parent `gentoo:base` is from repository gentoo"),
        ("../../../repo/profiles/example\n", |_| (), "is outside local"),
        (
            "example:example/amd64\n",
            |d| put(d, "overlay/metadata/layout.conf", "masters = example\n"),
            "needs profile-formats = portage-2",
        ),
        ("example:example/amd64\n", |d| put(d, "repo/profiles/mine/eapi", "8\n"), ""),
    ];
    for (parent, spoil, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let sources = with_overlay(dir.path(), "mine", parent);
        put(&sources.bundle, "profile.toml", "portage_profile = \"mine\"\n");
        spoil(dir.path());
        match (quiet(&sources), want) {
            // The main repository's profile comes first.
            (Ok(made), "") => assert_eq!(manifest(&made, dir.path()).0.profile_repository, None),
            (Err(error), want) => assert!(error.to_string().contains(want), "{want}: {error}"),
            (Ok(_), want) => panic!("{want}"),
        }
    }
}

#[test]
fn a_profile_directory_is_taken_along_and_names_its_parents_by_repository() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(dir.path());
    let own = sources.bundle.join("etc/portage/make.profile");
    let real = dir.path().join("repo/profiles/example/amd64").display().to_string();
    put(&own, "make.defaults", "USE=\"shiny\"\n");
    put(&own, "more/make.defaults", "USE=\"bright\"\n");
    for parent in [&real, "example:example/amd64", "/var/db/repos/example/profiles/example/amd64"] {
        put(&own, "parent", &format!("# as on the desk\n{parent}\nmore\n"));
        let (manifest, to) = manifest(&quiet(&sources).unwrap(), dir.path());
        assert_eq!(manifest.portage_profile, None);
        let text = |name: &str| fs::read_to_string(to.join("etc/portage/make.profile").join(name)).unwrap();
        assert_eq!(text("parent"), "example:example/amd64\nmore\n", "{parent}");
        assert_eq!(text("make.defaults"), "USE=\"shiny\"\n");
        assert_eq!(text("more/make.defaults"), "USE=\"bright\"\n");
    }
    put(&own, "parent", "/srv/elsewhere\n");
    let error = quiet(&sources).unwrap_err().to_string();
    assert!(error.contains("parent:1") && error.contains("REPOSITORY:PATH"), "{error}");
    // Two profiles are ambiguous, unless one inherits from the other.
    put(&sources.repositories[0], "profiles/other/eapi", "8\n");
    put(&own, "parent", "example:other\n");
    let error = quiet(&sources).unwrap_err().to_string();
    assert!(error.contains("of its profile.toml") && error.contains("example/amd64"), "{error}");
    fs::remove_file(sources.bundle.join("profile.toml")).unwrap();
    sources.allow_dirty = true;
    assert!(quiet(&sources).is_ok());
}

#[test]
fn a_checkout_of_another_user_is_read_and_nothing_that_it_configures_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    let repository = &sources.repositories[0];
    git(repository, &["init", "-q"]);
    put(repository, ".gitattributes", "* filter=theirs\n");
    git(repository, &["add", "-A"]);
    git(repository, &["commit", "-qm", "x"]);
    let own = quiet(&sources).unwrap();
    let ran = dir.path().join("ran");
    let program = format!("touch {}; cat", ran.display());
    for key in ["filter.theirs.clean", "filter.theirs.smudge", "core.fsmonitor"] {
        git(repository, &["config", key, &program]);
    }
    // Only root can change the owner of a file. For other users, no checkout in this test belongs to somebody
    // else.
    let given = Command::new("chown").args(["-R", "65534:65534"]).arg(repository).output().unwrap();
    assert!(given.status.success(), "needs root: {}", String::from_utf8_lossy(&given.stderr));
    // The changed mtime makes Git compare the content.
    let ebuild = fs::File::options().append(true).open(repository.join("app-misc/a/a-1.ebuild")).unwrap();
    ebuild.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(quiet(&sources).unwrap().digest, own.digest);
    assert!(!ran.exists(), "a program of another user was run");
}

#[test]
fn metadata_is_taken_along_though_git_ignores_it_and_is_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    let repository = &sources.repositories[0];
    put(repository, ".gitignore", "/metadata/md5-cache/\n");
    git(repository, &["init", "-q"]);
    git(repository, &["add", "-A"]);
    git(repository, &["commit", "-qm", "x"]);
    put(repository, "metadata/md5-cache/app-misc/a-1", "EAPI=8\n");
    let (taken, to) = manifest(&quiet(&sources).unwrap(), dir.path());
    assert!(to.join("repos/example/metadata/md5-cache/app-misc/a-1").is_file());
    assert!(taken.repositories[0].commit.is_some());
    fs::remove_file(repository.join(".gitignore")).unwrap();
    git(repository, &["commit", "-qam", "y"]);
    assert!(manifest(&quiet(&sources).unwrap(), dir.path()).0.repositories[0].commit.is_some());
}

#[test]
fn metadata_that_saves_no_work_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    let repository = &sources.repositories[0];
    let note = || quiet(&sources).unwrap().notes.into_iter().find(|note| note.contains("md5-cache"));
    assert_eq!(note(), None, "of one ebuild nothing is said");
    for n in 0..600 {
        put(repository, &format!("app-misc/p{n}/p{n}-1.ebuild"), "EAPI=8\n");
    }
    assert!(note().unwrap().contains("there is none"));
    // The digest of the text above, as printed by `md5sum`.
    let entry = "DEFINED_PHASES=-\n_md5_=ae5c7a3a0a5e8a04a0d3b9a2d2a3d9a1\n";
    for n in 0..600 {
        put(repository, &format!("metadata/md5-cache/app-misc/p{n}-1"), entry);
    }
    assert!(note().unwrap().contains("outdated or damaged"));
    let good = swarm_formats::archive::digests::FileHasher::read_all(&b"EAPI=8\n"[..]).unwrap().md5;
    for n in 0..600 {
        put(repository, &format!("metadata/md5-cache/app-misc/p{n}-1"), &format!("_md5_={good}\n"));
    }
    assert_eq!(note(), None);
}

#[test]
fn an_empty_tree_and_links_out_of_one_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    let repository = &sources.repositories[0];
    symlink("../../../etc/passwd", repository.join("app-misc/link")).unwrap();
    let error = quiet(&sources).unwrap_err().to_string();
    assert!(error.contains("app-misc/link") && error.contains("lies outside"), "{error}");
    fs::remove_dir_all(repository.join("app-misc")).unwrap();
    let error = quiet(&sources).unwrap_err().to_string();
    assert!(error.contains("no ebuild") && error.contains("is complete"), "{error}");
}
