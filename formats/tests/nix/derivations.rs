//! Derivations that the real Nix instantiates are read and written, and every path in them is computed.

use crate::lab::{Lab, files};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};
use swarm_common::digest::Digest;
use swarm_formats::nix::{
    derivation::{Derivation, VerifyError},
    store_path::{StoreDir, StorePath},
};

/// Every kind of derivation that is supported, and every kind of input.
const EXPRESSIONS: &str = r#"
let
  src = builtins.path { path = ./src; name = "src"; };
  mk = name: extra: derivation ({ inherit name; system = "x86_64-linux"; builder = "${src}/x"; } // extra);
  hashed = algo: mode: mk "${algo}-${mode}" {
    outputHash = builtins.hashString algo "x"; outputHashAlgo = algo; outputHashMode = mode;
  };
  # Two ways to the same file, which those that need it do not tell apart.
  mirror = url: mk "mirrored" {
    inherit url; outputHash = builtins.hashString "sha256" "x"; outputHashAlgo = "sha256";
  };
  fetched = builtins.concatMap (mode: map (algo: hashed algo mode) [ "md5" "sha1" "sha256" "sha512" ]) [ "flat" "recursive" ];
  sri = mk "sri" { outputHashMode = "recursive"; outputHash = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="; };
  text = builtins.toFile "text" "see ${src}";
  multi = mk "multi-1.0" { outputs = [ "out" "dev" "bin" ]; inherit fetched sri; };
  devFirst = mk "dev-first" { outputs = [ "dev" "out" ]; };
  odd = mk "odd+name-1._?=X" {
    args = [ "-e" "q\"uo\\te\n\ttab\r" "ü" "" "\${x}" ];
    latin1 = builtins.readFile ./latin1; empty = ""; "odd key" = true;
  };
  structured = mk "structured" { __structuredAttrs = true; list = [ 1 { a = null; } ]; inherit multi; };
  needsFile = mk "needs-file" { drv = builtins.unsafeDiscardOutputDependency multi.drvPath; };
  needsAll = mk "needs-all" { drv = structured.drvPath; };
  top = mk "top" {
    inherit text odd needsFile needsAll; a = mirror "a"; b = mirror "b"; dev = multi.dev; c = devFirst.dev;
  };
in top
"#;

type Derivations = BTreeMap<StorePath, Vec<u8>>;

/// The derivations of the expressions, as stored in the store of a lab.
fn instantiated(lab: &Lab, dir: &StoreDir) -> Derivations {
    fs::create_dir(lab.path("src")).unwrap();
    fs::write(lab.path("src/x"), "x").unwrap();
    fs::write(lab.path("latin1"), b"caf\xe9").unwrap();
    fs::write(lab.path("all.nix"), EXPRESSIONS).unwrap();
    let physical = if *dir == StoreDir::default() {
        let (store, expressions) = (lab.path("chroot"), lab.path("all.nix"));
        lab.run_in_nix_store(
            "nix-instantiate",
            ["--store".as_ref(), store.as_os_str(), expressions.as_os_str()],
        );
        store.join("nix/store")
    } else {
        lab.run("nix-instantiate", [lab.path("all.nix")]);
        lab.path("store")
    };
    let found = files(&physical, ".drv").into_iter().map(|file| {
        let base = file.file_name().unwrap().to_str().unwrap().parse().unwrap();
        (base, fs::read(file).unwrap())
    });
    found.collect()
}

/// Verifies derivations, inputs first.
fn verify(files: &Derivations, dir: &StoreDir) -> Result<BTreeMap<StorePath, Digest>, VerifyError> {
    let mut open: BTreeMap<_, _> =
        files.iter().map(|(path, text)| (path.clone(), Derivation::parse(text, dir).unwrap())).collect();
    let mut digests = BTreeMap::new();
    while !open.is_empty() {
        let ready: BTreeSet<_> = open
            .iter()
            .filter(|(_, drv)| drv.input_derivations.keys().all(|input| digests.contains_key(input)))
            .map(|(path, _)| path.clone())
            .collect();
        assert!(!ready.is_empty(), "derivations that need each other or something missing: {open:?}");
        for path in ready {
            let derivation = open.remove(&path).unwrap();
            let digest = derivation.verify(&path, dir, |input| digests.get(input).copied())?;
            digests.insert(path, digest);
        }
    }
    Ok(digests)
}

#[test]
fn every_derivation_of_nix_is_written_again_in_the_same_bytes_and_all_its_paths_are_computed() {
    let lab = Lab::new();
    let dir = StoreDir::default();
    let files = instantiated(&lab, &dir);
    // 8 fetched, sri, 2 mirrors, multi, devFirst, odd, structured, needsFile, needsAll, top.
    assert_eq!(files.len(), 18);
    for (path, text) in &files {
        let derivation = Derivation::parse(text, &dir).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(derivation.to_bytes(&dir) == *text, "{path} is written in other bytes");
    }
    verify(&files, &dir).unwrap();
}

#[test]
fn paths_are_those_of_the_store_directory() {
    let lab = Lab::new();
    let dir = StoreDir::new(lab.path("store").to_str().unwrap()).unwrap();
    let files = instantiated(&lab, &dir);
    verify(&files, &dir).unwrap();
    let text = files.values().next().unwrap();
    assert!(Derivation::parse(text, &StoreDir::default()).is_err(), "paths of another store were read");
}

#[test]
fn what_a_derivation_says_is_read() {
    let lab = Lab::new();
    let dir = StoreDir::default();
    let files = instantiated(&lab, &dir);
    let named = |name: &str| {
        let (_, text) = files.iter().find(|(path, _)| path.derivation_name() == Some(name)).unwrap();
        Derivation::parse(text, &dir).unwrap()
    };
    let odd = named("odd+name-1._?=X");
    assert_eq!(odd.system, "x86_64-linux");
    assert_eq!(odd.args, ["-e", "q\"uo\\te\n\ttab\r", "ü", "", "${x}"].map(|arg| arg.as_bytes().to_vec()));
    assert_eq!(odd.env["latin1"], b"caf\xe9");
    assert_eq!(odd.outputs["out"].fixed, None);
    let sources: Vec<_> = odd.input_sources.iter().map(StorePath::name).collect();
    assert_eq!(sources, ["src"]);
    let fixed = named("sha1-recursive").outputs["out"].fixed.clone().unwrap();
    assert_eq!(
        (fixed.kind(), fixed.hex()),
        ("r:sha1".to_owned(), "11f6ad8ec52a2984abaafd7c3b516503785c2072".to_owned())
    );
    let top = named("top");
    let used = |name: &str| {
        let (_, outputs) =
            top.input_derivations.iter().find(|(path, _)| path.derivation_name() == Some(name)).unwrap();
        outputs.iter().map(String::as_str).collect::<Vec<_>>()
    };
    assert_eq!((used("multi-1.0"), used("needs-all")), (vec!["dev"], vec!["out"]));
}

#[test]
fn a_derivation_with_a_path_that_does_not_follow_from_it_is_not_believed() {
    let lab = Lab::new();
    let dir = StoreDir::default();
    let files = instantiated(&lab, &dir);
    let digests = verify(&files, &dir).unwrap();
    let (path, text) = files.iter().find(|(path, _)| path.derivation_name() == Some("multi-1.0")).unwrap();
    let good = Derivation::parse(text, &dir).unwrap();
    let inputs = |input: &StorePath| digests.get(input).copied();
    let other = files.keys().next().unwrap();
    // The path is computed from the changed text, so that only the change itself is wrong.
    let error_after = |lie: &dyn Fn(&mut Derivation)| {
        let mut derivation = good.clone();
        lie(&mut derivation);
        let path = derivation.path("multi-1.0", &dir).unwrap();
        derivation.verify(&path, &dir, inputs).unwrap_err()
    };
    let error = error_after(&|drv| drv.outputs.get_mut("dev").unwrap().path = other.clone());
    assert!(matches!(error, VerifyError::Output { output, .. } if output == "dev"));
    let error = error_after(&|drv| drv.args.push(b"evil".to_vec()));
    assert!(matches!(error, VerifyError::Output { .. }));
    let error = error_after(&|drv| drv.env.insert("dev".to_owned(), b"/etc".to_vec()).map_or((), drop));
    assert_eq!(error, VerifyError::Environment("dev".to_owned()));
    let out = BTreeSet::from(["out".to_owned()]);
    let error = error_after(&|drv| drv.input_derivations.insert(path.clone(), out.clone()).map_or((), drop));
    assert!(matches!(error, VerifyError::Output { .. }));
    let error = good.verify(other, &dir, inputs).unwrap_err();
    assert!(matches!(error, VerifyError::Path { .. }));
    let error = good.verify(path, &dir, |_| None).unwrap_err();
    assert!(matches!(error, VerifyError::Input(_)));
    let source = good.input_sources.first().unwrap();
    assert_eq!(good.verify(source, &dir, inputs), Err(VerifyError::NotDerivation(source.clone())));
}
