//! What Build Swarm costs beside what a user would run instead: each section measures ours and
//! the peer's, or a limit of the machine, in turn and in the same run, and keeps the ratios.
//!
//! Nothing here is a test: a busy machine makes a benchmark worse, never red.

pub mod report;

use anyhow::Result;
use report::Section;

/// A benchmark's name and how it is run.
pub type Bench = (&'static str, fn(&Settings) -> Result<Section>);

/// What the command line says about all sections.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Rounds of which the median counts.
    pub rounds: usize,
}

/// All sections, in the order of the page.
pub const ALL: [Bench; 0] = [];
