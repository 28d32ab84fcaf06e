//! Snapshots of flakes with locked inputs and of plain expressions, both in Git and in plain directories. The
//! hashes were computed by the real Nix.

use super::*;
use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};
use swarm_formats::{nix::store_path::StoreDir, snapshot::unpack};

fn put(root: &Path, path: &str, text: &str) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, text).unwrap();
}

fn git(root: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];
    let done = Command::new("git").arg("-C").arg(root).args(identity).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn sources(dir: &Path) -> NixSources {
    NixSources {
        dir: dir.to_owned(),
        update: vec![],
        file: None,
        attributes: vec!["hello".into()],
        hosts: vec![],
        arguments: BTreeMap::new(),
        upstreams: vec![],
        import_from_derivation: false,
        inputs: BTreeMap::new(),
        store: dir.join("no-store"),
        allow_dirty: false,
    }
}

fn quiet(sources: &NixSources) -> Result<Made, Failure> {
    make(sources, |_, _| ())
}

fn refused(sources: &NixSources) -> String {
    quiet(sources).unwrap_err().to_string()
}

fn unpacked(made: &Made, to: &Path) -> NixSource {
    let _ = fs::remove_dir_all(to);
    unpack(fs::File::open(made.archive.path()).unwrap(), made.digest, to).unwrap().nix.unwrap()
}

/// A tree whose entries are not in the order of their whole paths. Returns the hash that Nix computes.
fn input(root: &Path) -> String {
    put(root, "a/b", "1");
    put(root, "a-b", "2");
    put(root, "a/c/d", "");
    put(root, "run", "#!/bin/sh\n");
    fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a/b", root.join("link")).unwrap();
    let output = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command", "hash", "path", "--type", "sha256", "--sri"])
        .arg(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A flake with the inputs `lib`, `tools` and `tools/lib`, all with the same content.
fn flake(root: &Path, hash: &str) {
    put(root, "flake.nix", "{ inputs.lib.url = \"x\"; outputs = inputs: { }; }");
    let lock = format!(
        r#"{{"version":7,"root":"root","nodes":{{
          "root":{{"inputs":{{"lib":"lib","tools":"tools","sub":"sub"}}}},
          "lib":{{"locked":{{"type":"github","owner":"o","repo":"lib","rev":"0123456789abcdef","narHash":"{hash}"}}}},
          "lib_2":{{"flake":false,"locked":{{"type":"tarball","url":"https://x/y.tar.gz","narHash":"{hash}"}}}},
          "sub":{{"locked":{{"type":"path","path":"./sub"}},"parent":[]}},
          "tools":{{"inputs":{{"lib":"lib_2","same":["lib"]}},
            "locked":{{"type":"path","path":"/nowhere/tools","narHash":"{hash}"}}}}}}}}"#
    );
    put(root, "flake.lock", &lock);
}

#[test]
fn a_directory_with_an_expression_becomes_a_snapshot_with_what_is_to_be_built() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("src");
    put(&root, "default.nix", "{ salt }: { }");
    put(&root, "seed/bin/sh", "x");
    let mut sources = sources(&root);
    sources.arguments.insert("salt".into(), "1".into());
    sources.hosts.push("desk".into());
    let made = quiet(&sources).unwrap();
    let to = dir.path().join("to");
    let nix = unpacked(&made, &to);
    assert_eq!(
        (nix.flake, nix.file.as_str(), &nix.attributes[..]),
        (false, "default.nix", &["hello".into()][..])
    );
    assert_eq!((nix.arguments["salt"].as_str(), &nix.hosts[..]), ("1", &["desk".into()][..]));
    assert!(to.join("source/seed/bin/sh").is_file());
    assert_eq!(made.source, root.display().to_string());
    put(&root, "other.nix", "{ }");
    sources.file = Some("./other.nix".into());
    assert_eq!(unpacked(&quiet(&sources).unwrap(), &to).file, "other.nix");
}

