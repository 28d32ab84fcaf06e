//! The pass that verifies all stored files once a month, slowly, so that a disk that loses data is
//! noticed while there are still backups.

use crate::{
    app::App,
    audit::{self, Pace},
};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path, sync::Arc, time::Duration};
use swarm_common::{config::secret::write_private, time::TimeMs};

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

/// Scrubs when due, until the orchestrator stops.
pub async fn run(app: Arc<App>) {
    let path = app.config.state_dir.join("scrub.json");
    // If the record cannot be read, the interval starts again.
    let mut last = read(&path).unwrap_or_else(|| Last { at: app.engine.wall(), faults: Vec::new() });
    keep(&app, &path, &last);
    app.audited.keep(last.faults.clone());
    loop {
        if last.is_due(app.engine.wall()) {
            let found = tokio::select! {
                () = app.stopping.cancelled() => return,
                found = audit::audit(&app, Pace::Slow) => found,
            };
            match found {
                Ok(found) => {
                    let (good, bad) = (found.mended.len(), found.faults.len());
                    let did =
                        format!("packages checked: {}, damaged: {bad}, repaired: {good}", found.artifacts);
                    app.passes.note(NAME, did);
                    last = Last { at: app.engine.wall(), faults: found.faults };
                    keep(&app, &path, &last);
                }
                Err(error) => app.passes.fail(NAME, error.to_string()),
            }
        }
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn read(path: &Path) -> Option<Last> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn keep(app: &App, path: &Path, last: &Last) {
    let text = serde_json::to_string(last).unwrap_or_default();
    if let Err(error) = write_private(path, &text) {
        app.passes.fail(NAME, error.to_string());
    }
}
