//! Binary caches: what the real Nix writes is read and signed identically here, and what is written here can
//! be fetched by the real Nix.

use crate::lab::{Lab, fed, files, lines};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Output,
};
use swarm_common::{digest::Digest, secret::Secret};
use swarm_formats::nix::{
    keys::{PublicKey, SecretKey},
    nar::{NarLimits, NarReader, References, dump},
    narinfo::{Compression, NarInfo},
    store_path::{StoreDir, StorePath},
};

/// Paths that refer to nothing, to others and to themselves: in a file, a link and a name.
const EXPRESSIONS: &str = r#"
let
  mk = name: script: extra: derivation ({
    inherit name; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
    args = [ "-e" "-c" script ];
  } // extra);
  text = builtins.toFile "text" "plain";
  lib = mk "lib-1.0" "mkdir $out; cat $text > $out/l" { inherit text; };
  linked = mk "linked" "ln -s $lib/l $out" { inherit lib; };
  named = mk "named" "mkdir $out; touch $out/$(basename $lib)" { inherit lib; };
in mk "prog-2.0" ''
  mkdir -p $out/bin
  head -c 65520 /dev/zero > $out/bin/prog; echo "$out $linked" >> $out/bin/prog; chmod +x $out/bin/prog
  echo "$named" > $doc
'' { inherit linked named lib; outputs = [ "out" "doc" ]; }
"#;

/// A key made by Nix, as text and parsed.
fn key_of_nix(lab: &Lab, name: &str) -> (String, SecretKey) {
    let text = String::from_utf8(lab.run("nix", ["key", "generate-secret", "--key-name", name])).unwrap();
    let key = SecretKey::parse(&Secret::new(&text)).unwrap();
    (text, key)
}

#[test]
fn keys_of_nix_and_ours_have_the_same_public_key_in_both() {
    let lab = Lab::new();
    let (theirs, key) = key_of_nix(&lab, "swarm-1");
    let (ours, text) = SecretKey::generate("swarm-2").unwrap();
    for (text, key) in [(theirs.as_str(), key), (text.expose(), ours)] {
        let public = lab.feed("nix", ["key", "convert-secret-to-public"], text.as_bytes());
        assert_eq!(lines(&public), [key.public().to_string()]);
    }
}

#[test]
fn what_nix_writes_into_a_cache_is_read_and_would_be_signed_alike() {
    let lab = Lab::new();
    let dir = StoreDir::new(lab.path("store").to_str().unwrap()).unwrap();
    fs::write(lab.path("all.nix"), EXPRESSIONS).unwrap();
    let drv = lines(&lab.run("nix-instantiate", [lab.path("all.nix")])).remove(0);
    lab.run("nix-store", ["--realise", &drv]);
    let (secret, key) = key_of_nix(&lab, "swarm-1");
    fs::write(lab.path("key"), secret).unwrap();
    let cache = lab.path("binary-cache");
    let to = format!("file://{}?compression=none&secret-key={}", cache.display(), lab.path("key").display());
    let mut copy = vec!["copy".to_owned(), "--to".to_owned(), to.clone()];
    copy.extend(lines(&lab.run("nix-store", ["--query", "--outputs", &drv])));
    lab.run("nix", copy);
    lab.run("nix", ["copy", "--derivation", "--to", &to, &drv]);

    let infos: Vec<_> = files(&cache, ".narinfo").iter().map(|file| fs::read(file).unwrap()).collect();
    let read: Vec<_> = infos.iter().map(|text| NarInfo::parse(text, &dir).unwrap()).collect();
    let all: Vec<StorePath> = read.iter().map(|info| info.path.clone()).collect();
    for (text, info) in infos.iter().zip(&read) {
        assert_eq!(info.to_text(&dir).as_bytes(), text, "{} is written in another way", info.path);
        assert!(info.is_signed_by(&[key.public()], &dir), "{} is not signed", info.path);
        let mut signed = info.clone();
        signed.signatures.clear();
        signed.sign(&key, &dir);
        assert_eq!(signed.signatures, info.signatures);

        let file = cache.join(info.url.to_string());
        let (digest, size) = Digest::of_all(File::open(&file).unwrap()).unwrap();
        assert_eq!((info.file_hash, info.file_size), (Some(digest), Some(size)));
        let nar = NarReader::scanning(File::open(&file).unwrap(), NarLimits::default(), References::to(&all));
        let summary = nar.finish().unwrap();
        assert_eq!(summary.sum, info.nar, "{}", info.path);
        // According to Nix, the file of a derivation refers to all paths that it names except its outputs.
        if info.path.derivation_name().is_none() {
            assert_eq!(summary.references, info.references, "{}", info.path);
        }
    }
    let count = |has: fn(&NarInfo) -> bool| read.iter().filter(|info| has(info)).count();
    // These are text, lib, linked, named, prog, the doc of prog, and the derivations of four of them.
    assert_eq!(read.len(), 10);
    assert_eq!(count(|info| info.deriver.is_some()), 5);
    assert_eq!(count(|info| info.references.contains(&info.path)), 1);
    assert_eq!(count(|info| info.content_address.is_some()), 5);
}

/// A cache written here, with a path `lib` and a path `app` that refers to `lib` and to itself.
struct Cache {
    folder: PathBuf,
    key: SecretKey,
    lib: StorePath,
    app: StorePath,
}

impl Cache {
    fn new(lab: &Lab) -> Self {
        let dir = StoreDir::default();
        let folder = lab.path("ours");
        fs::create_dir_all(folder.join("nar")).unwrap();
        fs::write(folder.join("nix-cache-info"), "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n")
            .unwrap();
        let [lib, app] =
            ["lib", "app"].map(|name| dir.output_path(name, "out", &Digest::of(name.as_bytes())).unwrap());
        let (key, _) = SecretKey::generate("swarm-1").unwrap();
        fs::write(lab.path("lib"), "library").unwrap();
        fs::create_dir(lab.path("app")).unwrap();
        fs::write(lab.path("app/names"), format!("{} {}", dir.absolute(&lib), dir.absolute(&app))).unwrap();
        symlink("names", lab.path("app/link")).unwrap();
        let cache = Self { folder, key, lib, app };
        cache.publish(&lab.path("lib"), &cache.lib, &dir);
        cache.publish(&lab.path("app"), &cache.app, &dir);
        cache
    }

    fn publish(&self, tree: &Path, path: &StorePath, dir: &StoreDir) {
        let (bytes, nar) = dump(tree, Vec::new()).unwrap();
        let references = References::to([&self.lib, &self.app]);
        let summary =
            NarReader::scanning(bytes.as_slice(), NarLimits::default(), references).finish().unwrap();
        let url = format!("nar/{}.nar", path.hash_part());
        fs::write(self.folder.join(&url), bytes).unwrap();
        let mut info = NarInfo {
            path: path.clone(),
            url: url.parse().unwrap(),
            compression: Compression::None,
            file_hash: Some(nar.hash),
            file_size: Some(nar.size),
            nar,
            references: summary.references,
            deriver: None,
            signatures: BTreeSet::new(),
            content_address: None,
        };
        info.sign(&self.key, dir);
        fs::write(self.info(path), info.to_text(dir)).unwrap();
    }

    fn info(&self, path: &StorePath) -> PathBuf {
        self.folder.join(format!("{}.narinfo", path.hash_part()))
    }

    /// Makes a new client that trusts `key` fetch the app.
    fn fetch(&self, lab: &Lab, client: &str, key: &PublicKey) -> Output {
        let mut command = lab.command_in_nix_store("nix-store");
        command.env("XDG_CACHE_HOME", lab.path(&format!("{client}-cache")));
        command.args(["--realise", &StoreDir::default().absolute(&self.app), "--max-jobs", "0"]);
        command.arg("--store").arg(lab.path(client));
        command.args(["--option", "substituters", &format!("file://{}", self.folder.display())]);
        command.args(["--option", "trusted-public-keys", &key.to_string()]);
        fed(&mut command, b"")
    }
}

#[test]
fn nix_fetches_what_we_sign_with_all_that_it_refers_to() {
    let lab = Lab::new();
    let cache = Cache::new(&lab);
    let fetched = cache.fetch(&lab, "client", &cache.key.public());
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    for (tree, path) in [("lib", &cache.lib), ("app", &cache.app)] {
        let there = lab.path("client/nix/store").join(path.as_str());
        assert!(dump(&there, Vec::new()).unwrap().0 == dump(&lab.path(tree), Vec::new()).unwrap().0);
    }
}

#[test]
fn what_nix_refuses_for_its_signature_we_refuse_as_well() {
    let lab = Lab::new();
    let cache = Cache::new(&lab);
    let dir = StoreDir::default();
    let good = fs::read_to_string(cache.info(&cache.app)).unwrap();
    let info = NarInfo::parse(good.as_bytes(), &dir).unwrap();
    let stranger = SecretKey::generate("swarm-1").unwrap().0;
    let unsigned: String = good.split_inclusive('\n').filter(|line| !line.starts_with("Sig: ")).collect();
    let other_size = good.replace(&format!("NarSize: {}", info.nar.size), "NarSize: 8");
    let fewer = good.replace(&format!(" {}", cache.lib), "").replace(&format!("{} ", cache.lib), "");
    for (client, text, key) in [
        ("unsigned", &unsigned, cache.key.public()),
        ("size", &other_size, cache.key.public()),
        ("references", &fewer, cache.key.public()),
        ("stranger", &good, stranger.public()),
    ] {
        fs::write(cache.info(&cache.app), text).unwrap();
        let fetched = cache.fetch(&lab, client, &key);
        let stderr = String::from_utf8_lossy(&fetched.stderr);
        assert!(!fetched.status.success() && stderr.contains("sign"), "{client}: {stderr}");
        let info = NarInfo::parse(text.as_bytes(), &dir).unwrap();
        assert!(!info.is_signed_by(&[key], &dir), "{client}");
    }
}
