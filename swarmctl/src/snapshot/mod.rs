//! Making a snapshot: a bundle and repositories as they are on this machine, as one
//! archive. The archive's form is `swarm_common::format::snapshot`'s affair; what goes
//! into it is decided here.

mod bundle;
mod repository;
#[cfg(test)]
mod tests;

use crate::failure::Failure;
use bundle::Bundle;
use repository::Repository;
use std::{
    collections::BTreeMap,
    io::{BufWriter, Write},
    path::PathBuf,
};
use swarm_common::{
    digest::Digest,
    format::snapshot::{FORMAT, SnapshotContents, SnapshotError, SnapshotManifest, SnapshotRepository},
};
use tempfile::NamedTempFile;

/// The orchestrator keeps no longer text about a profile's source.
const LONGEST_SOURCE: usize = 500;

/// What a snapshot is made from.
#[derive(Debug)]
pub struct Sources {
    /// The configuration bundle.
    pub bundle: PathBuf,
    /// The package repositories.
    pub repositories: Vec<PathBuf>,
    /// Uncommitted changes of a Git checkout are taken along.
    pub allow_dirty: bool,
}

/// A snapshot that was made.
#[derive(Debug)]
pub struct Made {
    /// Its name.
    pub digest: Digest,
    /// The compressed archive; removed when dropped.
    pub archive: NamedTempFile,
    /// Files and links in it.
    pub entries: usize,
    /// Where it came from, for people.
    pub source: String,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Makes a snapshot. `progress` is told how many entries there are and are done.
///
/// # Errors
/// A source cannot be read or used; what to do about it is said.
pub fn make(sources: &Sources, progress: impl Fn(u64, u64)) -> Result<Made, Failure> {
    let bundle = Bundle::read(&sources.bundle)?;
    let mut repositories = Vec::new();
    for path in &sources.repositories {
        repositories.push(Repository::read(path, sources.allow_dirty)?);
    }
    let main = main_repository(&bundle, &repositories)?;
    let profile_dir = main.root.join("profiles").join(&bundle.portage_profile);
    if !profile_dir.is_dir() {
        return Err(Failure::Failed(format!(
            "the Portage profile `{}` is not in the repository {}: there is no directory {}",
            bundle.portage_profile,
            main.name,
            profile_dir.display()
        )));
    }
    let manifest = SnapshotManifest {
        format: FORMAT,
        portage_profile: Some(bundle.portage_profile.clone()),
        profile_repository: None,
        main_repository: main.name.clone(),
        repositories: repositories
            .iter()
            .map(|r| SnapshotRepository {
                name: r.name.clone(),
                commit: r.commit.clone(),
                settings: BTreeMap::new(),
            })
            .collect(),
    };
    let mut contents = SnapshotContents::new(manifest).map_err(told)?;
    bundle.add_to(&mut contents).map_err(told)?;
    for repository in &repositories {
        repository.add_to(&mut contents).map_err(told)?;
    }

    let archive = tempfile::Builder::new()
        .prefix("swarm-snapshot-")
        .tempfile()
        .map_err(|e| Failure::Failed(format!("no temporary file can be made: {e}")))?;
    let total = contents.len() as u64;
    let mut done = 0;
    let mut out = BufWriter::new(archive.as_file());
    let digest = contents
        .write(&mut out, || {
            done += 1;
            progress(total, done);
        })
        .map_err(told)?;
    out.flush().map_err(|e| Failure::Failed(format!("the snapshot cannot be written: {e}")))?;
    drop(out);

    let described: Vec<String> = repositories.iter().map(Repository::describe).collect();
    Ok(Made {
        digest,
        archive,
        entries: contents.len(),
        source: format!("{}; {}", sources.bundle.display(), described.join("; "))
            .chars()
            .take(LONGEST_SOURCE)
            .collect(),
        notes: bundle.notes,
    })
}

fn told(error: SnapshotError) -> Failure {
    Failure::Failed(format!("no snapshot can be made: {error}"))
}

/// The repository that has the Portage profile.
fn main_repository<'a>(bundle: &Bundle, repositories: &'a [Repository]) -> Result<&'a Repository, Failure> {
    let names: Vec<&str> = repositories.iter().map(|r| r.name.as_str()).collect();
    let find = |name: &str| repositories.iter().find(|r| r.name == name);
    match (&bundle.main_repository, repositories) {
        (Some(name), _) => find(name).ok_or_else(|| {
            Failure::Failed(format!(
                "the bundle's main repository `{name}` is none of those given with --repository: {}",
                names.join(", ")
            ))
        }),
        (None, [only]) => Ok(only),
        (None, _) => find("gentoo").ok_or_else(|| {
            Failure::Failed(format!(
                "which of {} is the main repository? Say main_repository = \"NAME\" in the bundle's profile.toml",
                names.join(", ")
            ))
        }),
    }
}
