//! Hostile narinfos: each is refused, and for the right reason.

use proptest::prelude::*;
use swarm_formats::nix::{
    keys::SecretKey,
    narinfo::{ContentAddress, NarInfo, NarUrl},
    store_path::StoreDir,
};

const HASH: &str = "vsqpp200i7hamsm5v9sg4hp79s5765n9";
const DIGEST: &str = "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";

/// A valid narinfo with every line that Nix writes.
fn narinfo() -> String {
    let key = SecretKey::generate("swarm-1").unwrap().0;
    let signature = key.sign("anything");
    format!(
        "StorePath: /nix/store/{HASH}-prog\nURL: nar/x.nar.zst\nCompression: zstd\nFileHash: {DIGEST}\n\
         FileSize: 7\nNarHash: {DIGEST}\nNarSize: 616\nReferences: {HASH}-lib {HASH}-prog\n\
         Deriver: {HASH}-prog.drv\nSig: {signature}\nCA: fixed:r:{DIGEST}\n"
    )
}

fn parse(text: &str) -> Result<NarInfo, String> {
    NarInfo::parse(text.as_bytes(), &StoreDir::default()).map_err(|error| error.to_string())
}

#[test]
fn every_hostile_narinfo_is_refused_with_its_reason() {
    let good = narinfo();
    parse(&good).unwrap();
    let signature = good.lines().find(|line| line.starts_with("Sig: ")).unwrap().to_owned();
    let line = |key: &str, value: &str| {
        let old = good.lines().find(|line| line.starts_with(&format!("{key}: "))).unwrap();
        good.replacen(old, &format!("{key}: {value}"), 1)
    };
    let without = |key: &str| -> String {
        good.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{key}: "))).collect()
    };
    let sign = |n: usize| SecretKey::generate(&format!("k{n}")).unwrap().0.sign("x").to_string();
    let signatures: String = (0..40).map(|n| format!("Sig: {}\n", sign(n))).collect();
    let sha512 = DIGEST.replace("sha256", "sha512");
    let table = [
        // Malformed lines.
        ("CRLF", good.replace('\n', "\r\n"), "line 1 contains a control character"),
        ("no last line break", good.trim_end().to_owned(), "line 11 has no line break"),
        ("an empty line", good.replacen('\n', "\n\n", 1), "line 2 is not `Key: value`"),
        ("nothing", String::new(), "`StorePath` is missing"),
        ("an escape", line("URL", "nar/\u{1b}[2Jx"), "line 2 contains a control character"),
        ("NUL", line("URL", "nar/\0x"), "line 2 contains a control character"),
        ("a path twice", format!("{good}StorePath: /nix/store/{HASH}-evil\n"), "line 12 repeats a key"),
        ("a URL twice", format!("{good}URL: nar/evil\n"), "line 12 repeats a key"),
        // Paths.
        (
            "another store",
            line("StorePath", &format!("/gnu/store/{HASH}-prog")),
            "is not directly in `/nix/store`",
        ),
        ("a name only", line("StorePath", &format!("{HASH}-prog")), "is not directly in `/nix/store`"),
        ("below a path", line("StorePath", &format!("/nix/store/{HASH}-prog/bin")), "is not directly in"),
        ("up", line("StorePath", &format!("/nix/store/../{HASH}-prog")), "is not directly in"),
        ("a hash part of 31", line("StorePath", &format!("/nix/store/{}-prog", &HASH[1..])), "32 digits"),
        ("a separator in a name", line("StorePath", &format!("/nix/store/{HASH}-a;1;b")), "not a valid name"),
        ("a space in a name", line("StorePath", &format!("/nix/store/{HASH}-a b")), "not a valid name"),
        ("an absolute reference", line("References", &format!("/nix/store/{HASH}-lib")), "32 digits"),
        ("a comma between", line("References", &format!("{HASH}-a,{HASH}-b")), "not a valid name"),
        ("a reference twice", line("References", &format!("{HASH}-a {HASH}-a")), "is repeated"),
        ("two spaces between", line("References", &format!("{HASH}-a  {HASH}-b")), "32 digits"),
        ("an absolute deriver", line("Deriver", &format!("/nix/store/{HASH}-a.drv")), "32 digits"),
        // Hashes and sizes.
        ("another hash", line("NarHash", &sha512), "not `sha256:`"),
        ("a short hash", line("NarHash", &DIGEST[..40]), "not `sha256:`"),
        ("a bare hash", line("FileHash", &DIGEST[7..]), "not `sha256:`"),
        ("no size", line("NarSize", "0"), "no NAR is empty"),
        ("a sign", line("NarSize", "+616"), "it is not a number"),
        ("a negative size", line("NarSize", "-1"), "it is not a number"),
        ("too large for any", line("NarSize", "18446744073709551616"), "it is not a number"),
        ("a size in words", line("FileSize", "many"), "it is not a number"),
        ("an empty size", line("FileSize", ""), "it is not a number"),
        // URLs and compressions of the NAR.
        (
            "a URL of another cache",
            line("URL", "https://evil.example/x.nar"),
            "it is not a path below the cache",
        ),
        ("a file", line("URL", "file:x"), "it is not a path below the cache"),
        ("an absolute URL", line("URL", "/etc/shadow"), "it is not a path below the cache"),
        ("up in a URL", line("URL", "nar/../../x"), "it is not a path below the cache"),
        ("a space in a URL", line("URL", "nar/x y"), "visible ASCII"),
        ("no URL", line("URL", ""), "visible ASCII"),
        ("a long URL", line("URL", &"x".repeat(1025)), "visible ASCII"),
        ("a compression", line("Compression", "rot13"), "Nix clients do not know it"),
        // Signatures and content addresses.
        ("no key name", line("Sig", "AAAA"), "the name is missing"),
        ("a short signature", line("Sig", "swarm-1:AAAA"), "not 64 bytes in base64"),
        ("many signatures", good.replace(&format!("{signature}\n"), &signatures), "exceeds the limit of 32"),
        ("an unknown content address", line("CA", "trust:me"), "it is not `text:HASH` or `fixed:[r:]HASH`"),
        ("a content address without a hash", line("CA", "fixed:r:sha256:"), "it is not `text:HASH`"),
        ("a content address of an unknown hash", line("CA", "text:crc32:0000000"), "it is not `text:HASH`"),
        ("a content address that goes on", line("CA", &format!("text:{DIGEST}x")), "it is not `text:HASH`"),
        ("much", format!("{good}X: {}\n", "x".repeat(1 << 20)), "its size in bytes exceeds the limit"),
        // Missing keys.
        ("no path", without("StorePath"), "`StorePath` is missing"),
        ("no URL line", without("URL"), "`URL` is missing"),
        ("no hash line", without("NarHash"), "`NarHash` is missing"),
        ("no size line", without("NarSize"), "`NarSize` is missing"),
    ];
    for (what, text, reason) in table {
        let error = parse(&text).expect_err(what);
        assert!(error.contains(reason), "{what}: {error}");
    }
    let error = NarInfo::parse(&[good.as_bytes(), b"X: \xff\n"].concat(), &StoreDir::default()).unwrap_err();
    assert!(error.to_string().contains("line 12 is not UTF-8"), "{error}");
}

