//! The cost of Build Swarm compared with what a user would run instead. Each section measures our programs
//! and a peer, or a limit of the machine, alternately in the same run, and reports the ratios.
//!
//! Nothing here is a test: a busy machine makes the figures worse but causes no failure.

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

/// A benchmark's name and its function.
pub type Bench = (&'static str, fn(&Settings) -> Result<Section>);

/// Command-line settings for all sections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of rounds, of which the median counts.
    pub rounds: usize,
    /// A checkout of build-swarm-v3 to measure in the same run.
    pub peer: Option<PathBuf>,
    /// Number of additional claims, to look for packages that are assigned twice.
    pub claims: Option<usize>,
    /// Whether to measure a clean build of the programs.
    pub clean_build: bool,
    /// Whether the drone builds whole graphs instead of only their first packages.
    pub whole: bool,
    /// Run only worlds of the drone's section whose name contains this.
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
