//! `flake.lock`: the inputs of a flake and of its inputs, each pinned to its content.

use crate::failure::Failure;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use swarm_common::digest::Digest;
use swarm_formats::{nix::hash, snapshot::is_input};

/// The supported versions of the format. They differ in what older Nix versions can read.
const VERSIONS: std::ops::RangeInclusive<u32> = 5..=7;
/// The maximum size of a lock file in bytes.
const MAX_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Lock {
    /// The inputs that have content of their own, by the name of their node.
    pub(super) inputs: BTreeMap<String, Locked>,
}

#[derive(Debug)]
pub(super) struct Locked {
    /// The name as seen from the flake: `nixpkgs`, or `home-manager/nixpkgs` for an input of an input.
    pub(super) name: String,
    /// SHA-256 of the input's archive (NAR).
    pub(super) nar_hash: Digest,
    /// The directory, if the input is one on this machine.
    pub(super) path: Option<String>,
    /// The origin, for people.
    pub(super) origin: String,
}

#[derive(Deserialize)]
struct File {
    version: u32,
    root: String,
    nodes: BTreeMap<String, Node>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    inputs: BTreeMap<String, Reference>,
    locked: Option<Source>,
}

/// An input of a node: another node, or an input path from the root that it follows.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Node(String),
    Follows(#[expect(dead_code, reason = "only the shape matters")] Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    nar_hash: Option<String>,
    path: Option<String>,
    url: Option<String>,
    owner: Option<String>,
    repo: Option<String>,
    rev: Option<String>,
}

impl Lock {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::Failed(format!("cannot use flake.lock: {why}"));
        if text.len() > MAX_BYTES {
            return Err(wrong(format!("it has more than {MAX_BYTES} bytes")));
        }
        let file: File = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
        if !VERSIONS.contains(&file.version) {
            return Err(wrong(format!(
                "unsupported version {}, expected {} to {}",
                file.version,
                VERSIONS.start(),
                VERSIONS.end()
            )));
        }
        let mut inputs = BTreeMap::new();
        let mut seen = BTreeSet::from([file.root.as_str()]);
        // Search breadth first, so that an input gets its shortest name.
        let mut open = VecDeque::from([(file.root.as_str(), String::new())]);
        while let Some((key, name)) = open.pop_front() {
            let node = file.nodes.get(key).ok_or_else(|| wrong(format!("node `{key}` is missing")))?;
            if key != file.root {
                let source = node.locked.as_ref();
                let source = source.ok_or_else(|| wrong(format!("input {name} is not locked")))?;
                if let Some(locked) = source.read(&name).map_err(wrong)? {
                    if !is_input(key) {
                        return Err(wrong(format!("`{}` is not a valid directory name", key.escape_debug())));
                    }
                    inputs.insert(key.to_owned(), locked);
                }
            }
            for (input, reference) in &node.inputs {
                let Reference::Node(to) = reference else { continue };
                if seen.insert(to) {
                    let above = if name.is_empty() { String::new() } else { format!("{name}/") };
                    open.push_back((to, format!("{above}{input}")));
                }
            }
        }
        Ok(Self { inputs })
    }
}

impl Source {
    /// The locked input. `None` if it is part of the source, as a relative path is.
    fn read(&self, name: &str) -> Result<Option<Locked>, String> {
        let path = self.path.clone().filter(|_| self.kind == "path");
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Ok(None);
        }
        let hash = self.nar_hash.as_deref().ok_or_else(|| format!("input {name} has no narHash"))?;
        let nar_hash = hash::from_sri(hash).map_err(|e| format!("the narHash of the input {name} is {e}"))?;
        let mut origin = self.kind.clone();
        let repository = self.owner.iter().chain(&self.repo).cloned().collect::<Vec<_>>().join("/");
        for part in [Some(repository), self.url.clone(), path.clone()] {
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                origin = format!("{origin} {part}");
            }
        }
        if let Some(rev) = &self.rev {
            origin = format!("{origin} at {}", rev.get(..12).unwrap_or(rev));
        }
        Ok(Some(Locked { name: name.to_owned(), nar_hash, path, origin }))
    }
}
