//! Makes a snapshot: one archive of a bundle and repositories, or of a source for Nix, as they are on this
//! machine. The format is defined in `swarm_formats::snapshot`. This module decides what the archive
//! contains.

mod bundle;
mod git;
pub mod nix;
mod processor;
mod profile;
mod repos_conf;
mod repository;
mod settings;
mod shell;
#[cfg(test)]
mod tests;
mod tree;

pub use processor::Builder;

use crate::failure::Failure;
use bundle::Bundle;
use profile::{Profile, Repositories};
use repos_conf::ReposConf;
use repository::Repository;
use settings::Settings;
use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};
use swarm_common::{digest::Digest, wire::cpu::CpuNeeds};
use swarm_formats::snapshot::{
    FORMAT, SnapshotContents, SnapshotError, SnapshotManifest, SnapshotRepository,
};
use tempfile::NamedTempFile;

/// The maximum length of the description of a profile's source, in characters. The orchestrator refuses
/// longer ones.
pub const LONGEST_SOURCE: usize = 500;

#[derive(Debug)]
pub struct Sources {
    pub bundle: PathBuf,
    /// The package repositories. If empty, those named in the bundle's `repos.conf` are used.
    pub repositories: Vec<PathBuf>,
    /// Whether to accept and include uncommitted changes of a Git checkout.
    pub allow_dirty: bool,
    pub drones: Vec<Builder>,
}

#[derive(Debug)]
pub struct Made {
    /// Digest of the snapshot, which serves as its name.
    pub digest: Digest,
    /// The compressed archive. The file is removed when dropped.
    pub archive: NamedTempFile,
    /// Number of files and links in the snapshot.
    pub entries: usize,
    /// Description of the sources, for people.
    pub source: String,
    pub notes: Vec<String>,
    /// What the bundle's settings require of a processor.
    pub cpu: CpuNeeds,
}

/// Makes a snapshot. `progress` is called with the total number of entries and the number done.
///
/// # Errors
/// A source cannot be read or used; the message says what to do about it.
pub fn make(sources: &Sources, progress: impl Fn(u64, u64)) -> Result<Made, Failure> {
    let mut bundle = Bundle::read(&sources.bundle)?;
    let conf = ReposConf::read(&sources.bundle)?;
    let repositories = read_repositories(sources, &conf)?;
    let main = main_repository(&bundle, &conf, &repositories)?;
    let repos = Repositories { all: &repositories, main, conf: &conf };
    let (profile, inherited) = Profile::find(&sources.bundle, bundle.portage_profile.as_deref(), repos)?;
    let settings = Settings::read(&sources.bundle, &inherited)?;
    bundle.notes.extend(processor::check(&settings, &sources.drones)?);
    bundle.notes.extend(settings.without_effect());
    bundle.notes.extend(notes(&repositories, &conf)?);
    let (portage_profile, profile_repository) = match &profile {
        Profile::Own { .. } => (None, None),
        Profile::Of { repository, path } => {
            (Some(path.clone()), (*repository != main.name).then(|| repository.clone()))
        }
    };
    let manifest = SnapshotManifest {
        format: FORMAT,
        portage_profile,
        profile_repository,
        main_repository: main.name.clone(),
        repositories: repositories
            .iter()
            .map(|r| SnapshotRepository {
                name: r.name.clone(),
                commit: r.tree.commit.clone(),
                settings: conf.settings(&r.name),
            })
            .collect(),
        nix: None,
    };
    let mut contents = SnapshotContents::new(manifest).map_err(snapshot_failure)?;
    bundle.add_to(&mut contents, &profile).map_err(snapshot_failure)?;
    for repository in &repositories {
        repository.add_to(&mut contents).map_err(snapshot_failure)?;
    }

    let described: Vec<String> = repositories.iter().map(Repository::describe).collect();
    let source = format!("{}; {}", sources.bundle.display(), described.join("; "));
    Ok(Made { cpu: processor::needs(&settings), ..pack(&contents, source, bundle.notes, progress)? })
}

