//! Flakes, without network.

use crate::lab::{Lab, package};
use std::process::Command;
use swarm_drone::builder::BuildEnd;
use swarm_formats::nix::{hash, nar::dump};

const FLAKE: &str = r#"{
  inputs.names.url = "github:nobody/names";
  outputs = { self, names }:
    let
      seed = builtins.path { path = ./seed; name = "seed"; };
      tool = name: derivation {
        inherit name;
        system = "x86_64-linux";
        builder = "${seed}/bin/sh";
        args = [ "-c" "echo ${self.lastModifiedDate} ${names.rev or "none"} > $out" ];
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

#[tokio::test]
async fn a_locked_input_keeps_its_commit() {
    let lab = lab();
    let (_, sum) = dump(&lab.path("snapshot/inputs/names"), std::io::sink()).unwrap();
    let hash = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command", "hash", "to-sri", &hash::to_text(&sum.hash)])
        .env("HOME", lab.path("home"))
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let rev = "0123456789012345678901234567890123456789";
    let lock = format!(
        r#"{{"nodes": {{"names": {{"locked": {{"lastModified": 1700000000, "narHash": "{}", "owner": "nobody",
            "repo": "names", "rev": "{rev}", "type": "github"}},
            "original": {{"owner": "nobody", "repo": "names", "type": "github"}}}},
            "root": {{"inputs": {{"names": "names"}}}}}}, "root": "root", "version": 7}}"#,
        hash.trim()
    );
    lab.file("source/flake.lock", &lock);
    let plan = lab.plan().await;
    assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
    let drv = package(&plan, "named-by-the-input").drv.clone().unwrap();
    let text = std::fs::read_to_string(lab.path("cache/nix/evaluation").join(&drv[1..])).unwrap();
    assert!(text.contains(rev), "{text}");
}
