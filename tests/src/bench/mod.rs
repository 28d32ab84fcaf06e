//! What Build Swarm costs beside what a user would run instead: each section measures ours and
//! the peer's, or a limit of the machine, in turn and in the same run, and keeps the ratios.
//!
//! Nothing here is a test: a busy machine makes a benchmark worse, never red.

mod cpu;
pub mod drone;
pub mod footprint;
pub mod index;
pub mod intake;
pub mod journal;
pub mod night;
pub mod nix;
pub mod queue;
pub mod report;
pub mod schedule;
pub mod server;
pub mod serving;
pub mod shape;
pub mod snapshot;

use anyhow::Result;
use report::Section;
use std::path::PathBuf;

/// A benchmark's name and how it is run.
pub type Bench = (&'static str, fn(&Settings) -> Result<Section>);

/// What the command line says about all sections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rounds of which the median counts.
    pub rounds: usize,
    /// A checkout of build-swarm-v3 to measure in the same run.
    pub peer: Option<PathBuf>,
    /// Claims beyond the usual ones, to look for packages that are given twice.
    pub claims: Option<usize>,
    /// Whether to measure a clean build of the programs, too.
    pub clean_build: bool,
    /// Whether the drone builds whole graphs, not only their first packages.
    pub whole: bool,
    /// Only worlds of the drone's section whose name has this in it.
    pub world: Option<String>,
}

/// All sections, in the order of the page.
pub const ALL: [Bench; 11] = [
    ("schedule", schedule::run),
    ("queue", queue::run),
    ("journal", journal::run),
    ("index", index::run),
    ("intake", intake::run),
    ("serving", serving::run),
    ("drone", drone::run),
    ("night", night::run),
    ("nix", nix::run),
    ("snapshot", snapshot::run),
    ("footprint", footprint::run),
];
