//! The pass that verifies all stored files once a month, slowly, so that a disk that loses data is
//! noticed while there are still backups.

use crate::{
    audit::{self, Auditor, Pace},
    engine::Engine,
    passes::Passes,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use swarm_common::{config::secret::write_private, time::TimeMs};
use tokio_util::sync::CancellationToken;

/// The pass's name in status.
const NAME: &str = "scrub";

/// Interval between scrubs, in milliseconds.
const EVERY_MS: u64 = 30 * 24 * 3600 * 1000;

/// How often to check whether a scrub is due.
const LOOK: Duration = Duration::from_secs(3600);

/// The last scrub, or, before the first, the time from which its interval counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Last {
    at: TimeMs,
    /// Faults it found, one line each.
    faults: Vec<String>,
}

impl Last {
    /// Whether the next scrub is due. A clock that was set back must not delay it for years.
    fn is_due(&self, now: TimeMs) -> bool {
        now.since(self.at) >= EVERY_MS || self.at.since(now) >= EVERY_MS
    }
}

/// Verifies all stored files when due.
pub struct Scrub {
    /// Verifies.
    pub auditor: Arc<Auditor>,
    /// Provides the time.
    pub engine: Engine,
    /// Where the pass reports.
    pub passes: Arc<Passes>,
    /// The file that records the last scrub.
    pub record: PathBuf,
}

impl Scrub {
    /// Runs until the orchestrator stops.
    pub async fn run(self, stopping: CancellationToken) {
        // If the record cannot be read, the interval starts again.
        let mut last =
            read(&self.record).unwrap_or_else(|| Last { at: self.engine.wall(), faults: Vec::new() });
        self.keep(&last);
        self.auditor.audited.keep(last.faults.clone());
        loop {
            if last.is_due(self.engine.wall()) {
                let found = tokio::select! {
                    () = stopping.cancelled() => return,
                    found = audit::audit(&self.auditor, Pace::Slow) => found,
                };
                match found {
                    Ok(found) => {
                        let (good, bad) = (found.mended.len(), found.faults.len());
                        let did = format!(
                            "packages checked: {}, damaged: {bad}, repaired: {good}",
                            found.artifacts
                        );
                        self.passes.note(NAME, did);
                        last = Last { at: self.engine.wall(), faults: found.faults };
                        self.keep(&last);
                    }
                    Err(error) => self.passes.fail(NAME, error.to_string()),
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn keep(&self, last: &Last) {
        let text = serde_json::to_string(last).unwrap_or_default();
        if let Err(error) = write_private(&self.record, &text) {
            self.passes.fail(NAME, error.to_string());
        }
    }
}

fn read(path: &Path) -> Option<Last> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
