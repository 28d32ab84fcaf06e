//! Flakes without network access.

use crate::lab::{Lab, package};
use std::process::Command;
use swarm_drone::builder::BuildEnd;
use swarm_formats::nix::{hash, nar::dump};

const FLAKE: &str = r#"{
  inputs.names = { url = "github:nobody/names"; };
  outputs = { self, names }:
    let
      seed = builtins.path { path = ./seed; name = "seed"; };
      tool = name: derivation {
        inherit name;
        system = "x86_64-linux";
        builder = "${seed}/bin/sh";
        args = [ "-c" "echo of ${self.rev or "none"} at ${self.lastModifiedDate}, ${names.rev or "none"} dated ${names.lastModifiedDate or "never"} > $out" ];
      };
    in {
      packages.x86_64-linux.tool = tool names.name;
      packages.x86_64-linux.broken = throw "not this one";
      nixosConfigurations.oak.config.system.build.toplevel = tool "nixos-system-oak";
    };
}"#;
const NAMES: &str = r#"{ outputs = { self }: { name = "named-by-the-input"; }; }"#;
const MANIFEST: &str = r#"{"flake": true, "file": "flake.nix",
    "attributes": ["packages.x86_64-linux.tool", "packages.x86_64-linux.broken"], "hosts": ["oak"]}"#;

fn lab() -> Lab {
    let lab = Lab::with_manifest(MANIFEST);
    lab.file("source/flake.nix", FLAKE).file("inputs/names/flake.nix", NAMES);
    lab
}

#[tokio::test]
async fn a_flake_and_its_hosts_are_planned_with_an_input_from_the_snapshot() {
    let (lab, other) = (lab(), lab());
    let plan = lab.plan().await;
    assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
    assert!(plan.problems[0].message.starts_with("not this one"), "{:?}", plan.problems);
    let tool = package(&plan, "named-by-the-input");
    let roots: Vec<_> = plan.roots.iter().map(|root| (root.attribute.as_str(), root.host)).collect();
    assert_eq!(roots, [("packages.x86_64-linux.tool", false), ("oak", true)]);
    assert_eq!(plan.roots[0].path, tool.outputs[0].path);
    assert_eq!(other.plan().await, plan, "the plan depends on when or where the snapshot was unpacked");
    let (end, log, _) = lab.build(tool, Vec::new()).await;
    assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
}

fn lock(lab: &Lab, original: &str, locked: &str) {
    let (_, sum) = dump(&lab.path("snapshot/inputs/names"), std::io::sink()).unwrap();
    let hash = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command", "hash", "to-sri", &hash::to_text(&sum.hash)])
        .env("HOME", lab.path("home"))
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let lock = format!(
        r#"{{"nodes": {{"names": {{"locked": {{{locked}, "narHash": "{}"}}, "original": {{{original}}}}},
            "root": {{"inputs": {{"names": "names"}}}}}}, "root": "root", "version": 7}}"#,
        hash.trim()
    );
    lab.file("source/flake.lock", &lock);
}

/// The derivation of `named-by-the-input`, as Nix wrote it.
async fn derivation(lab: &Lab) -> String {
    let plan = lab.plan().await;
    assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
    let drv = package(&plan, "named-by-the-input").drv.clone().unwrap();
    std::fs::read_to_string(lab.path("cache/nix/evaluation").join(&drv[1..])).unwrap()
}