#[test]
fn a_checkout_is_taken_as_committed_and_what_git_does_not_know_is_told() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "flake.nix", "{ }");
    put(dir.path(), ".gitignore", "result\n");
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "-A"]);
    git(dir.path(), &["commit", "-qm", "x"]);
    put(dir.path(), "result", "ignored");
    let mut sources = sources(dir.path());
    let made = quiet(&sources).unwrap();
    assert!(made.source.contains(" at ") && !made.source.contains("uncommitted"), "{}", made.source);
    let to = tempfile::tempdir().unwrap();
    let nix = unpacked(&made, &to.path().join("to"));
    let git_log = |format: &str| {
        let git = Command::new("git").arg("-C").arg(dir.path()).args(["log", "-1", format]).output().unwrap();
        String::from_utf8(git.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(nix.commit, Some(git_log("--format=%H")));
    assert_eq!((nix.modified, nix.relocked), (git_log("--format=%ct").parse().ok(), false));
    assert_eq!(nix.attributes, [format!("packages.{}-linux.hello", std::env::consts::ARCH)]);
    assert!(made.notes.iter().any(|note| note.contains("nix flake lock")), "{:?}", made.notes);
    assert!(!to.path().join("to/source/result").exists() && !to.path().join("to/source/.git").exists());

    // Nix reports the newest commit to a flake, whatever that commit changed.
    git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "y"]);
    assert_eq!(
        unpacked(&quiet(&sources).unwrap(), &to.path().join("to")).commit,
        Some(git_log("--format=%H"))
    );
    let whole = Extent { marker: "flake.nix", derived: Some(LOCK), whole: true, allow_dirty: false };
    assert!(!Tree::read(dir.path(), whole).unwrap().is_changed(LOCK).unwrap());
    put(dir.path(), LOCK, "{}");
    let relocked = Tree::read(dir.path(), whole).unwrap();
    assert!(relocked.commit.is_some() && relocked.is_changed(LOCK).unwrap());
    fs::remove_file(dir.path().join(LOCK)).unwrap();

    put(dir.path(), "flake.nix", "{ outputs = 1; }");
    assert!(refused(&sources).contains("--allow-dirty"));
    sources.allow_dirty = true;
    let dirty = quiet(&sources).unwrap();
    assert!(dirty.source.contains("with uncommitted changes"));
    let nix = unpacked(&dirty, &to.path().join("to"));
    assert_eq!((nix.commit, nix.modified), (None, git_log("--format=%ct").parse().ok()));
    put(dir.path(), ".gitignore", "result\nflake.lock\n");
    put(dir.path(), "flake.lock", "{}");
    assert!(refused(&sources).contains("git add"));
}

#[test]
fn inputs_come_from_the_lock_files_directory_the_store_or_the_user_and_have_the_locked_hash() {
    let dir = tempfile::tempdir().unwrap();
    let (root, given, store) = (dir.path().join("src"), dir.path().join("given"), dir.path().join("store"));
    let hash = input(&given);
    flake(&root, &hash);
    let mut sources = NixSources { store: store.clone(), ..sources(&root) };
    let error = refused(&sources);
    for part in [
        "lib: github o/lib at 0123456789ab",
        "tools: path /nowhere/tools",
        "tools/lib: tarball https://x/y.tar.gz",
        "nix flake archive",
        "--input lib=DIR --input tools/lib=DIR --input tools=DIR",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("sub"), "it is in the source: {error}");

    let path = StoreDir::default().source_path("source", &swarm_formats::nix::hash::from_sri(&hash).unwrap());
    let stored = store.join(path.unwrap().as_str());
    fs::create_dir_all(&store).unwrap();
    assert!(Command::new("cp").arg("-a").arg(&given).arg(&stored).status().unwrap().success());
    let made = quiet(&sources).unwrap();
    assert!(made.source.contains("; flake.lock "), "{}", made.source);
    let to = dir.path().join("to");
    let lock = unpacked(&made, &to).lock;
    assert_eq!(lock, Some(Digest::of(&fs::read(root.join("flake.lock")).unwrap())));
    for node in ["lib", "lib_2", "tools"] {
        assert_eq!(fs::read_to_string(to.join("inputs").join(node).join("a-b")).unwrap(), "2");
    }

    // Content in the store may have been changed, and the user may name another directory.
    put(&stored, "a/b", "changed");
    for name in ["lib", "tools/lib", "tools"] {
        assert!(refused(&sources).contains(&format!("{name}:")));
        sources.inputs.insert(name.into(), given.clone());
    }
    assert_eq!(quiet(&sources).unwrap().digest, made.digest);
    put(&given, "a/new", "");
    let error = refused(&sources);
    assert!(error.contains("does not match input lib in flake.lock") && error.contains(&hash), "{error}");
    sources.inputs.insert("libs".into(), given);
    assert!(refused(&sources).contains("did you mean `lib`?"));
}

