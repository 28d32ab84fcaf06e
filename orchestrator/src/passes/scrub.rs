//! The pass that verifies all stored files slowly, once a month, so that a failing disk is noticed while
//! there are still backups.

use crate::{
    audit::{self, Auditor, Pace},
    engine::Engine,
    own_record::OwnRecord,
    passes::{Context, Pass, Report, every},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use swarm_common::time::TimeMs;
use swarm_daemon::config::ConfigError;
use tokio::time::Interval;

/// Interval between scrubs, in milliseconds.
const EVERY_MS: u64 = 30 * 24 * 3600 * 1000;

/// How often to check whether a scrub is due.
const LOOK: Duration = Duration::from_secs(3600);

/// The last scrub. Before the first scrub, `at` is when its interval began.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Last {
    at: TimeMs,
    /// The faults it found, one line each.
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
    auditor: Arc<Auditor>,
    engine: Engine,
    record: OwnRecord,
    timer: Interval,
    /// The last scrub, once the pass has begun.
    last: Option<Last>,
    /// Why the record could not be written when the pass began.
    unwritten: Option<ConfigError>,
}

impl Scrub {
    /// A scrub by this auditor, recorded in `record`.
    #[must_use]
    pub fn new(auditor: Arc<Auditor>, engine: Engine, record: OwnRecord) -> Self {
        Self { auditor, engine, record, timer: every(LOOK), last: None, unwritten: None }
    }

    /// Reads the record of the last scrub. If there is none, the interval starts now. If it was damaged, a
    /// scrub is due at once.
    fn begin(&mut self) -> Last {
        let last = self.record.read().unwrap_or_else(|| {
            let was_damaged = self.record.concern().is_some();
            Last { at: if was_damaged { TimeMs(0) } else { self.engine.wall() }, faults: Vec::new() }
        });
        self.auditor.audited.keep(last.faults.clone());
        self.unwritten = self.keep(last.clone()).err();
        last
    }

    fn keep(&mut self, last: Last) -> Result<(), ConfigError> {
        let written = self.record.write(&last);
        self.last = Some(last);
        written
    }
}

impl Pass for Scrub {
    const NAME: &'static str = "scrub";

    async fn wake(&mut self) {
        loop {
            self.timer.tick().await;
            let last = self.last.clone().unwrap_or_else(|| self.begin());
            if last.is_due(self.engine.wall()) || self.unwritten.is_some() {
                return;
            }
        }
    }

    async fn run_once(&mut self, cx: &Context) -> Report {
        if let Some(error) = self.unwritten.take() {
            return Err(error.to_string());
        }
        let found = tokio::select! {
            () = cx.stopping.cancelled() => return Ok(String::new()),
            found = audit::audit(&self.auditor, Pace::Slow) => found.map_err(|error| error.to_string())?,
        };
        let (good, bad) = (found.mended.len(), found.faults.len());
        cx.note(format!("packages checked: {}, damaged: {bad}, repaired: {good}", found.artifacts));
        let last = Last { at: self.engine.wall(), faults: found.faults };
        self.keep(last).map(|()| String::new()).map_err(|error| error.to_string())
    }
}