#[tokio::test]
async fn a_locked_input_of_each_kind_keeps_its_commit_and_its_date() {
    let rev = "0123456789012345678901234567890123456789";
    for (input, original, locked, dir) in [
        (
            r#"{ url = "github:nobody/names"; }"#,
            r#""type": "github", "owner": "nobody", "repo": "names""#,
            format!(r#""type": "github", "owner": "nobody", "repo": "names", "rev": "{rev}""#),
            "",
        ),
        (
            r#"{ url = "git+https://host.invalid/a%2Bb/names?ref=main&submodules=1"; }"#,
            r#""type": "git", "url": "https://host.invalid/a%2Bb/names", "ref": "main", "submodules": true"#,
            format!(
                r#""type": "git", "url": "https://host.invalid/a%2Bb/names", "ref": "main", "submodules": true,
                    "rev": "{rev}", "revCount": 3"#
            ),
            "",
        ),
        (
            r#"{ url = "https://host.invalid/names.tar.gz?x=1"; }"#,
            r#""type": "tarball", "url": "https://host.invalid/names.tar.gz?x=1""#,
            r#""type": "tarball", "url": "https://host.invalid/names.tar.gz?x=1""#.to_owned(),
            "",
        ),
        (
            // Nix 2.8 does not accept this as a URL.
            r#"{ type = "path"; path = "/nowhere/names"; dir = "sub"; }"#,
            r#""type": "path", "path": "/nowhere/names", "dir": "sub""#,
            format!(r#""type": "path", "path": "/nowhere/names", "dir": "sub", "rev": "{rev}""#),
            "sub/",
        ),
    ] {
        let lab = Lab::with_manifest(MANIFEST);
        lab.file("source/flake.nix", &FLAKE.replace(r#"{ url = "github:nobody/names"; }"#, input));
        lab.file(&format!("inputs/names/{dir}flake.nix"), NAMES);
        // Nix 2.8 does not know the date of a tarball.
        let is_dated = !input.contains(".tar.gz");
        let date = if is_dated { r#""lastModified": 1700000000, "# } else { "" };
        lock(&lab, original, &format!("{date}{locked}"));
        let text = derivation(&lab).await;
        assert_eq!(text.contains(rev), locked.contains(rev), "{input}: {text}");
        assert_eq!(text.contains("dated 20231114221320"), is_dated, "{input}: {text}");
    }
}

#[tokio::test]
async fn a_flake_knows_its_commit_and_date_unless_the_lock_is_newer() {
    let rev = "0123456789012345678901234567890123456789";
    let dated = format!(r#"{{"modified": 1700000000, "commit": "{rev}", "#);
    for (more, expected) in [
        (dated.clone(), format!("of {rev} at 20231114221320")),
        (dated + r#""relocked": true, "#, "of none at 20231114221320".to_owned()),
        (r#"{"modified": 1700000000, "#.to_owned(), "of none at 20231114221320".to_owned()),
        // For an old snapshot, the date is unknown.
        (format!(r#"{{"commit": "{rev}", "#), "of none at 19700101000000".to_owned()),
    ] {
        let lab = Lab::with_manifest(&MANIFEST.replacen('{', &more, 1));
        lab.file("source/flake.nix", FLAKE).file("inputs/names/flake.nix", NAMES);
        let names = r#""type": "github", "owner": "nobody", "repo": "names""#;
        lock(&lab, names, &format!(r#"{names}, "rev": "{}", "lastModified": 7"#, "a".repeat(40)));
        let text = derivation(&lab).await;
        assert!(text.contains(&expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn an_attribute_that_names_an_output_leads_to_that_output() {
    let lab = Lab::with_manifest(
        r#"{"flake": true, "file": "flake.nix",
            "attributes": ["packages.x86_64-linux.multi.dev", "packages.x86_64-linux.multi"]}"#,
    );
    lab.file(
        "source/flake.nix",
        r#"{ outputs = { self }: let multi = derivation {
            name = "multi"; system = "x86_64-linux"; builder = "/bin/sh"; outputs = [ "out" "dev" ];
        };
        # As nixpkgs says it.
        in { packages.x86_64-linux.multi = multi // { dev = multi.dev // { outputSpecified = true; }; }; }; }"#,
    );
    let plan = lab.plan().await;
    assert_eq!(plan.problems, []);
    let path = |name: &str| {
        let outputs = &package(&plan, "multi").outputs;
        outputs.iter().find(|output| output.name == name).unwrap().path.clone()
    };
    let roots: Vec<&str> = plan.roots.iter().map(|root| root.path.as_str()).collect();
    assert_eq!(roots, [path("dev"), path("out")]);
}
