//! Snapshots for Nix: round trips, hostile manifests, paths and differences.

use super::{
    super::{
        FORMAT, LAYER, MANIFEST, OWN, SnapshotContents, SnapshotError, SnapshotManifest, difference,
        tests::{Raw, manifest as portage, raw},
        unpack, unpack_difference, verify,
    },
    *,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};
use tar::EntryType;

const KEY: &str = "cache.example.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

fn source() -> NixSource {
    NixSource {
        flake: false,
        file: "default.nix".into(),
        attributes: vec!["hello".into(), "tools.x".into()],
        hosts: vec!["desk".into()],
        arguments: [("salt".into(), "a b".into())].into(),
        upstreams: vec![upstream("https://cache.example.org")],
        import_from_derivation: false,
        commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        modified: None,
        relocked: false,
        lock: None,
    }
}

fn upstream(url: &str) -> NixUpstream {
    NixUpstream { url: url.into(), keys: vec![KEY.into()] }
}

fn flake() -> NixSource {
    NixSource { flake: true, file: FLAKE.into(), arguments: BTreeMap::new(), ..source() }
}

fn manifest(nix: NixSource) -> SnapshotManifest {
    SnapshotManifest {
        format: FORMAT,
        portage_profile: None,
        profile_repository: None,
        main_repository: String::new(),
        repositories: vec![],
        nix: Some(nix),
    }
}

/// Packs these files as `dir/name`.
fn pack(dir: &Path, name: &str, nix: NixSource, files: &[(&str, &str)]) -> (PathBuf, Digest) {
    let mut contents = SnapshotContents::new(manifest(nix)).unwrap();
    for (path, text) in files {
        contents.add_bytes(path, text.as_bytes().to_vec()).unwrap();
    }
    let at = dir.join(name);
    let digest = contents.write(File::create(&at).unwrap(), || ()).unwrap();
    (at, digest)
}

#[test]
fn a_source_and_its_inputs_are_unpacked_as_they_were_packed() {
    let dir = tempfile::tempdir().unwrap();
    let files =
        [("source/flake.nix", "{ }"), ("source/flake.lock", "{}"), ("inputs/nixpkgs_2/default.nix", "1")];
    let (archive, digest) = pack(dir.path(), "a", flake(), &files);
    let to = dir.path().join("to");
    assert_eq!(unpack(File::open(archive).unwrap(), digest, &to).unwrap(), manifest(flake()));
    for (path, text) in files {
        assert_eq!(fs::read_to_string(to.join(path)).unwrap(), text);
    }
}

#[test]
fn the_manifest_of_nix_names_nothing_of_portage() {
    let json = serde_json::to_string(&manifest(source())).unwrap();
    assert!(!json.contains("repositor") && !json.contains("import_from"), "{json}");
    let read: SnapshotManifest = serde_json::from_str(&json).unwrap();
    assert_eq!(read, manifest(source()));
    read.check().unwrap();
    for mixed in [
        SnapshotManifest { nix: Some(source()), ..portage() },
        SnapshotManifest { portage_profile: Some("x".into()), ..manifest(source()) },
        SnapshotManifest { main_repository: "x".into(), ..manifest(source()) },
        SnapshotManifest { nix: None, ..manifest(source()) },
    ] {
        assert!(mixed.check().is_err(), "{mixed:?}");
    }
}