#[test]
fn no_value_can_begin_another_line() {
    for bad in ["nar/x\nSig: evil:AAAA", "nar/x\r", "nar/x\u{85}", "nar/x\u{2028}"] {
        assert!(bad.parse::<NarUrl>().is_err(), "{bad:?}");
        assert!(format!("text:{DIGEST}{bad}").parse::<ContentAddress>().is_err(), "{bad:?}");
    }
    assert!(SecretKey::generate("evil\nStorePath").is_err());
    assert!(StoreDir::new("/nix/store\nURL").is_err());
}

#[test]
fn lines_with_other_keys_are_left_out() {
    let good = narinfo();
    let more = format!("System: x86_64-linux\n{good}X-Swarm: evil\nstorepath: /etc\n");
    assert_eq!(parse(&more).unwrap().to_text(&StoreDir::default()), good);
}

#[test]
fn what_need_not_be_there_has_the_meaning_that_nix_gives_it() {
    let dir = StoreDir::default();
    let least = format!("StorePath: /nix/store/{HASH}-a\nURL: a\nNarHash: {DIGEST}\nNarSize: 1\n");
    let info = parse(&least).unwrap();
    assert_eq!(info.compression.name(), "bzip2");
    assert!(info.references.is_empty() && info.deriver.is_none() && info.signatures.is_empty());
    assert!(info.to_text(&dir).contains("\nReferences: \n"));
    assert_eq!(info.fingerprint(&dir), format!("1;/nix/store/{HASH}-a;{DIGEST};1;"));
    assert_eq!(parse(&format!("{least}Deriver: unknown-deriver\nCompression: \n")), Ok(info));
}

proptest! {
    #[test]
    fn what_is_read_of_a_changed_narinfo_is_written_and_read_the_same(
        at in 0usize..600, byte in any::<u8>(), cut in 0usize..3,
    ) {
        let dir = StoreDir::default();
        let mut text = narinfo().into_bytes();
        let at = at % text.len();
        text.splice(at..(at + cut).min(text.len()), [byte]);
        if let Ok(info) = NarInfo::parse(&text, &dir) {
            prop_assert_eq!(NarInfo::parse(info.to_text(&dir).as_bytes(), &dir), Ok(info));
        }
    }
}
