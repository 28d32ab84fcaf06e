//! The Portage profile of a bundle: a path below `profiles/` of one of the repositories, or a
//! directory in the bundle that inherits from them.
//!
//! All profiles that it inherits from must be in the snapshot, whose location differs from drone to drone. So
//! all parents are resolved here. Where a profile in the bundle names a parent by a path on this machine, the
//! snapshot names it by repository.

use super::{repos_conf::ReposConf, repository::Repository};
use crate::failure::Failure;
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// The paths and texts of `parent` files.
type Parents = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Profile {
    /// A path below `profiles/` of a repository.
    Of { repository: String, path: String },
    /// `etc/portage/make.profile` of the bundle, with the text of every `parent` file in it.
    Own { parents: Parents },
}

/// The repositories in which profiles are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repositories<'a> {
    pub(super) all: &'a [Repository],
    pub(super) main: &'a Repository,
    pub(super) conf: &'a ReposConf,
}

impl Profile {
    /// Finds the profile that the bundle at `root` selects, by the name `wanted` or else by the bundle's own
    /// `make.profile`. Also returns the profiles in repositories that it inherits from, in the order in which
    /// Portage applies them.
    pub(super) fn find<'a>(
        root: &Path,
        wanted: Option<&str>,
        repos: Repositories<'a>,
    ) -> Result<(Self, Vec<Found<'a>>), Failure> {
        let link = root.join("etc/portage/make.profile");
        let own = link.is_dir() && !link.is_symlink();
        let wanted = wanted.map(|wanted| repos.named(wanted)).transpose()?;
        if own {
            let (parents, inherited) = repos.own(&link)?;
            if let Some(wanted) = wanted.as_ref().filter(|wanted| !inherited.contains(wanted)) {
                return Err(Failure::Failed(format!(
                    "ambiguous Portage profile: the bundle's directory etc/portage/make.profile does not \
                     inherit from portage_profile = \"{}\" of its profile.toml; remove one of them",
                    wanted.path
                )));
            }
            return Ok((Self::Own { parents }, inherited));
        }
        let found = match wanted {
            Some(wanted) => wanted,
            None => {
                let target = fs::read_link(&link).ok();
                target.as_deref().and_then(|target| repos.at(&link, target)).ok_or_else(|| {
                    Failure::Failed(format!(
                        "no Portage profile: set portage_profile = \"default/linux/amd64/23.0\" in the \
                         bundle's profile.toml, or make {} a symbolic link to a profile of one of the \
                         repositories",
                        link.display()
                    ))
                })?
            }
        };
        let inherited = repos.inherited(&found)?;
        Ok((Self::Of { repository: found.repository.name.clone(), path: found.path }, inherited))
    }
}

/// A profile in a repository.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    repository: &'a Repository,
    path: String,
}

impl PartialEq for Found<'_> {
    fn eq(&self, other: &Self) -> bool {
        (&self.repository.name, &self.path) == (&other.repository.name, &other.path)
    }
}

impl Found<'_> {
    pub(super) fn dir(&self) -> PathBuf {
        self.repository.root.join("profiles").join(&self.path)
    }

    /// The path below the repositories, for messages.
    pub(super) fn label(&self) -> String {
        format!("{}/profiles/{}", self.repository.name, self.path)
    }
}

