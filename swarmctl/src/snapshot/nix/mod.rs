//! Makes a snapshot for Nix from this machine or a Git repository: the files of a flake with the inputs that
//! its lock file names, or a directory with an expression.

mod fetch;
mod inputs;
mod lock;
mod push;
#[cfg(test)]
mod tests;

use super::{
    Made, pack, snapshot_failure,
    tree::{Extent, Tree},
};
use crate::failure::Failure;
use fetch::fetch;
use inputs::{Input, find_inputs};
use lock::Lock;
pub use push::{Pushed, push_lock};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;
use swarm_formats::snapshot::{
    FLAKE, FORMAT, INPUTS, NixSource, NixUpstream, SOURCE, SnapshotContents, SnapshotManifest,
};

const LOCK: &str = "flake.lock";

/// The sources of a snapshot for Nix.
#[derive(Debug)]
pub struct NixSources {
    /// The directory with the flake or the file, or a Git repository as `git+URL?ref=BRANCH&dir=FOLDER`.
    pub dir: PathBuf,
    /// Inputs of a repository's flake whose newest content is to be locked.
    pub update: Vec<String>,
    /// The file to evaluate. Default: flake.nix if there is one, otherwise default.nix.
    pub file: Option<String>,
    /// Attributes to build. A name without a dot is a package of a flake.
    pub attributes: Vec<String>,
    /// NixOS hosts to build.
    pub hosts: Vec<String>,
    /// Arguments of the file's function.
    pub arguments: BTreeMap<String, String>,
    /// Caches whose packages may be used instead of being built.
    pub upstreams: Vec<NixUpstream>,
    /// Whether evaluation may build derivations.
    pub import_from_derivation: bool,
    /// Directories with the content of inputs, by input name.
    pub inputs: BTreeMap<String, PathBuf>,
    /// The directory of the Nix store, which may already contain inputs.
    pub store: PathBuf,
    /// Whether to accept and include uncommitted changes of a Git checkout.
    pub allow_dirty: bool,
}

/// Makes a snapshot. `progress` is called with the total number of entries and the number done.
///
/// # Errors
/// The source or an input cannot be read or used; the message says what to do about it.
pub fn make(sources: &NixSources, progress: impl Fn(u64, u64)) -> Result<Made, Failure> {
    let fetched = fetch(sources)?;
    let dir = fetched.as_ref().map_or(&sources.dir, |fetched| &fetched.dir);
    let file = file(sources, dir)?;
    let flake = file == FLAKE;
    // In a fetched repository, the lock file may be newer than the commit.
    let derived = fetched.is_some().then_some(LOCK);
    let extent = Extent { marker: &file, derived, whole: flake, allow_dirty: sources.allow_dirty };
    let tree = Tree::read(dir, extent)?;
    known_to_git(&tree, &file)?;
    let lock = if flake { lock(&tree)? } else { None };
    // With other changes the tree has no commit, and the lock file is one of those changes.
    let relocked = flake && derived.is_some() && tree.commit.is_some() && tree.is_changed(LOCK)?;
    let mut notes = Vec::new();
    let manifest = SnapshotManifest {
        format: FORMAT,
        portage_profile: None,
        profile_repository: None,
        main_repository: String::new(),
        repositories: vec![],
        nix: Some(NixSource {
            flake,
            attributes: attributes(sources, flake, &mut notes),
            hosts: sources.hosts.clone(),
            arguments: sources.arguments.clone(),
            upstreams: sources.upstreams.clone(),
            import_from_derivation: sources.import_from_derivation,
            commit: tree.commit.clone(),
            modified: tree.modified.filter(|_| flake),
            relocked,
            lock: lock.as_deref().map(Digest::of),
            file,
        }),
    };
    let mut contents = SnapshotContents::new(manifest).map_err(snapshot_failure)?;
    tree.add_to(&mut contents, SOURCE).map_err(snapshot_failure)?;
    let mut source = format!("{}{}", sources.dir.display(), tree.at());
    match lock {
        Some(text) => {
            source.push_str(&format!("; {LOCK} {}", Digest::of(&text).short()));
            for Input { node, tree } in find_inputs(&Lock::parse(&text)?, sources)? {
                tree.add_to(&mut contents, &format!("{INPUTS}/{node}")).map_err(snapshot_failure)?;
            }
        }
        None if !sources.inputs.is_empty() => {
            return Err(Failure::Usage(format!("--input, but {} has no {LOCK}", dir.display())));
        }
        None if flake => notes.push(format!(
            "{LOCK} is missing; a flake with inputs needs it: nix flake lock {}",
            dir.display()
        )),
        None => {}
    }
    pack(&contents, source, notes, progress)
}

fn file(sources: &NixSources, dir: &Path) -> Result<String, Failure> {
    let there = |file: &str| dir.join(file).is_file();
    let file = match &sources.file {
        Some(file) => file.trim_start_matches("./").to_owned(),
        None if there(FLAKE) => FLAKE.to_owned(),
        None => "default.nix".to_owned(),
    };
    if !there(&file) {
        return Err(Failure::Failed(match &sources.file {
            Some(_) => format!("no such file: {}", dir.join(file).display()),
            None => format!(
                "{} is not a Nix source: it has neither {FLAKE} nor default.nix; pass --file NAME for \
                 another file",
                dir.display()
            ),
        }));
    }
    if file != FLAKE && !sources.inputs.is_empty() {
        return Err(Failure::Usage("--input is for flakes only".to_owned()));
    }
    if file == FLAKE && !sources.arguments.is_empty() {
        return Err(Failure::Usage("--arg is for files only; a flake takes no arguments".to_owned()));
    }
    if sources.attributes.is_empty() && sources.hosts.is_empty() {
        return Err(Failure::Usage(
            "nothing to build: pass --attr NAME for each package or --host NAME for each NixOS machine"
                .to_owned(),
        ));
    }
    Ok(file)
}

/// The attributes to build. A single name is a package of the flake, as in `nix build .#NAME`.
fn attributes(sources: &NixSources, flake: bool, notes: &mut Vec<String>) -> Vec<String> {
    let system = format!("{}-linux", std::env::consts::ARCH);
    let complete = |name: &String| match flake && !name.contains('.') {
        true => {
            let complete = format!("packages.{system}.{name}");
            notes.push(format!("{name} is {complete}"));
            complete
        }
        false => name.clone(),
    };
    sources.attributes.iter().map(complete).collect()
}

fn lock(tree: &Tree) -> Result<Option<Vec<u8>>, Failure> {
    let path = tree.root.join(LOCK);
    if !path.exists() {
        return Ok(None);
    }
    known_to_git(tree, LOCK)?;
    fs::read(&path).map(Some).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))
}

/// Checks that a file, if it exists, is part of the snapshot.
fn known_to_git(tree: &Tree, file: &str) -> Result<(), Failure> {
    match tree.files.iter().any(|known| known == file) {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "{} is not tracked by Git, so it would not be in the snapshot; git add it",
            tree.root.join(file).display()
        ))),
    }
}
