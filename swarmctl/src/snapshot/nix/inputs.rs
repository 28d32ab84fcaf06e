//! Finds the content of locked inputs on this machine: in a directory that the user named, in the directory
//! that the lock file names, or in the Nix store. Content is used only if it has the hash in the lock file,
//! so drones evaluate exactly what was locked.

use super::{
    super::tree::{Extent, Tree},
    LOCK, Lock, NixSources,
    lock::Locked,
};
use crate::failure::Failure;
use std::{
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
};
use swarm_common::digest::Digest;
use swarm_formats::nix::{
    nar::{NarError, NarWriter},
    store_path::StoreDir,
};

/// The store path name of every source.
const NAME: &str = "source";

pub(super) struct Input {
    /// Name of the input's node in the lock file.
    pub(super) node: String,
    pub(super) tree: Tree,
}

/// Finds all inputs of a lock file.
pub(super) fn find_inputs(lock: &Lock, sources: &NixSources) -> Result<Vec<Input>, Failure> {
    let known = || lock.inputs.values().map(|locked| locked.name.as_str()).collect::<Vec<_>>();
    if let Some(name) = sources.inputs.keys().find(|name| !known().contains(&name.as_str())) {
        let help = match swarm_daemon::config::nearest(name, &known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", known().join(", ")),
        };
        return Err(Failure::Usage(format!("{LOCK} has no input `{}`; {help}", name.escape_debug())));
    }
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (node, locked) in &lock.inputs {
        match find(locked, sources)? {
            Some(tree) => found.push(Input { node: node.clone(), tree }),
            None => missing.push(locked),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(tell(&missing, &sources.dir)) }
}

fn find(locked: &Locked, sources: &NixSources) -> Result<Option<Tree>, Failure> {
    if let Some(dir) = sources.inputs.get(&locked.name) {
        return given(locked, dir).map(Some);
    }
    let path = StoreDir::default().source_path(NAME, &locked.nar_hash);
    let stored = path.map_err(|e| Failure::Failed(e.to_string()))?;
    let named = locked.path.iter().map(|path| Path::new(path).to_owned());
    for dir in named.chain([sources.store.join(stored.as_str())]) {
        if dir.is_dir() {
            let tree = Tree::plain(&dir, &[])?;
            if nar_hash(&tree)? == locked.nar_hash {
                return Ok(Some(tree));
            }
        }
    }
    Ok(None)
}

/// The content of a directory that the user named: the files that Git tracks, or all files.
fn given(locked: &Locked, dir: &Path) -> Result<Tree, Failure> {
    if !dir.is_dir() {
        return Err(Failure::Failed(format!(
            "--input {}: {} is not a directory",
            locked.name,
            dir.display()
        )));
    }
    let tracked = Tree::read(dir, Extent { marker: ".", derived: None, whole: false, allow_dirty: true })?;
    let got = nar_hash(&tracked)?;
    if got == locked.nar_hash {
        return Ok(tracked);
    }
    let all = Tree::plain(dir, &[])?;
    if nar_hash(&all)? == locked.nar_hash {
        return Ok(all);
    }
    Err(Failure::Failed(format!(
        "{} does not match input {} in {LOCK} ({}): its hash is {}, expected {}",
        dir.display(),
        locked.name,
        locked.origin,
        swarm_formats::nix::hash::to_sri(&got),
        swarm_formats::nix::hash::to_sri(&locked.nar_hash)
    )))
}

fn tell(missing: &[&Locked], dir: &Path) -> Failure {
    let list: String =
        missing.iter().map(|locked| format!("  {}: {}\n", locked.name, locked.origin)).collect();
    let options: Vec<String> = missing.iter().map(|locked| format!("--input {}=DIR", locked.name)).collect();
    Failure::Failed(format!(
        "inputs of the flake are not on this machine:\n{list}fetch them with `nix flake archive {}`, or \
         pass their directories: {}",
        dir.display(),
        options.join(" ")
    ))
}

/// The hash of the archive (NAR) that Nix makes of a tree, computed as drones will see the tree.
fn nar_hash(tree: &Tree) -> Result<Digest, Failure> {
    hash(tree).map_err(|e| Failure::Failed(format!("{}: {e}", tree.root.display())))
}

fn hash(tree: &Tree) -> Result<Digest, NarError> {
    let mut paths: Vec<Vec<&str>> = tree.files.iter().map(|file| file.split('/').collect()).collect();
    // Nix sorts the entries of each directory, not whole paths.
    paths.sort_unstable();
    let mut writer = NarWriter::new(io::sink());
    writer.directory(b"")?;
    let mut open: &[&str] = &[];
    for path in &paths {
        let (name, dirs) = path.split_last().ok_or_else(|| io::Error::other("a path is empty"))?;
        let common = open.iter().zip(dirs).take_while(|(one, other)| one == other).count();
        for _ in common..open.len() {
            writer.leave()?;
        }
        for dir in &dirs[common..] {
            writer.directory(dir.as_bytes())?;
        }
        open = dirs;
        add(&mut writer, &tree.root.join(path.join("/")), name.as_bytes())?;
    }
    for _ in open {
        writer.leave()?;
    }
    writer.leave()?;
    Ok(writer.finish()?.1.hash)
}

fn add(writer: &mut NarWriter<io::Sink>, path: &Path, name: &[u8]) -> Result<(), NarError> {
    let failed = |error| NarError::File { path: path.to_owned(), error };
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    if meta.is_symlink() {
        return writer.symlink(name, fs::read_link(path).map_err(failed)?.as_os_str().as_bytes());
    }
    let file = File::open(path).map_err(failed)?;
    // A snapshot preserves only whether anybody may execute a file.
    writer.file(name, meta.permissions().mode() & 0o111 != 0, meta.len(), file)
}
