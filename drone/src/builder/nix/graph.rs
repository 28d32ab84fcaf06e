//! The derivations of a plan and how they depend on each other.

use super::store::Store;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
};
use swarm_common::wire::nix::{ContentHash, NixOutput, NixPackage};
use swarm_formats::nix::{
    derivation::{Derivation, HashAlgorithm, MAX_BYTES},
    store_path::{StoreDir, StorePath},
};

/// Maximum number of packages that an orchestrator accepts (`core/src/plan.rs`).
pub(super) const MOST_PACKAGES: usize = 10_000;

/// Derivations by store path. The value is the reason if a derivation cannot be built.
#[derive(Debug, Default)]
pub(super) struct Graph {
    found: BTreeMap<String, Result<Derivation, String>>,
}

/// Reads a derivation from a store.
pub(super) fn read(store: &Store, path: &str) -> Result<Derivation, String> {
    let mut text = Vec::new();
    let file = fs::File::open(store.file(path)).map_err(|error| format!("{path}: {error}"))?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).map_err(|error| format!("{path}: {error}"))?;
    Derivation::parse(&text, &StoreDir::default()).map_err(|error| format!("{path}: {error}"))
}

/// Resolves derivations of a store. Remembers the outputs of those that others depend on.
pub(super) struct Resolver<'s> {
    store: &'s Store,
    outputs: BTreeMap<StorePath, BTreeMap<String, StorePath>>,
}

impl<'s> Resolver<'s> {
    pub fn new(store: &'s Store) -> Self {
        Self { store, outputs: BTreeMap::new() }
    }

    /// A derivation whose inputs are all sources: those that it has, and the outputs of the derivations that it
    /// depends on.
    pub fn resolve(&mut self, path: &str) -> Result<Derivation, String> {
        let mut derivation = read(self.store, path)?;
        for (input, names) in std::mem::take(&mut derivation.input_derivations) {
            let outputs = self.outputs_of(&input)?;
            for name in names {
                let output = outputs.get(&name).ok_or_else(|| format!("{input} has no output {name}"))?;
                derivation.input_sources.insert(output.clone());
            }
        }
        Ok(derivation)
    }

    fn outputs_of(&mut self, path: &StorePath) -> Result<&BTreeMap<String, StorePath>, String> {
        if !self.outputs.contains_key(path) {
            let derivation = read(self.store, &StoreDir::default().absolute(path))?;
            let outputs = derivation.outputs.into_iter().map(|(name, output)| (name, output.path));
            self.outputs.insert(path.clone(), outputs.collect());
        }
        Ok(&self.outputs[path])
    }
}

impl Graph {
    pub fn read<'p>(store: &Store, paths: impl IntoIterator<Item = &'p String>) -> Self {
        Self { found: paths.into_iter().map(|path| (path.clone(), read(store, path))).collect() }
    }

    /// A derivation, or the reason why it cannot be built.
    pub fn get(&self, path: &str) -> Result<&Derivation, &str> {
        match self.found.get(path) {
            Some(Ok(derivation)) => Ok(derivation),
            Some(Err(why)) => Err(why),
            None => Err("it is not in the plan"),
        }
    }

    /// The derivations among `within` that `from` needs, including itself, or the reason why one of them
    /// cannot be built.
    pub fn needs(&self, from: &str, within: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(path) = next.pop() {
            if !within.contains(&path) || seen.contains(&path) {
                continue;
            }
            next.extend(self.inputs(&path)?);
            seen.insert(path);
        }
        Ok(seen)
    }

    /// The derivations whose outputs a derivation needs.
    pub fn inputs(&self, path: &str) -> Result<Vec<String>, String> {
        let derivation = self.get(path).map_err(str::to_owned)?;
        let dir = StoreDir::default();
        Ok(derivation.input_derivations.keys().map(|input| dir.absolute(input)).collect())
    }

    /// The sources that a derivation needs.
    pub fn sources(&self, path: &str) -> Vec<String> {
        let dir = StoreDir::default();
        let sources = self.get(path).map(|derivation| &derivation.input_sources);
        sources.into_iter().flatten().map(|source| dir.absolute(source)).collect()
    }
}

