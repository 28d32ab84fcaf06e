//! The fuzz targets. Each one asserts properties that must hold for every input, not only that nothing
//! panics.

mod derivation;
mod gpkg;
mod lane;
mod nar;
mod narinfo;
mod packages;
mod snapshot;
mod tar;
mod xpak;

pub struct Target {
    /// Its name, which is that of its file.
    pub name: &'static str,
    /// Reads one input and panics if a property does not hold.
    pub run: fn(&[u8]),
    /// Initial inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

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
