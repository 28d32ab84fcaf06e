//! Differential test: intake must accept exactly what the real Portage and Python's tarfile can read.
//! Handmade packages and thousands of mutated ones are given to intake and to a reference (`reference.py`),
//! which must agree about each.
//!
//! `SWARM_DIFFERENTIAL_SECONDS=600 cargo test -p swarm-formats --test verdicts -- --nocapture`
//! runs for ten minutes; `SWARM_DIFFERENTIAL_SEED` sets the first seed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../forge/mod.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod forge;
mod model;
mod mutate;
mod reference;
mod table;

use model::Model;
use reference::{Reference, Verdict};
use std::{
    io::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};
use swarm_common::digest::Digest;
use swarm_formats::{
    archive::digests::FileHasher,
    portage::{
        gpkg::{self, GpkgError, Limits},
        packages_index::{Entry, EntryError, PublishedFile},
    },
};

/// Number of packages in the short run.
const PACKAGES: u64 = 3000;

/// Intake's result for a package, in the format of the reference.
fn intake(package: &[u8]) -> Result<String, GpkgError> {
    let found = gpkg::verify_stamped(package, &Limits::default(), 1_800_000_000)?;
    let (image, paths) = (&found.image, Digest::of(&found.image.paths));
    Ok(format!("{} {} {paths}", image.entries, image.bytes))
}

/// Describes how the two results differ. `None` if they do not.
fn difference(ours: &Result<String, GpkgError>, theirs: &Verdict) -> Option<String> {
    match (ours, theirs) {
        (Err(_), Err(_)) => None,
        (Ok(ours), Ok(theirs)) if ours == theirs => None,
        _ => Some(format!("intake: {ours:?}; reference: {theirs:?}")),
    }
}

// fault: 29
#[test]
fn each_made_package_is_taken_or_refused_by_its_kind_and_the_reference_agrees() {
    let mut reference = Reference::start();
    let mut wrong = Vec::new();
    for table::Row(what, package, kind) in table::rows() {
        let ours = intake(&package);
        let found = ours.as_ref().err().map(GpkgError::kind);
        // An empty kind stands for any kind, because decompressors differ in what they report first.
        if found.is_some() != kind.is_some()
            || kind.is_some_and(|kind| !kind.is_empty() && found != Some(kind))
        {
            wrong.push(format!("{what}: expected {kind:?}: {ours:?}"));
        }
        if let Some(difference) = difference(&ours, &reference.of(&package)) {
            wrong.push(format!("{what}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// fault: 29
#[test]
fn intake_and_the_reference_agree_about_mutated_packages() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("SWARM_DIFFERENTIAL_SEED").unwrap_or(1);
    let until = number("SWARM_DIFFERENTIAL_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let mut reference = Reference::start();
    let (mut tried, mut taken, mut differ) = (0, 0, Vec::new());
    while until.map_or(tried < PACKAGES, |until| Instant::now() < until) && differ.len() < 20 {
        let package = mutate::package(seed + tried, Model::of("1"));
        let ours = intake(&package);
        if let Some(difference) = difference(&ours, &reference.of(&package)) {
            differ.push(format!("seed {}: {difference}", seed + tried));
        }
        (tried, taken) = (tried + 1, taken + u64::from(ours.is_ok()));
    }
    println!("{tried} packages tried, {taken} taken, {} refused, {} differing", tried - taken, differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    // The generator must produce enough valid and enough invalid packages.
    assert!(taken * 10 > tried && taken * 10 < tried * 9, "{taken} of {tried} were taken");
}

/// A program that installs the image of a package as a workstation with this `BINPKG_COMPRESS` does.
const INSTALL: &str = r#"
import os, sys, tempfile
from portage.gpkg import gpkg

class Settings(dict):
    features = frozenset(["binpkg-ignore-signature"])

    def environ(self):
        return dict(os.environ)

settings = Settings(BINPKG_COMPRESS=sys.argv[2], PORTAGE_BZIP2_COMMAND="bzip2", MAKEOPTS="-j1")
with tempfile.TemporaryDirectory() as root:
    gpkg(settings, gpkg_file=sys.argv[1]).decompress(root)
"#;

#[test]
fn an_uncompressed_image_is_refused_as_portage_installs_it_only_where_it_does_not_compress_itself() {
    let image = Model::new().archive();
    let plain = table::with_image("", image.clone());
    let packed = table::with_image(".zst", zstd::encode_all(&image[..], 1).unwrap());
    assert_eq!(intake(&plain).unwrap_err().kind(), "unsupported-compressor");
    intake(&packed).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (package, compressed) in [(plain, false), (packed, true)] {
        let file = folder.path().join("package.gpkg.tar");
        std::fs::write(&file, package).unwrap();
        for how in ["none", "zstd", "xz", "bzip2", "gzip", "lz4"] {
            let ran = reference::python().args(["-c", INSTALL]).arg(&file).arg(how).output().unwrap();
            let is_installed = compressed || how == "none";
            assert_eq!(ran.status.success(), is_installed, "compressed: {compressed}, {how}: {ran:?}");
        }
    }
}

/// A program that prints, for each package of an index, the CHOST and the repository that Portage reads, and those
/// that it reads after it has written the index itself, as it does with its copy of a host's index.
const READ: &str = r#"
import io, sys
import portage
from portage.dbapi.bintree import binarytree

tree = binarytree(pkgdir=sys.argv[1], settings=portage.settings)
text = sys.stdin.read()
for _ in range(2):
    index, kept = tree._new_pkgindex(), io.StringIO()
    index.read(io.StringIO(text))
    print(*(f"{p['CPV']}={p['CHOST']},{p['repository']}" for p in index.packages))
    index.write(kept)
    text = kept.getvalue()
"#;

#[test]
fn a_package_without_machine_or_repository_is_refused_as_portage_would_take_those_of_the_index() {
    let metadata = gpkg::verify_stamped(&Model::new().build()[..], &Limits::default(), 1_800_000_000);
    let metadata = metadata.unwrap().metadata;
    let file = PublishedFile { path: "x".to_owned(), digests: FileHasher::default().finish(), mtime: 1 };
    Entry::new(&metadata, &file).unwrap();
    for key in ["CATEGORY", "PF", "CHOST", "repository"] {
        let mut without = metadata.clone();
        without.0.remove(key);
        assert_eq!(Entry::new(&without, &file), Err(EntryError(key)));
    }

    let index = "CHOST: m\nPACKAGES: 3\nVERSION: 0\nrepository: r\n\nCPV: a/a-1\nPATH: a\n\n\
        CHOST: o\nCPV: a/b-1\nPATH: b\nREPO: s\n\nCHOST: \nCPV: a/c-1\nPATH: c\nREPO: \n\n";
    let folder = tempfile::tempdir().unwrap();
    let mut python = reference::python();
    python.args(["-c", READ]).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(index.as_bytes()).unwrap();
    let read = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(read, "a/a-1=m,r a/b-1=o,s a/c-1=,\na/a-1=m,r a/b-1=o,s a/c-1=m,r\n");
}
