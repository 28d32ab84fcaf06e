//! Derivations: only the canonical text is accepted, and computed paths are the ones that verification
//! accepts.

use swarm_common::digest::Digest;
use swarm_formats::nix::{derivation::Derivation, store_path::StoreDir};

const HASH: &str = "vsqpp200i7hamsm5v9sg4hp79s5765n9";

pub fn run(input: &[u8]) {
    let dir = StoreDir::default();
    let Ok(read) = Derivation::parse(input, &dir) else { return };
    assert_eq!(read.to_bytes(&dir), input);
    let strings = 3 * (read.env.len() + read.args.len() + read.input_sources.len() + read.outputs.len());
    assert!(strings <= input.len());
    // Verified with the computed paths; refused with another argument.
    let inputs = |_: &_| Some(Digest::of(b"input"));
    let mut right = read;
    right.env.extend(right.outputs.keys().map(|name| (name.clone(), Vec::new())));
    let masked = right.clone();
    let Ok(paths) = masked.output_paths("p", &dir, inputs) else { return };
    for (name, path) in paths {
        right.env.insert(name.to_owned(), dir.absolute(&path).into_bytes());
        right.outputs.get_mut(name).unwrap().path = path;
    }
    let path = right.path("p", &dir).unwrap();
    right.verify(&path, &dir, inputs).unwrap();
    assert_eq!(Derivation::parse(&right.to_bytes(&dir), &dir).as_ref(), Ok(&right));
    right.args.push(b"more".to_vec());
    assert!(right.verify(&path, &dir, inputs).is_err());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let digest = "0".repeat(64);
    let fixed = format!(
        r#"Derive([("out","/nix/store/{HASH}-p","r:sha256","{digest}")],[],[],"x86_64-linux","/b",[],[])"#
    );
    let full =
        format!(r#"Derive([("dev","/nix/store/{HASH}-p-dev","",""),("out","/nix/store/{HASH}-p","","")],"#)
            + &format!(r#"[("/nix/store/{HASH}-a.drv",["dev","out"]),("/nix/store/{HASH}-b.drv",["out"])],"#)
            + &format!(
                r#"["/nix/store/{HASH}-s"],"x86_64-linux","/bin/sh",["-e","a\nb"],[("a","1"),("b","\"")])"#
            );
    vec![fixed.into(), full.into()]
}
