//! Rules for dependencies: those of `deny.toml`, checked with `cargo metadata`, so that cargo-deny is not
//! needed. `cargo deny check` reads the same file.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// The registry from which all of them must come.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The used part of `deny.toml`. An unknown rule is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Graph {
    targets: Vec<String>,
    all_features: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: Deny,
    wildcards: Deny,
    allow_wildcard_paths: bool,
    skip_tree: Vec<SkipTree>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SkipTree {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Deny,
    unknown_git: Deny,
}

/// The only level that this test supports.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deny {
    Deny,
}

/// The used part of the output of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    dependencies: Vec<Requirement>,
}

#[derive(Debug, Deserialize)]
struct Requirement {
    name: String,
    req: String,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// The output of a Cargo command for the whole workspace on a target.
fn cargo(arguments: &[&str], rules: &Rules) -> Vec<u8> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).arg("--locked").current_dir(crate::tidy::top());
    if rules.graph.all_features {
        cargo.arg("--all-features");
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Metadata {
    fn of(target: &str, rules: &Rules) -> Self {
        let metadata = cargo(&["metadata", "--format-version=1", "--filter-platform", target], rules);
        let mut metadata: Self = serde_json::from_slice(&metadata).unwrap();
        // The metadata also lists optional dependencies that are not enabled.
        let tree = ["tree", "--workspace", "--edges=normal,build,dev", "--prefix=none", "--target", target];
        let tree = String::from_utf8(cargo(&tree, rules)).unwrap();
        let name_and_version = |line: &str| {
            let (name, version) = line.split_once(" v")?;
            Some((name.to_owned(), version.split(' ').next()?.to_owned()))
        };
        let used: BTreeSet<(String, String)> = tree.lines().filter_map(name_and_version).collect();
        metadata.packages.retain(|package| used.contains(&(package.name.clone(), package.version.clone())));
        metadata
    }

    /// The packages that are compiled for the target. The metadata also lists those for other targets.
    fn used(&self) -> Vec<&Package> {
        let ids: BTreeSet<&str> = self.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
        self.packages.iter().filter(|package| ids.contains(package.id.as_str())).collect()
    }

    /// The IDs of a package and everything that it depends on, by its name.
    fn tree(&self, name: &str) -> BTreeSet<&str> {
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut found = BTreeSet::new();
        let mut next: Vec<&str> = self
            .packages
            .iter()
            .filter(|package| package.name == name)
            .map(|package| package.id.as_str())
            .collect();
        while let Some(id) = next.pop() {
            if let (Some(node), true) = (nodes.get(id), found.insert(id)) {
                next.extend(node.dependencies.iter().map(String::as_str));
            }
        }
        found
    }
}

/// Whether the allowed licenses satisfy an SPDX expression such as `(MIT OR Apache-2.0) AND Unicode-3.0`.
/// `AND` binds more tightly than `OR`, for which older packages write a slash.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words, allowed) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut fulfilled = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        fulfilled |= all(words, allowed);
    }
    fulfilled
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut fulfilled = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        fulfilled &= one(words, allowed);
    }
    fulfilled
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let word = words.next().unwrap_or_default();
    if word == "(" {
        let fulfilled = any(words, allowed);
        return words.next() == Some(")") && fulfilled;
    }
    match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => allowed.contains(&format!("{word} WITH {exception}")),
        None => allowed.contains(word),
    }
}

/// Violations of the rules, one line each.
fn breaches(metadata: &Metadata, rules: &Rules) -> BTreeSet<String> {
    let mut breaches = BTreeSet::new();
    for package in metadata.used() {
        let Package { name, version, .. } = package;
        let license = package.license.as_deref().unwrap_or_default();
        if !is_allowed(license, &rules.licenses.allow) {
            breaches.insert(format!("{name} {version}: deny.toml does not allow its license: {license:?}"));
        }
        match package.source.as_deref() {
            Some(REGISTRY) => {}
            Some(source) => {
                breaches.insert(format!("{name} {version}: comes from {source}"));
            }
            // Our own packages.
            None => breaches.extend(
                package
                    .dependencies
                    .iter()
                    .filter(|needed| needed.req == "*" && needed.path.is_none())
                    .map(|needed| format!("{name}: takes {} in any version", needed.name)),
            ),
        }
    }
    let skipped: BTreeSet<&str> =
        rules.bans.skip_tree.iter().flat_map(|skipped| metadata.tree(&skipped.name)).collect();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata.used().into_iter().filter(|package| !skipped.contains(package.id.as_str())) {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        breaches.insert(format!("{name}: is there in several versions: {versions:?}"));
    }
    breaches
}

