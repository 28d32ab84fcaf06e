//! Answers requests for the files in the published directories: workstations install from `/binhost/PROFILE/…`, or
//! from `/binhost/PROFILE/staging/…` to try a generation that is not promoted yet; the drones of a run use
//! `/binhost/PROFILE/runs/RUN/…`. `/binhost/_nix/…` is the union of the caches of all Nix profiles.
//!
//! They need no credential, because workstations have none; published packages are signed. A file
//! that does not exist or is not public gives 404, never 403, because Portage continues only after
//! a 404.
//!
//! An [`answer`] is sent in one of two ways: by the [`lane`] for plain HTTP, or by the router for
//! TLS and for requests that the lane does not take. [`layout`] lists the public files, [`conditional`]
//! evaluates conditions and ranges, and [`small`] caches small files.

pub(crate) mod answer;
mod beneath;
pub mod conditional;
pub(crate) mod lane;
mod layout;
pub(crate) mod small;

use crate::publish::{Binhosts, NixCache};
use answer::Named;
use std::{fs, path::PathBuf};
use swarm_common::{
    id::RunId,
    name::Name,
    wire::{channel::ChannelName, nix::ALL_PROFILES},
};

/// URL path of the channel from which a profile's workstations install.
pub(crate) fn path_of(profile: &Name) -> String {
    format!("/binhost/{profile}")
}

/// URL path of the binary package host that the drones of a run use.
pub(crate) fn path_of_run(profile: &Name, run: RunId) -> String {
    format!("/binhost/{profile}/runs/{run}")
}

/// Locates the file for a decoded path below `/binhost/`; `None` if the path is not public. May block.
pub(crate) fn locate<'b>(binhosts: &'b Binhosts, path: &str) -> Option<Named<'b>> {
    let (profile, path) = path.split_once('/')?;
    let root = binhosts.dir();
    if profile == ALL_PROFILES {
        let kind = layout::in_all_caches(path)?;
        return Some(Named { root, path: in_any_cache(binhosts, path)?, kind });
    }
    let profile: Name = profile.parse().ok()?;
    let (dir, path) = match path.split_once('/') {
        Some(("runs", rest)) => {
            let (run, path) = rest.split_once('/')?;
            (binhosts.run(&profile, run.parse::<RunId>().ok()?), path)
        }
        Some(("staging", rest)) => (binhosts.channel(&profile, ChannelName::Staging), rest),
        _ => (binhosts.channel(&profile, ChannelName::Stable), path),
    };
    Some(Named { root, path: dir.join(path), kind: layout::servable(path)? })
}

/// A file that is at `path` in the cache of a channel of any Nix profile. May block.
fn in_any_cache(binhosts: &Binhosts, path: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(binhosts.dir()).ok()?.filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut profiles: Vec<Name> = names.collect();
    // If two caches have different bytes for a path, always choose the same cache.
    profiles.sort_unstable();
    let caches =
        profiles.iter().flat_map(|name| ChannelName::ALL.map(|channel| binhosts.channel(name, channel)));
    let mut files = caches.filter(|dir| NixCache::is_in(dir)).map(|dir| dir.join(path));
    files.find(|file| file.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::*;

    #[test]
    fn paths_name_files_below_their_own_binhost_only() {
        let binhosts = Binhosts::new("/b");
        let found = |path: &str| locate(&binhosts, path).map(|named| named.path.to_str().unwrap().to_owned());
        assert_eq!(found("desk/Packages").as_deref(), Some("/b/desk/stable/Packages"));
        assert_eq!(found("desk/runs/r7/Packages.gz").as_deref(), Some("/b/desk/runs/r7/Packages.gz"));
        assert_eq!(found("desk/staging/Packages").as_deref(), Some("/b/desk/staging/Packages"));
        assert_eq!(found("desk/staging/a/b-1.xpak").as_deref(), Some("/b/desk/staging/a/b-1.xpak"));
        assert_eq!(found("desk/a/b/b-1.gpkg.tar").as_deref(), Some("/b/desk/stable/a/b/b-1.gpkg.tar"));
        for path in [
            "",
            "desk",
            "desk/",
            "desk/staging/",
            "desk/runs/r7",
            "desk/runs/7/Packages",
            "../Packages",
            "d//Packages",
            "_nix/nix-cache-info",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