impl<'a> Repositories<'a> {
    fn find(&self, name: &str) -> Option<&'a Repository> {
        self.all.iter().find(|repository| repository.name == name)
    }

    fn names(&self) -> String {
        self.all.iter().map(|repository| repository.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The profile named by `path` or `repository:path`.
    fn named(&self, wanted: &str) -> Result<Found<'a>, Failure> {
        if let Some((name, path)) = wanted.split_once(':') {
            let repository = self.find(name).ok_or_else(|| {
                Failure::Failed(format!(
                    "the Portage profile `{wanted}` is from repository {name}, which is not one of {}",
                    self.names()
                ))
            })?;
            let found = Found { repository, path: path.trim_matches('/').to_owned() };
            return self.existing(found, wanted);
        }
        let of = |repository| Found { repository, path: wanted.to_owned() };
        if of(self.main).dir().is_dir() {
            return Ok(of(self.main));
        }
        let mut others = self.all.iter().map(of).filter(|found| found.dir().is_dir());
        match (others.next(), others.next()) {
            (Some(found), None) => Ok(found),
            (Some(one), Some(other)) => Err(Failure::Failed(format!(
                "several repositories have a Portage profile `{wanted}`; set portage_profile = \"{}:{wanted}\" \
                 or \"{}:{wanted}\"",
                one.repository.name, other.repository.name
            ))),
            (None, _) => self.existing(of(self.main), wanted),
        }
    }

    fn existing(&self, found: Found<'a>, wanted: &str) -> Result<Found<'a>, Failure> {
        if found.dir().is_dir() {
            return Ok(found);
        }
        Err(Failure::Failed(format!(
            "the Portage profile `{wanted}` does not exist in {}: no directory {}",
            if wanted.contains(':') {
                found.repository.name.clone()
            } else {
                format!("any of {}", self.names())
            },
            found.dir().display()
        )))
    }

    /// The profile that `target` refers to on the bundle's machine; `target` comes from a `parent` file or
    /// the link `make.profile`.
    fn at(&self, from: &Path, target: &Path) -> Option<Found<'a>> {
        let text = target.to_str()?;
        let (before, path) = text.split_once("/profiles/")?;
        let path = path.trim_matches('/').to_owned();
        let before = Path::new(before);
        let real = from.parent()?.join(before).canonicalize().ok();
        let of = |name: &str| self.find(name);
        let by_place = self.all.iter().find(|r| real.is_some() && r.root.canonicalize().ok() == real);
        let by_conf = || {
            let entries = self.conf.repositories.iter();
            let place = strip(before);
            let mut entries = entries.filter(|(_, entry)| {
                let location = entry.location.as_deref().filter(|_| place.components().count() > 0);
                location.is_some_and(|location| location.ends_with(&place))
            });
            entries.find_map(|(name, _)| of(name))
        };
        let by_name = || of(before.file_name()?.to_str()?);
        let repository = by_place.or_else(by_conf).or_else(by_name);
        let found = repository.map(|repository| Found { repository, path: path.clone() });
        match found.filter(|found| found.dir().is_dir()) {
            Some(found) => Some(found),
            None => self.named(&path).ok(),
        }
    }

    /// A profile's ancestors and then the profile itself, in the order in which Portage applies them. Each
    /// occurs once, where it is applied last.
    fn inherited(&self, profile: &Found<'a>) -> Result<Vec<Found<'a>>, Failure> {
        let (mut all, mut next) = (Vec::new(), vec![profile.clone()]);
        let mut seen = BTreeSet::new();
        while let Some(profile) = next.pop() {
            if !seen.insert((profile.repository.name.clone(), profile.path.clone())) {
                continue;
            }
            for (at, parent) in parents(&profile.dir().join("parent"))? {
                next.push(self.parent(&profile, &at, &parent)?);
            }
            all.push(profile);
        }
        all.reverse();
        Ok(all)
    }

    fn parent(&self, of: &Found<'a>, at: &str, parent: &str) -> Result<Found<'a>, Failure> {
        let wrong =
            |why: String| Failure::Failed(format!("{at}: the parent `{}` {why}", parent.escape_debug()));
        let found = match parent.split_once(':') {
            Some((name, path)) => {
                if !of.repository.layout("profile-formats").iter().any(|format| format == "portage-2") {
                    let conf = of.repository.root.join("metadata/layout.conf");
                    let why = "names a repository, which needs profile-formats = portage-2 in";
                    return Err(wrong(format!("{why} {}", conf.display())));
                }
                let name = if name.is_empty() { &of.repository.name } else { name };
                let repository = self.find(name).ok_or_else(|| {
                    wrong(format!("is from repository {name}, which is missing; pass it with --repository"))
                })?;
                Found { repository, path: path.trim_matches('/').to_owned() }
            }
            None => {
                let path = normal(&Path::new(&of.path).join(parent))
                    .ok_or_else(|| wrong(format!("is outside {}", of.repository.name)))?;
                Found { repository: of.repository, path }
            }
        };
        if !found.dir().is_dir() {
            return Err(wrong(format!("is missing: no directory {}", found.dir().display())));
        }
        Ok(found)
    }

    /// The `parent` files of a profile in the bundle, rewritten for the snapshot, and all profiles that it
    /// inherits from.
    fn own(&self, dir: &Path) -> Result<(Parents, Vec<Found<'a>>), Failure> {
        let (mut texts, mut all) = (Vec::new(), Vec::new());
        let files = super::tree::walk(dir, &[]).map_err(super::snapshot_failure)?;
        for file in files.iter().filter(|file| *file == "parent" || file.ends_with("/parent")) {
            let mut text = String::new();
            for (at, parent) in parents(&dir.join(file))? {
                let below = Path::new(file).parent().unwrap_or(Path::new(""));
                let inside = !parent.starts_with('/') && !parent.contains(':');
                if inside && normal(&below.join(&parent)).is_some_and(|path| dir.join(path).is_dir()) {
                    text.push_str(&format!("{parent}\n"));
                    continue;
                }
                let found = match parent.contains(':') {
                    true => self.named(&parent)?,
                    false => self.at(&dir.join(file), Path::new(&parent)).ok_or_else(|| {
                        let parent = parent.escape_debug();
                        let why = "is in none of the repositories; write it as REPOSITORY:PATH";
                        Failure::Failed(format!("{at}: the parent `{parent}` {why}"))
                    })?,
                };
                text.push_str(&format!("{}:{}\n", found.repository.name, found.path));
                all.extend(self.inherited(&found)?);
            }
            texts.push((file.clone(), text));
        }
        Ok((texts, all))
    }
}

/// The lines of a `parent` file, each with its place. Empty if there is no file.
fn parents(file: &Path) -> Result<Vec<(String, String)>, Failure> {
    if !file.exists() {
        return Ok(vec![]);
    }
    let text = fs::read_to_string(file).map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|(i, line)| (format!("{}:{}", file.display(), i + 1), line.to_owned())).collect())
}

/// A relative path without `.` and `..`. `None` if it leads outside its root.
fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// The normal components of a path: without `..` and a leading `/`.
fn strip(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}
