//! The pass that looks once a month whether everything that is kept is still whole, slowly, so
//! that a disk that loses bytes is noticed while there are backups.

use crate::{
    app::App,
    audit::{self, Pace},
};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path, sync::Arc, time::Duration};
use swarm_common::{config::secret::write_private, time::TimeMs};

/// What it is called in the list of passes.
const NAME: &str = "scrub";

/// From one to the next.
const EVERY_MS: u64 = 30 * 24 * 3600 * 1000;

/// Between two looks at whether it is time.
const LOOK: Duration = Duration::from_secs(3600);

/// What is remembered of the last one, or of when the first one's time began.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Last {
    at: TimeMs,
    /// What was wrong.
    faults: Vec<String>,
}

impl Last {
    /// Whether it is time for another. A clock that was set back must not put it off for years.
    fn is_due(&self, now: TimeMs) -> bool {
        now.since(self.at) >= EVERY_MS || self.at.since(now) >= EVERY_MS
    }
}

/// Passes when it is time, until the orchestrator stops.
pub async fn run(app: Arc<App>) {
    let path = app.config.state_dir.join("scrub.json");
    // What cannot be read is forgotten, and looked for again in a month.
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
                    let did = format!("read {} packages; {bad} damaged, {good} mended", found.artifacts);
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
