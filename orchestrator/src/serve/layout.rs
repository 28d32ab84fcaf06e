//! The paths in a binary package host or cache that are served to clients.

use crate::publish::portage::is_package_path;
use swarm_common::digest::Digest;
use swarm_formats::{
    nix::{nix32, store_path::StorePath},
    snapshot::is_host,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Servable {
    /// `Packages`; revalidated on every use.
    Index,
    /// `Packages.gz`; raw gzip, without a `Content-Encoding`.
    CompressedIndex,
    /// A package file. The content of its path never changes.
    Package,
    CacheInfo,
    /// The metadata of a store path.
    NarInfo,
    /// The archive of a store path. The content of its path never changes.
    Nar,
    /// JSON: the listing of a store path, the newest system of a host, or a lock file.
    Json,
    /// The log of a build.
    Log,
}

/// What `path` (decoded, relative, without a leading slash) names, if it may be served. Any other path must
/// be answered with 404, never 403, because Portage falls back to `Packages` only after a 404.
#[must_use]
pub fn servable(path: &str) -> Option<Servable> {
    match path {
        "Packages" => return Some(Servable::Index),
        "Packages.gz" => return Some(Servable::CompressedIndex),
        "nix-cache-info" => return Some(Servable::CacheInfo),
        _ => {}
    }
    if is_package_path(path) { Some(Servable::Package) } else { in_nix_cache(path) }
}

/// What a path in the cache of all Nix profiles names. It has the same paths as the cache of one profile,
/// except those of hosts.
#[must_use]
pub fn in_all_caches(path: &str) -> Option<Servable> {
    use Servable::*;
    let is_of_one = path.starts_with("ready/") || path.starts_with("generations/");
    servable(path).filter(|kind| !is_of_one && matches!(kind, CacheInfo | NarInfo | Nar | Json | Log))
}

/// What a path in a Nix cache names.
fn in_nix_cache(path: &str) -> Option<Servable> {
    let hash = |text: &str| text.len() == 32 && text.bytes().all(nix32::is_digit);
    match path.split_once('/') {
        None => {
            let (name, kind) = path.split_once('.')?;
            match kind {
                "narinfo" if hash(name) => Some(Servable::NarInfo),
                "ls" if hash(name) => Some(Servable::Json),
                _ => None,
            }
        }
        Some(("nar", name)) => {
            let digest = name.strip_suffix(".nar.zst")?.parse::<Digest>();
            digest.is_ok().then_some(Servable::Nar)
        }
        Some(("log", name)) => {
            let path: StorePath = name.parse().ok()?;
            path.derivation_name().map(|_| Servable::Log)
        }
        Some(("lock", digest)) => digest.parse::<Digest>().is_ok().then_some(Servable::Json),
        Some(("ready", host)) => is_host(host).then_some(Servable::Json),
        // The pointers of a generation that is still kept.
        Some(("generations", rest)) => {
            let (number, name) = rest.split_once('/')?;
            let is_number = (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
            let is_pointer = name.strip_prefix("ready-").is_some_and(is_host);
            (is_number && is_pointer).then_some(Servable::Json)
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_nix_cache_are_served_and_nothing_else() {
        let (hash, digest) = ("0".repeat(32), Digest::of(b""));
        for (path, kind) in [
            ("nix-cache-info".to_owned(), Servable::CacheInfo),
            (format!("{hash}.narinfo"), Servable::NarInfo),
            (format!("{hash}.ls"), Servable::Json),
            (format!("nar/{digest}.nar.zst"), Servable::Nar),
            (format!("log/{hash}-hello-2.12.drv"), Servable::Log),
            (format!("lock/{digest}"), Servable::Json),
            ("ready/desk".to_owned(), Servable::Json),
            ("generations/12/ready-desk".to_owned(), Servable::Json),
        ] {
            assert_eq!(servable(&path), Some(kind), "{path}");
            assert_eq!(in_all_caches(&path).is_some(), !path.contains("desk"), "{path}");
        }
        assert_eq!(in_all_caches("Packages"), None);
        for path in [
            format!("{}.narinfo", &hash[1..]),
            format!("{}e.narinfo", &hash[1..]),
            format!("{hash}.narinfo.new"),
            format!("{hash}.nar"),
            format!("nar/{digest}.nar.xz"),
            format!("nar/../{digest}.nar.zst"),
            format!("nar/{digest}.new"),
            format!("log/{hash}-hello"),
            format!("log/{hash}-a/b.drv"),
            "lock/flake.lock".to_owned(),
            "ready/".to_owned(),
            "ready/.x".to_owned(),
            "ready/a/b".to_owned(),
            "ready/desk.new".to_owned(),
            "generations/1/paths".to_owned(),
            "generations/1x/ready-desk".to_owned(),
            "generations/1/2/ready-desk".to_owned(),
            "generations//ready-desk".to_owned(),
            "generations/1/ready-.x".to_owned(),
            "paths".to_owned(),
        ] {
            assert_eq!(servable(&path), None, "{path}");
        }
    }

    #[test]
    fn indexes_and_packages_are_served_and_nothing_else() {
        assert_eq!(servable("Packages"), Some(Servable::Index));
        assert_eq!(servable("Packages.gz"), Some(Servable::CompressedIndex));
        for path in
            ["dev-libs/icu/icu-75.1-2.gpkg.tar", "dev-libs/icu-75.1.tbz2", "x11-libs/gtk+/gtk+-3-1.xpak"]
        {
            assert_eq!(servable(path), Some(Servable::Package), "{path}");
        }
        for path in [
            "",
            "/Packages",
            "packages",
            "Packages.new",
            "generations/3/Packages",
            "generations/3/x.gpkg.tar",
            "../secret.gpkg.tar",
            "a/../b.gpkg.tar",
            "a//b.gpkg.tar",
            "a/b/c/d.gpkg.tar",
            "a.gpkg.tar",
            "a/.b.gpkg.tar",
            "a/b/.gpkg.tar",
            "a/b/c",
            "a/b c.gpkg.tar",
            "a/b\0.gpkg.tar",
            "a\\b/c.gpkg.tar",
            "%2e%2e/b.gpkg.tar",
        ] {
            assert_eq!(servable(path), None, "{path}");
        }
    }
}