/// Writes a snapshot to a temporary file.
fn pack(
    contents: &SnapshotContents,
    source: String,
    notes: Vec<String>,
    progress: impl Fn(u64, u64),
) -> Result<Made, Failure> {
    let archive = tempfile::Builder::new()
        .prefix("swarm-snapshot-")
        .tempfile()
        .map_err(|e| Failure::Failed(format!("cannot create a temporary file: {e}")))?;
    let total = contents.len() as u64;
    let mut done = 0;
    let mut out = BufWriter::new(archive.as_file());
    let digest = contents
        .write(&mut out, || {
            done += 1;
            progress(total, done);
        })
        .map_err(snapshot_failure)?;
    out.flush().map_err(|e| Failure::Failed(format!("cannot write the snapshot: {e}")))?;
    drop(out);
    let source = source.chars().take(LONGEST_SOURCE).collect();
    Ok(Made { digest, archive, entries: contents.len(), source, notes, cpu: CpuNeeds::default() })
}

fn snapshot_failure(error: SnapshotError) -> Failure {
    Failure::Failed(format!("cannot create the snapshot: {error}"))
}

fn read_repositories(sources: &Sources, conf: &ReposConf) -> Result<Vec<Repository>, Failure> {
    if !sources.repositories.is_empty() {
        return sources.repositories.iter().map(|path| Repository::read(path, sources.allow_dirty)).collect();
    }
    let places = conf.locations();
    if places.is_empty() {
        return Err(Failure::Failed(
            "no package repositories: pass --repository DIR for each, such as /var/db/repos/gentoo, or set \
             their locations in the bundle's etc/portage/repos.conf"
                .to_owned(),
        ));
    }
    places.iter().map(|path| Repository::read(path, sources.allow_dirty)).collect()
}

/// Notes for the user about the repositories.
fn notes(repositories: &[Repository], conf: &ReposConf) -> Result<Vec<String>, Failure> {
    let has = |name: &str| repositories.iter().any(|repository| repository.name == name);
    let mut notes = Vec::new();
    for name in conf.repositories.keys().filter(|name| !has(name)) {
        notes.push(format!("skipping repository {name} of repos.conf: it was not passed with --repository"));
    }
    for repository in repositories {
        let name = &repository.name;
        let masters = match conf.settings(name).get("masters") {
            Some(masters) => masters.split_whitespace().map(str::to_owned).collect(),
            None => repository.layout("masters"),
        };
        for master in masters.iter().filter(|master| !has(master)) {
            notes.push(format!("{name} needs its master repository {master}; pass it with --repository"));
        }
        if repository.ebuilds() == 0 {
            notes.push(format!("{name} has no ebuilds: {}", repository.root.display()));
        }
        notes.extend(repository.metadata_note());
    }
    if repositories.iter().all(|repository| repository.ebuilds() == 0) {
        return Err(Failure::Failed(format!(
            "no ebuilds in {}; check that the checkout is complete",
            repositories.iter().map(|r| r.root.display().to_string()).collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(notes)
}

/// The repository that Portage uses as the main one.
fn main_repository<'a>(
    bundle: &Bundle,
    conf: &ReposConf,
    repositories: &'a [Repository],
) -> Result<&'a Repository, Failure> {
    let names: Vec<&str> = repositories.iter().map(|r| r.name.as_str()).collect();
    let find = |name: &str| repositories.iter().find(|r| r.name == name);
    if let Some(name) = &bundle.main_repository {
        return find(name).ok_or_else(|| {
            Failure::Failed(format!(
                "the bundle's main repository `{name}` is not one of its repositories: {}",
                names.join(", ")
            ))
        });
    }
    let configured = conf.main.as_deref().and_then(find);
    if let Some(main) = configured.or_else(|| find("gentoo")) {
        return Ok(main);
    }
    // Use the only repository without masters.
    let mut alone = repositories.iter().filter(|r| repositories.len() == 1 || r.layout("masters").is_empty());
    match (alone.next(), alone.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(Failure::Failed(format!(
            "several repositories ({}): set main_repository = \"NAME\" in the bundle's profile.toml",
            names.join(", ")
        ))),
    }
}