#[test]
fn what_would_mean_something_else_to_nix_is_refused_by_name() {
    type Change = fn(&mut NixSource);
    let cases: &[(Change, &str)] = &[
        (|s| s.attributes[0] = "--eval".into(), "`--eval` is not an attribute"),
        (|s| s.attributes[0] = "a..b".into(), "not an attribute"),
        (|s| s.attributes[0] = "a.".into(), "not an attribute"),
        (|s| s.attributes[0] = String::new(), "not an attribute"),
        (|s| s.attributes[0] = "a b".into(), "not an attribute"),
        (|s| s.attributes[0] = "\"${x}\"".into(), "not an attribute"),
        (|s| s.attributes[0] = "\"a\"b".into(), "not an attribute"),
        (|s| s.attributes[0] = "a\n".into(), "`a\\n` is not"),
        (|s| s.attributes[0] = "a".repeat(1001), "not an attribute"),
        (|s| s.attributes[1] = "hello".into(), "`hello` occurs twice"),
        (|s| s.attributes = (0..10_001).map(|n| format!("a{n}")).collect(), "more than 10000"),
        (|s| (s.attributes, s.hosts) = (vec![], vec![]), "nothing to build"),
        (|s| s.commit = Some("HEAD".into()), "`HEAD` is not a Git commit"),
        (|s| s.hosts[0] = "../desk".into(), "not the name of a host"),
        (|s| s.hosts[0] = "a.b".into(), "not the name of a host"),
        (|s| s.hosts[0] = "-x".into(), "not the name of a host"),
        (|s| s.file = "../default.nix".into(), "file to evaluate"),
        (|s| s.file = "/etc/passwd".into(), "file to evaluate"),
        (|s| s.file = FLAKE.into(), "only valid for a flake"),
        (|s| _ = s.arguments.insert("--option".into(), "x".into()), "not the name of an argument"),
        (|s| _ = s.arguments.insert("x".into(), "\0".into()), "control character"),
        (|s| _ = s.arguments.insert("x".into(), "x".repeat(1001)), "over 1000 bytes"),
        (|s| s.upstreams[0].url = "https://a.example http://b".into(), "not allowed there"),
        (|s| s.upstreams[0].url = "https://a.example?secret-key=/x".into(), "not allowed there"),
        (|s| s.upstreams[0].url = "https://me:pw@a.example".into(), "has a password"),
        (|s| s.upstreams[0].url = "ssh://a.example".into(), "begin with"),
        (|s| s.upstreams[0].url = "file:///srv/cache".into(), "begin with"),
        (|s| s.upstreams[0].url = "https:///x".into(), "names no machine"),
        (|s| s.upstreams.push(upstream("https://cache.example.org")), "occurs twice"),
        (|s| s.upstreams[0].keys.clear(), "has no key"),
        (|s| s.upstreams[0].keys[0] = KEY.replace("cache", "a b"), "not a public key"),
        (|s| s.upstreams[0].keys[0] = KEY.replace("DShjY=", "DShj=="), "not a public key"),
        (|s| s.upstreams[0].keys[0] = "x".into(), "not a public key"),
    ];
    for (change, want) in cases {
        let mut bad = source();
        change(&mut bad);
        let error = manifest(bad).check().unwrap_err().to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
    let with_arguments = NixSource { arguments: source().arguments, ..flake() };
    assert!(manifest(with_arguments).check().is_err());
    manifest(flake()).check().unwrap();
    for good in ["python3.pkgs.\"a.b/c\"", "_x", "gtk+", "a'", "packages.x86_64-linux.hello"] {
        assert!(is_attribute(good), "{good}");
    }
}

#[test]
fn a_snapshot_with_files_elsewhere_or_without_its_source_is_refused() {
    let json = serde_json::to_vec(&manifest(source())).unwrap();
    let whole = [
        Raw(EntryType::Regular, MANIFEST, "", &json),
        Raw(EntryType::Regular, "source/default.nix", "", b"{ }"),
    ];
    let check = |entries: &[&Raw<'_>]| {
        let tar = raw(entries.iter().copied());
        verify(zstd::encode_all(tar.as_slice(), 1).unwrap().as_slice(), Digest::of(&tar))
    };
    check(&[&whole[0], &whole[1]]).unwrap();
    let message = check(&[&whole[0]]).unwrap_err().to_string();
    assert!(message.contains("source/default.nix is not in it"), "{message}");
    for stray in ["world", "etc/nix/nix.conf", "inputs/nixpkgs", "inputs/.x/y", "inputs/a b/c", "sources/x"] {
        let error = check(&[&whole[0], &whole[1], &Raw(EntryType::Regular, stray, "", b"x")]).unwrap_err();
        assert!(matches!(error, SnapshotError::Entry { .. }), "{stray}: {error}");
    }
    let link = check(&[&whole[0], &Raw(EntryType::Symlink, "source/default.nix", "../../x", b"")]);
    assert!(link.is_err());
}

#[test]
fn a_difference_gives_the_complete_source_in_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let old = [("source/default.nix", "1"), ("source/gone.nix", "1"), ("source/same.nix", "1")];
    let new = [("source/default.nix", "2"), ("source/added/x.nix", "2"), ("source/same.nix", "1")];
    let (first, _) = pack(dir.path(), "first", source(), &old);
    let (second, digest) = pack(dir.path(), "second", source(), &new);
    let open = |path: &Path| File::open(path).unwrap();
    let between = dir.path().join("difference");
    difference(open(&first), [open(&second), open(&second)], File::create(&between).unwrap()).unwrap();
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    let read = unpack_difference(&[first, between], digest, &to).unwrap();
    assert_eq!(read, manifest(source()));
    for (path, text) in new {
        assert_eq!(fs::read_to_string(to.join(OWN).join(path)).unwrap(), text);
    }
    assert!(!to.join(OWN).join("source/gone.nix").exists());
    assert!(!to.join(LAYER).join("source/same.nix").exists(), "the layer has only what differs");
}
