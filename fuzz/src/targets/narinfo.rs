//! Narinfos: an accepted one is written such that it is read back equal, and no value can add lines to the
//! file or to the signed text.

use swarm_formats::nix::{narinfo::NarInfo, store_path::StoreDir};

const HASH: &str = "vsqpp200i7hamsm5v9sg4hp79s5765n9";
const DIGEST: &str = "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";

pub fn run(input: &[u8]) {
    let dir = StoreDir::default();
    let Ok(info) = NarInfo::parse(input, &dir) else { return };
    let text = info.to_text(&dir);
    assert_eq!(NarInfo::parse(text.as_bytes(), &dir).as_ref(), Ok(&info), "{text}");
    let fingerprint = info.fingerprint(&dir);
    assert!(!fingerprint.contains(char::is_control), "{fingerprint:?}");
    let parts: Vec<&str> = fingerprint.splitn(5, ';').collect();
    let [version, path, hash, size, references] = parts[..] else { panic!("{fingerprint}") };
    assert_eq!((version, path, size), ("1", &*dir.absolute(&info.path), &*info.nar.size.to_string()));
    assert_eq!(hash.len(), DIGEST.len());
    assert_eq!(references.split(',').filter(|path| !path.is_empty()).count(), info.references.len());
    // The URL stays below the cache.
    let url = info.url.to_string();
    assert!(!url.starts_with('/') && !url.split(['/', '?', '#']).any(|part| part == ".."), "{url}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let signature = format!("swarm-1:{}==", "A".repeat(86));
    let least =
        format!("StorePath: /nix/store/{HASH}-p\nURL: nar/.n/x.nar\nNarHash: {DIGEST}\nNarSize: 616\n");
    let more = format!(
        "{least}Compression: zstd\nFileHash: {DIGEST}\nFileSize: 7\nReferences: {HASH}-lib {HASH}-p\n\
         Deriver: {HASH}-p.drv\nSig: {signature}\nCA: fixed:r:{DIGEST}\nSystem: x86_64-linux\n"
    );
    vec![least.into(), more.into()]
}