/// The package that represents a derivation in a plan.
pub(super) fn package(path: &str, derivation: &Derivation) -> NixPackage {
    let dir = StoreDir::default();
    let output = |(name, output): (&String, &swarm_formats::nix::derivation::Output)| NixOutput {
        name: name.clone(),
        path: dir.absolute(&output.path),
    };
    let fixed = derivation.outputs.values().find_map(|output| output.fixed.as_ref());
    NixPackage {
        name: name(path).trim_end_matches(".drv").to_owned(),
        drv: Some(path.to_owned()),
        outputs: derivation.outputs.iter().map(output).collect(),
        // Nix itself runs `builtin` builders, on every system.
        system: if derivation.system == "builtin" { String::new() } else { derivation.system.clone() },
        fixed: fixed.is_some(),
        content_hash: fixed.map(|fixed| match (fixed.algorithm, fixed.recursive) {
            (HashAlgorithm::Sha256, false) => ContentHash::File,
            (HashAlgorithm::Sha256, true) => ContentHash::Nar,
            _ => ContentHash::Other,
        }),
        features: features(derivation),
        local: is_set(derivation, "preferLocalBuild"),
    }
}

/// The package that represents a source in a plan.
pub(super) fn source(path: &str) -> NixPackage {
    NixPackage {
        name: name(path).to_owned(),
        drv: None,
        outputs: vec![NixOutput { name: "source".into(), path: path.to_owned() }],
        system: String::new(),
        fixed: false,
        content_hash: None,
        features: Vec::new(),
        local: false,
    }
}

/// Parses `nix-store --dump-db`. For each path it has lines with path, hash, size, deriver, number of
/// references, and the references.
pub(super) fn registrations(text: &str) -> Option<Vec<(String, Vec<String>)>> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(path) = lines.next() {
        let count: usize = lines.nth(3)?.parse().ok()?;
        let references: Vec<&str> = lines.by_ref().take(count).collect();
        if references.len() < count {
            return None;
        }
        let others = references.into_iter().filter(|&other| other != path);
        found.push((path.to_owned(), others.map(str::to_owned).collect()));
    }
    Some(found)
}

/// The name of a store path, without directory and hash.
fn name(path: &str) -> &str {
    let base = path.rsplit('/').next().unwrap_or(path);
    base.split_once('-').map_or(base, |(_, name)| name)
}

/// The attributes of a derivation with `__structuredAttrs`, which are in a single variable.
fn structured(derivation: &Derivation) -> Option<serde_json::Value> {
    serde_json::from_slice(derivation.env.get("__json")?).ok()
}

fn features(derivation: &Derivation) -> Vec<String> {
    const NAME: &str = "requiredSystemFeatures";
    let found: BTreeSet<String> = match structured(derivation) {
        Some(attributes) => {
            let list = attributes[NAME].as_array().into_iter().flatten();
            list.filter_map(|feature| feature.as_str().map(str::to_owned)).collect()
        }
        None => {
            let text =
                derivation.env.get(NAME).map(|value| String::from_utf8_lossy(value)).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        }
    };
    found.into_iter().collect()
}

fn is_set(derivation: &Derivation, name: &str) -> bool {
    match structured(derivation) {
        Some(attributes) => attributes[name].as_bool() == Some(true),
        None => derivation.env.get(name).is_some_and(|value| value == b"1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(env: &str) -> Derivation {
        let path = "/nix/store/vsqpp200i7hamsm5v9sg4hp79s5765n9-x-1";
        let text = format!("Derive([(\"out\",\"{path}\",\"\",\"\")],[],[],\"builtin\",\"/x\",[],[{env}])");
        Derivation::parse(text.as_bytes(), &StoreDir::default()).unwrap()
    }

    #[test]
    fn references_are_read_from_the_registrations() {
        let text = "/nix/store/a\nabc\n120\n\n0\n/nix/store/b\ndef\n168\n\n2\n/nix/store/a\n/nix/store/b\n";
        let found = registrations(text).unwrap();
        assert_eq!(found[0], ("/nix/store/a".into(), vec![]));
        assert_eq!(found[1], ("/nix/store/b".into(), vec!["/nix/store/a".to_owned()]), "not itself");
        assert_eq!(registrations("/nix/store/a\nabc\n120\n\n1\n"), None);
    }

    #[test]
    fn features_and_wishes_are_read_from_both_kinds_of_attributes() {
        let path = "/nix/store/vsqpp200i7hamsm5v9sg4hp79s5765n9-x-1.drv";
        for env in [
            r#"("preferLocalBuild","1"),("requiredSystemFeatures","kvm big-parallel")"#,
            r#"("__json","{\"preferLocalBuild\":true,\"requiredSystemFeatures\":[\"kvm\",\"big-parallel\"]}")"#,
        ] {
            let package = package(path, &parsed(env));
            assert_eq!(package.features, ["big-parallel", "kvm"], "{env}");
            assert!(package.local && !package.fixed && package.system.is_empty());
            assert_eq!(package.name, "x-1");
        }
        assert!(!package(path, &parsed("")).local);
    }
}
