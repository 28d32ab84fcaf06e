//! Hostile derivations: each is refused, and for the right reason.

use proptest::prelude::*;
use swarm_formats::nix::{derivation::Derivation, store_path::StoreDir};

const HASH: &str = "vsqpp200i7hamsm5v9sg4hp79s5765n9";

fn derivation() -> String {
    format!(r#"Derive([("dev","/nix/store/{HASH}-p-dev","",""),("out","/nix/store/{HASH}-p","","")],"#)
        + &format!(r#"[("/nix/store/{HASH}-a.drv",["dev","out"]),("/nix/store/{HASH}-b.drv",["out"])],"#)
        + &format!(r#"["/nix/store/{HASH}-s"],"x86_64-linux","/bin/sh",["-e","a\nb"],[("a","1"),("b","2")])"#)
}

#[test]
fn every_hostile_derivation_is_refused_with_its_reason() {
    let good = derivation();
    let dir = StoreDir::default();
    let parsed = Derivation::parse(good.as_bytes(), &dir).unwrap();
    assert_eq!(parsed.to_bytes(&dir), good.as_bytes());
    let with = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        good.replacen(old, new, 1).into_bytes()
    };
    let output = |path: &str, kind: &str, hash: &str| {
        with(
            &format!(r#"("out","/nix/store/{HASH}-p","","")"#),
            &format!(r#"("out","{path}","{kind}","{hash}")"#),
        )
    };
    let path = format!("/nix/store/{HASH}-p");
    let many = format!("[{}\"1\"]", "\"\",".repeat(500_001));
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "does not start with `Derive(`"),
        ("another format", b"Agda()".to_vec(), "does not start with `Derive(`"),
        ("dynamic", b"DrvWithVersion(\"xp-dyn-drv\",[])".to_vec(), "a dynamic derivation"),
        ("more", [good.as_bytes(), b" "].concat(), "trailing data"),
        ("no outputs", with(&good[7..good.find("],").unwrap() + 1], "[]"), "it has no outputs"),
        ("a space", with(",[", ", ["), "a list was expected"),
        ("an open list", with("\"out\"])", "\"out\")"), "`,` was expected"),
        ("no string", with("\"x86_64-linux\"", "x"), "a string was expected"),
        ("must be UTF-8", [&good.as_bytes()[..good.len() - 9], b"\xff\",\"2\")])"].concat(), "must be UTF-8"),
        // Readers may disagree about these.
        ("a variable twice", with(r#"("b","2")"#, r#"("a","2")"#), "not written as Nix writes it"),
        (
            "unsorted",
            with(r#"("a","1"),("b","2")"#, r#"("b","2"),("a","1")"#),
            "not written as Nix writes it",
        ),
        ("an input twice", with(&format!("{HASH}-b.drv"), &format!("{HASH}-a.drv")), "not written as Nix"),
        ("an escape that is none", with("\"-e\"", "\"\\-e\""), "not written as Nix writes it"),
        ("a bare line break", with("a\\nb", "a\nb"), "not written as Nix writes it"),
        // Paths and names.
        ("another store", with("/nix/store/", "/gnu/store/"), "is not directly in `/nix/store`"),
        ("up", output("/nix/store/../../etc/passwd", "", ""), "is not directly in `/nix/store`"),
        ("an output that leads elsewhere", with("\"dev\",\"/nix", "\"../dev\",\"/nix"), "not a valid name"),
        ("an input's output", with("[\"dev\",\"out\"]", "[\"dev\",\"o t\"]"), "not a valid name"),
        // Kinds of outputs.
        ("content-addressed", output("", "r:sha256", ""), "`out` is content-addressed without a fixed hash"),
        ("deferred", output("", "", ""), "`out` is deferred, because an input is content-addressed"),
        ("impure", output("", "r:sha256", "impure"), "`out` is impure"),
        ("a short hash", output(&path, "sha256", "abcd"), "fixed by a hash other than"),
        ("an unknown hash", output(&path, "crc32", "abcdabcd"), "fixed by a hash other than"),
        ("a hash without a kind", output(&path, "", "abcd"), "a hash but no kind"),
        ("a hash in capitals", output(&path, "md5", &"AB".repeat(16)), "not written as Nix writes it"),
        // Limits that are exceeded.
        (
            "many strings",
            with("[\"-e\",\"a\\nb\"]", &many),
            "the number of its strings exceeds the limit of 500000",
        ),
        (
            "large",
            with("\"2\"", &format!("\"{}\"", "x".repeat(32 << 20))),
            "its size in bytes exceeds the limit",
        ),
    ];
    for (what, text, reason) in table {
        let error = Derivation::parse(&text, &dir).expect_err(what).to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
    for end in 0..good.len() {
        assert!(Derivation::parse(&good.as_bytes()[..end], &dir).is_err(), "cut off at {end}");
    }
}

proptest! {
    #[test]
    fn a_changed_derivation_is_read_only_if_it_is_written_in_the_same_bytes(
        at in 0usize..600, byte in any::<u8>(), cut in 0usize..3,
    ) {
        let dir = StoreDir::default();
        let mut text = derivation().into_bytes();
        let at = at % text.len();
        text.splice(at..(at + cut).min(text.len()), [byte]);
        if let Ok(derivation) = Derivation::parse(&text, &dir) {
            prop_assert_eq!(derivation.to_bytes(&dir), text);
        }
    }
}