#[test]
fn what_is_missing_or_wrong_is_told_with_what_to_do() {
    type Spoil = fn(&Path, &mut NixSources);
    let cases: &[(Spoil, &str)] = &[
        (|d, _| fs::remove_file(d.join("flake.nix")).unwrap(), "neither flake.nix nor default.nix"),
        (|_, s| s.file = Some("x.nix".into()), "no such file"),
        (|_, s| s.attributes.clear(), "--attr NAME"),
        (|_, s| s.attributes = vec!["--x".into()], "`packages"),
        (|_, s| s.hosts = vec!["a/b".into()], "`a/b` is not the name of a host"),
        (|_, s| _ = s.arguments.insert("x".into(), "1".into()), "a flake takes no arguments"),
        (|_, s| _ = s.inputs.insert("x".into(), "/".into()), "has no flake.lock"),
        (
            |d, s| {
                put(d, "x.nix", "");
                s.file = Some("x.nix".into());
                s.inputs.insert("x".into(), "/".into());
            },
            "for flakes only",
        ),
        (|d, _| symlink("/etc/passwd", d.join("out")).unwrap(), "is absolute"),
        (|d, _| symlink("../x", d.join("out")).unwrap(), "lies outside"),
        (
            |d, _| drop(std::os::unix::net::UnixListener::bind(d.join("socket")).unwrap()),
            "neither a file nor",
        ),
        (|d, _| put(d, "flake.lock", "{"), "cannot use flake.lock"),
        (|d, _| put(d, "flake.lock", r#"{"version":8,"root":"r","nodes":{}}"#), "unsupported version 8"),
        (|d, _| put(d, "flake.lock", r#"{"version":7,"root":"r","nodes":{}}"#), "node `r` is missing"),
        (|d, _| put(d, "flake.lock", &lock_of("x", r#"{"inputs":{}}"#)), "input in is not locked"),
        (|d, _| put(d, "flake.lock", &lock_of("x", r#"{"locked":{"type":"git"}}"#)), "in has no narHash"),
        (
            |d, _| put(d, "flake.lock", &lock_of("x", r#"{"locked":{"type":"git","narHash":"sha256-x"}}"#)),
            "not `sha256-`",
        ),
        (
            |d, _| {
                put(
                    d,
                    "flake.lock",
                    &lock_of(
                        "../x",
                        &format!(r#"{{"locked":{{"type":"git","narHash":"sha256-{}="}}}}"#, "A".repeat(43)),
                    ),
                )
            },
            "is not a valid directory name",
        ),
    ];
    for (spoil, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "flake.nix", "{ }");
        let mut sources = sources(dir.path());
        spoil(dir.path(), &mut sources);
        let error = refused(&sources);
        assert!(error.contains(want), "{want}: {error}");
    }
}

/// A lock file with one input, named `in`.
fn lock_of(key: &str, node: &str) -> String {
    format!(r#"{{"version":7,"root":"r","nodes":{{"r":{{"inputs":{{"in":"{key}"}}}},"{key}":{node}}}}}"#)
}
