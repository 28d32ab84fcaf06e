//! The fuzz targets. Each asserts what must hold for every input, and not only that nothing panics.

mod derivation;
mod gpkg;
mod lane;
mod nar;
mod narinfo;
mod packages;
mod snapshot;
mod tar;
mod xpak;

/// A target.
pub struct Target {
    /// Its name, that of its file.
    pub name: &'static str,
    /// Reads one input and panics if a property does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "derivation", run: derivation::run, seeds: derivation::seeds },
    Target { name: "gpkg", run: gpkg::run, seeds: gpkg::seeds },
    Target { name: "lane", run: lane::run, seeds: lane::seeds },
    Target { name: "nar", run: nar::run, seeds: nar::seeds },
    Target { name: "narinfo", run: narinfo::run, seeds: narinfo::seeds },
    Target { name: "packages", run: packages::run, seeds: packages::seeds },
    Target { name: "snapshot", run: snapshot::run, seeds: snapshot::seeds },
    Target { name: "tar", run: tar::run, seeds: tar::seeds },
    Target { name: "xpak", run: xpak::run, seeds: xpak::seeds },
];
