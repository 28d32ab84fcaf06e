//! Snapshots: verifying and unpacking agree, nothing is written outside or left after an error, and a
//! snapshot made with a difference equals the complete one.

use crate::tars::{self, forge::raw};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use swarm_common::digest::Digest;
use swarm_formats::snapshot::{
    self, FORMAT, LAYER, NixSource, SnapshotContents, SnapshotError, SnapshotManifest, SnapshotRepository,
};
use tempfile::{TempDir, tempdir};

/// The entries of a tree by path.
type Tree = BTreeMap<String, At>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    File(Vec<u8>),
    Link(Vec<u8>),
    /// In an overlay: nothing is here.
    Whiteout,
}

fn tree(root: &Path) -> Tree {
    let (mut found, mut open) = (Tree::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let at = if kind.is_dir() {
                open.push(path);
                continue;
            } else if kind.is_symlink() {
                At::Link(fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else if kind.is_char_device() {
                At::Whiteout
            } else {
                assert!(kind.is_file(), "{} is neither file nor link", path.display());
                At::File(fs::read(&path).unwrap())
            };
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), at);
        }
    }
    found
}

/// Lays a tree over another one, as overlayfs does.
fn lay(layer: Tree, below: &Tree) -> Tree {
    let mut all = below.clone();
    for (path, at) in layer {
        let inside =
            |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        all.retain(|other, _| *other != path && !inside(&path, other) && !inside(other, &path));
        if at != At::Whiteout {
            all.insert(path, at);
        }
    }
    all
}

/// An older snapshot, to which differences are made.
struct Older {
    dir: TempDir,
    archive: Vec<u8>,
    tree: Tree,
}

impl Older {
    fn get() -> &'static Self {
        static OLDER: OnceLock<Older> = OnceLock::new();
        OLDER.get_or_init(|| {
            let dir = tempdir().unwrap();
            let archive =
                pack(portage(), &["etc/portage/make.profile/eapi", "repos/r/a", "repos/r/d/b", "world"]);
            let digest = Digest::of(&zstd::decode_all(&archive[..]).unwrap());
            snapshot::unpack(&archive[..], digest, &dir.path().join("tree")).unwrap();
            fs::write(dir.path().join("archive"), &archive).unwrap();
            let tree = tree(&dir.path().join("tree"));
            Self { dir, archive, tree }
        })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("archive")
    }
}

fn portage() -> SnapshotManifest {
    let repository = SnapshotRepository { name: "r".into(), commit: None, settings: BTreeMap::new() };
    let (portage_profile, profile_repository, nix) = (None, None, None);
    let (main_repository, repositories) = ("r".to_owned(), vec![repository]);
    SnapshotManifest {
        format: FORMAT,
        portage_profile,
        profile_repository,
        main_repository,
        repositories,
        nix,
    }
}

fn nix() -> SnapshotManifest {
    let source =
        NixSource { file: "default.nix".into(), attributes: vec!["a".into()], ..NixSource::default() };
    SnapshotManifest {
        main_repository: String::new(),
        repositories: Vec::new(),
        nix: Some(source),
        ..portage()
    }
}

fn pack(manifest: SnapshotManifest, paths: &[&str]) -> Vec<u8> {
    let mut contents = SnapshotContents::new(manifest).unwrap();
    paths.iter().for_each(|path| contents.add_bytes(path, b"old".to_vec()).unwrap());
    let mut archive = Vec::new();
    contents.write(&mut archive, || {}).unwrap();
    archive
}

pub fn run(input: &[u8]) {
    let Some(archive) = tars::archive(input) else { return };
    let (packed, digest) = (zstd::bulk::compress(&archive, 1).unwrap(), Digest::of(&archive));
    let dir = tempdir().unwrap();
    let whole = dir.path().join("whole");
    let verified = snapshot::verify(&packed[..], digest);
    let unpacked = snapshot::unpack(&packed[..], digest, &whole);
    let Ok(manifest) = verified else {
        assert!(unpacked.is_err(), "unpacked what is refused: {verified:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left behind");
        return;
    };
    assert_eq!(unpacked.unwrap(), manifest);
    assert!(snapshot::verify(&packed[..], Digest::of(b"")).is_err(), "accepted with another digest");
    let tree = tree(&whole);
    check(&whole, &tree, archive.len());
    match differ(dir.path(), &packed, digest) {
        None => {}
        Some((Ok(merged), layer)) => {
            assert_eq!((merged, lay(layer, &Older::get().tree)), (manifest, tree));
        }
        // The data after the marker is not part of a difference.
        Some((Err(error), _)) => {
            assert!(!tars::ends_at_once(&archive), "a difference does not lead there: {error}")
        }
    }
}

/// Checks that there is nothing that the archive does not contain, and that no link leads outside.
fn check(root: &Path, tree: &Tree, length: usize) {
    let size = |(path, at): (&String, &At)| match at {
        At::File(bytes) | At::Link(bytes) => path.len() + bytes.len(),
        At::Whiteout => panic!("{path} is a device"),
    };
    assert!(tree.iter().map(size).sum::<usize>() <= length);
    let root = fs::canonicalize(root).unwrap();
    for path in tree.iter().filter(|(_, at)| matches!(at, At::Link(_))).map(|(path, _)| path) {
        if let Ok(target) = fs::canonicalize(root.join(path)) {
            assert!(target.starts_with(&root), "{path} leads to {}", target.display());
        }
    }
}

/// Unpacks the difference to the older snapshot, if there can be one.
fn differ(
    dir: &Path,
    packed: &[u8],
    digest: Digest,
) -> Option<(Result<SnapshotManifest, SnapshotError>, Tree)> {
    let older = Older::get();
    let mut difference = Vec::new();
    snapshot::difference(&older.archive[..], [packed, packed], &mut difference).ok()?;
    let (archive, at) = (dir.join("difference"), dir.join("merged"));
    fs::write(&archive, difference).unwrap();
    fs::create_dir(&at).unwrap();
    let merged = snapshot::unpack_difference(&[older.path(), archive], digest, &at);
    match merged {
        // Only root can create whiteouts everywhere.
        Err(SnapshotError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            None
        }
        merged => Some((merged, tree(&at.join(LAYER)))),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let long = format!("repos/r/{}", "n".repeat(120));
    let profile = "etc/portage/make.profile/eapi";
    let packed = [
        pack(portage(), &[profile, "repos/r/a"]),
        pack(portage(), &[profile, "repos/r/a/b", &long]),
        pack(nix(), &["source/default.nix", "inputs/n/x"]),
    ];
    let mut archives = packed.map(|archive| zstd::decode_all(&archive[..]).unwrap()).to_vec();
    // After the manifest and the profile, each with a header and one block.
    let mut linked = archives[0].clone();
    linked.splice(4 * 512..4 * 512, raw(b"etc/portage/z", b'2', b"../../repos", b""));
    archives.push(linked);
    archives.into_iter().map(|archive| [&[1], &archive[..]].concat()).collect()
}