fn rules() -> Rules {
    let rules: Rules =
        toml::from_str(&std::fs::read_to_string(crate::tidy::top().join("deny.toml")).unwrap()).unwrap();
    assert!(rules.bans.allow_wildcard_paths, "our own packages have no version");
    assert_eq!((&rules.bans.multiple_versions, &rules.bans.wildcards), (&Deny::Deny, &Deny::Deny));
    assert_eq!((&rules.sources.unknown_registry, &rules.sources.unknown_git), (&Deny::Deny, &Deny::Deny));
    assert!(rules.bans.skip_tree.iter().all(|skipped| !skipped.reason.is_empty()));
    rules
}

#[test]
fn dependencies_keep_to_deny_toml() {
    let rules = rules();
    for target in &rules.graph.targets {
        let metadata = Metadata::of(target, &rules);
        assert!(metadata.used().len() > 300, "{target}: {}", metadata.used().len());
        let breaches: Vec<String> = breaches(&metadata, &rules).into_iter().collect();
        assert!(breaches.is_empty(), "{target}:\n{}", breaches.join("\n"));
    }
}

#[test]
fn a_dependency_that_breaks_a_rule_is_named() {
    let mut rules = rules();
    rules.bans.skip_tree.clear();
    let package = |id: &str, license: &str, source: Option<&str>, dependencies: serde_json::Value| {
        let (name, version) = id.split_once('@').unwrap();
        serde_json::json!({ "id": id, "name": name, "version": version, "license": license, "source": source,
            "dependencies": dependencies })
    };
    let star = serde_json::json!([{ "name": "any", "req": "*", "path": null }, { "name": "own", "req": "*", "path": "/" }]);
    let none = serde_json::json!([]);
    let packages = [
        package("own@1", "MIT OR Apache-2.0", None, star),
        package("gnu@1", "GPL-3.0-only", Some(REGISTRY), none.clone()),
        package("fork@1", "MIT", Some("git+https://example.org/fork"), none.clone()),
        package("twice@1", "MIT", Some(REGISTRY), none.clone()),
        package("twice@2", "MIT", Some(REGISTRY), none.clone()),
        package("unused@1", "GPL-3.0-only", Some(REGISTRY), none),
    ];
    let nodes: Vec<_> = packages[..5]
        .iter()
        .map(|package| {
            let needs = if package["name"] == "fork" { vec!["twice@2"] } else { Vec::new() };
            serde_json::json!({ "id": package["id"], "dependencies": needs })
        })
        .collect();
    let metadata = serde_json::json!({ "packages": packages, "resolve": { "nodes": nodes } });
    let metadata: Metadata = serde_json::from_value(metadata).unwrap();
    let found: Vec<String> = breaches(&metadata, &rules).into_iter().collect();
    assert_eq!(
        found,
        [
            "fork 1: comes from git+https://example.org/fork",
            "gnu 1: deny.toml does not allow its license: \"GPL-3.0-only\"",
            "own: takes any in any version",
            "twice: is there in several versions: {\"1\", \"2\"}",
        ]
    );
    // One of the two is only present because of a known package.
    rules.bans.skip_tree.push(SkipTree { name: "fork".into(), reason: "it is old".into() });
    assert!(!breaches(&metadata, &rules).iter().any(|breach| breach.contains("several versions")));
}

#[test]
fn an_expression_is_allowed_if_licenses_of_the_list_fulfil_it() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "GPL-3.0 AND X OR MIT",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    assert!(is_allowed("X OR Apache-2.0 WITH LLVM-exception", &allowed));
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "Apache-2.0",
        "(MIT OR ISC) AND GPL-3.0",
        "MIT WITH X",
        "(MIT",
        "MIT)",
    ] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
