//! A configuration bundle: what a set of workstations shares, as files.
//!
//! Left out of `etc/portage` are what a drone writes itself (`make.profile`,
//! `repos.conf`, `binrepos.conf`) and `gnupg`, which on a workstation holds private keys.

use super::repository::walk;
use crate::failure::Failure;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use swarm_common::{
    config,
    format::snapshot::{SnapshotContents, SnapshotError},
};

/// What is not taken from `etc/portage`.
const LEFT_OUT: [&str; 4] = ["make.profile", "repos.conf", "binrepos.conf", "gnupg"];

/// A bundle on disk.
#[derive(Debug)]
pub(super) struct Bundle {
    root: PathBuf,
    /// Path below `profiles/` of the main repository.
    pub(super) portage_profile: String,
    pub(super) main_repository: Option<String>,
    world: Vec<u8>,
    pub(super) notes: Vec<String>,
}

/// `profile.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    /// The Portage profile, as a path below `profiles/` of the main repository.
    portage_profile: Option<String>,
    /// The main repository's name; needed if there are several and none is `gentoo`.
    main_repository: Option<String>,
}

impl Bundle {
    /// Reads a bundle's own files; those in `etc/portage` are read when it is packed.
    pub(super) fn read(root: &Path) -> Result<Self, Failure> {
        let portage = root.join("etc/portage");
        if !portage.is_dir() {
            return Err(Failure::Failed(format!(
                "{} is no configuration bundle: there is no directory etc/portage in it; see `swarmctl profile --help`",
                root.display()
            )));
        }
        let file = root.join("profile.toml");
        let settings: ProfileFile = if file.exists() { config::load(&file)? } else { ProfileFile::default() };
        let portage_profile = match settings.portage_profile {
            Some(path) => path.trim_matches('/').to_owned(),
            None => profile_of_link(&portage.join("make.profile"))?,
        };
        let world = read_world(root)?;
        let mut notes = Vec::new();
        if portage.join("gnupg").exists() {
            notes.push("etc/portage/gnupg is not taken along; keys stay where they are".to_owned());
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

    /// Puts the bundle's files into a snapshot.
    pub(super) fn add_to(&self, contents: &mut SnapshotContents) -> Result<(), SnapshotError> {
        let portage = self.root.join("etc/portage");
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

/// The part after `profiles/` of what `make.profile` links to.
fn profile_of_link(link: &Path) -> Result<String, Failure> {
    let target = fs::read_link(link).ok();
    let target = target.as_ref().and_then(|target| target.to_str());
    target
        .and_then(|target| target.split_once("/profiles/"))
        .map(|(_, path)| path.trim_matches('/').to_owned())
        .ok_or_else(|| {
            Failure::Failed(format!(
                "which Portage profile? Say portage_profile = \"default/linux/amd64/23.0\" in the bundle's \
                 profile.toml, or make {} a symbolic link to it",
                link.display()
            ))
        })
}

/// The world set, from where a bundle or a copied root directory has it.
fn read_world(root: &Path) -> Result<Vec<u8>, Failure> {
    let places = [root.join("world"), root.join("var/lib/portage/world")];
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        return Err(Failure::Failed(format!(
            "there is no {}; it names the packages to build, one a line",
            places[0].display()
        )));
    };
    let text = fs::read_to_string(path).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
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
            "{} names no package; there would be nothing to build",
            path.display()
        ))),
    }
}
