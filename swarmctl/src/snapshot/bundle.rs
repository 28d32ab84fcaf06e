//! Configuration bundles: the configuration shared by a group of workstations, as files.
//!
//! The snapshot omits the files of `etc/portage` that a drone writes itself (`repos.conf`, `binrepos.conf`,
//! and `make.profile` if it is a link) and `gnupg`, which contains private keys on a workstation.

use super::{profile::Profile, tree::walk};
use crate::failure::Failure;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use swarm_daemon::config;
use swarm_formats::snapshot::{SnapshotContents, SnapshotError};

/// Entries of `etc/portage` that are omitted.
const LEFT_OUT: [&str; 4] = ["make.profile", "repos.conf", "binrepos.conf", "gnupg"];

#[derive(Debug)]
pub(super) struct Bundle {
    root: PathBuf,
    /// The Portage profile named in `profile.toml`: a path below `profiles/`, optionally with a
    /// repository.
    pub(super) portage_profile: Option<String>,
    pub(super) main_repository: Option<String>,
    world: Vec<u8>,
    pub(super) notes: Vec<String>,
}

/// The contents of `profile.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    /// The Portage profile: a path below `profiles/` of a repository, or `REPOSITORY:PATH`.
    portage_profile: Option<String>,
    /// Name of the main repository; required if there are several and none is named `gentoo`.
    main_repository: Option<String>,
}

impl Bundle {
    /// Reads the bundle's own files. Those in `etc/portage` are read when the bundle is packed.
    pub(super) fn read(root: &Path) -> Result<Self, Failure> {
        let portage = root.join("etc/portage");
        if !portage.is_dir() {
            return Err(Failure::Failed(format!(
                "{} is not a configuration bundle: it has no directory etc/portage; see `swarmctl profile \
                 --help`",
                root.display()
            )));
        }
        let file = root.join("profile.toml");
        let settings: ProfileFile = if file.exists() { config::load(&file)? } else { ProfileFile::default() };
        let portage_profile = settings.portage_profile.map(|path| path.trim_matches('/').to_owned());
        let world = read_world(root)?;
        let mut notes = Vec::new();
        if portage.join("gnupg").exists() {
            notes.push("skipping etc/portage/gnupg: keys are never copied".to_owned());
        }
        if !portage.join("make.conf").exists() {
            notes
                .push("etc/portage/make.conf is missing; the Portage profile's settings are used".to_owned());
        }
        Ok(Self {
            root: root.to_owned(),
            portage_profile,
            main_repository: settings.main_repository,
            world,
            notes,
        })
    }

    /// Adds the bundle's files to a snapshot.
    pub(super) fn add_to(
        &self,
        contents: &mut SnapshotContents,
        profile: &Profile,
    ) -> Result<(), SnapshotError> {
        let portage = self.root.join("etc/portage");
        if let Profile::Own { parents } = profile {
            let own = portage.join("make.profile");
            for file in walk(&own, &[])? {
                let path = format!("etc/portage/make.profile/{file}");
                match parents.iter().find(|(name, _)| *name == file) {
                    Some((_, text)) => contents.add_bytes(&path, text.clone().into_bytes())?,
                    None => contents.add_from("etc/portage/make.profile", &own, &file)?,
                }
            }
        }
        for file in walk(&portage, &LEFT_OUT)? {
            contents.add_from("etc/portage", &portage, &file)?;
        }
        contents.add_bytes("world", self.world.clone())?;
        let distfiles = self.root.join("distfiles");
        if distfiles.is_dir() {
            for file in walk(&distfiles, &[])? {
                contents.add_from("distfiles", &distfiles, &file)?;
            }
        }
        Ok(())
    }
}

/// Reads the world set from its place in a bundle or in a copied root directory.
fn read_world(root: &Path) -> Result<Vec<u8>, Failure> {
    let places = [root.join("world"), root.join("var/lib/portage/world")];
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        return Err(Failure::Failed(format!(
            "{} is missing; list the packages to build in it, one per line",
            places[0].display()
        )));
    };
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))
    };
    let mut text = read(path)?;
    // Portage stores selected sets next to the world file.
    let sets = path.with_file_name("world_sets");
    if sets.is_file() {
        text = format!("{}\n{}", text.trim_end(), read(&sets)?);
    }
    let mut any = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        any = true;
        let sound =
            line.bytes().all(|b| b.is_ascii_graphic()) && (line.contains('/') || line.starts_with('@'));
        if !sound || line.starts_with('-') {
            return Err(Failure::Failed(format!(
                "{}:{}: `{}` is neither a package (category/name) nor a set (@name)",
                path.display(),
                number + 1,
                line.chars().take(60).collect::<String>().escape_debug()
            )));
        }
    }
    match any {
        true => Ok(text.into_bytes()),
        false => Err(Failure::Failed(format!(
            "{} lists no packages, so there is nothing to build",
            path.display()
        ))),
    }
}
