//! Background passes: what a [`Pass`] is, the driver that runs it ([`Passes::start`]), and a record of when
//! each pass last ran and what it did, so that a pass that silently stopped is noticed.
//!
//! The record is only for display and is lost when the process ends.

pub mod calendar;
pub mod checks;
pub mod gc;
pub mod healer;
pub mod notify;
pub mod publisher;
pub mod scrub;

use crate::engine::Engine;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use swarm_common::{
    time::TimeMs,
    wire::{concern::ConcernKind, view::PassView},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// What a run of a pass did, in a few words (empty if there was nothing to do), or in one line why it failed.
pub type Report = Result<String, String>;

/// A background pass. It compares the state with the outside world and does what is missing, so that its next
/// run repairs what a crash or an error interrupted.
pub trait Pass: Send + 'static {
    /// Its name in status and logs.
    const NAME: &'static str;

    /// Whether it runs only while this orchestrator leads, because it sends commands or changes shared files.
    const LEADS: bool = true;

    /// Waits until the next run is due; usually the first run is due at once. Dropped when the orchestrator
    /// stops.
    fn wake(&mut self) -> impl Future<Output = ()> + Send;

    /// Runs once. When the orchestrator stops, it waits for this call, so a long run must then end early.
    fn run_once(&mut self, cx: &Context) -> impl Future<Output = Report> + Send;

    /// Ends what the pass started. Called when the orchestrator stops.
    fn end(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        async {}
    }
}

#[derive(Clone)]
pub struct Context {
    name: &'static str,
    passes: Arc<Passes>,
    /// Cancelled when the orchestrator stops.
    pub stopping: CancellationToken,
}

impl Context {
    /// Records progress before the run has ended.
    pub fn note(&self, did: impl Into<String>) {
        self.passes.note(self.name, did);
    }
}

/// A timer for passes that run at intervals. It ticks at once, and then this long after each tick.
fn every(period: Duration) -> Interval {
    every_after(Duration::ZERO, period)
}

/// Like [`every`], with the first tick after `first`.
fn every_after(first: Duration, period: Duration) -> Interval {
    let mut timer = tokio::time::interval_at(Instant::now() + first, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

/// A started pass: its name and its task.
pub type Started = (&'static str, JoinHandle<()>);

/// The last result of each pass.
pub struct Passes {
    engine: Engine,
    rows: Mutex<BTreeMap<&'static str, PassView>>,
    /// Passes that panicked.
    ended: Mutex<BTreeSet<&'static str>>,
}

impl Passes {
    /// An empty record. The engine provides the time.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, rows: Mutex::default(), ended: Mutex::default() }
    }

    /// Runs a pass until `stopping`, and records what it does.
    pub fn start<P: Pass>(self: &Arc<Self>, mut pass: P, stopping: &CancellationToken) -> Started {
        let (passes, stopping) = (self.clone(), stopping.clone());
        let cx = Context { name: P::NAME, passes: passes.clone(), stopping: stopping.clone() };
        let run = async move {
            if P::LEADS {
                tokio::select! {
                    () = passes.engine.leading() => {}
                    () = stopping.cancelled() => return,
                }
            }
            loop {
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => break,
                    () = pass.wake() => {}
                }
                match pass.run_once(&cx).await {
                    Ok(did) => passes.note(P::NAME, did),
                    Err(why) => passes.fail(P::NAME, why),
                }
            }
            pass.end().await;
        };
        (P::NAME, self.spawn(P::NAME, run))
    }

    /// Runs a pass as a task. A panic is shown in the list of passes.
    pub fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        pass: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let passes = self.clone();
        tokio::spawn(async move {
            if let Err(error) = tokio::spawn(pass).await {
                tracing::error!(name, %error, "a background pass panicked");
                passes.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
                passes.fail(name, "it panicked");
            }
        })
    }

    /// Records that a pass ran and what it did, in a few words (empty if there was nothing to do). Clears an
    /// earlier failure.
    pub fn note(&self, name: &'static str, did: impl Into<String>) {
        let (now, did) = (self.engine.now(), did.into());
        self.change(name, now, |row| {
            row.trouble = None;
            if !did.is_empty() {
                (row.did, row.did_at) = (did, Some(now));
            }
        });
    }

    /// Records that a pass ran but failed, with the reason in one line.
    pub fn fail(&self, name: &'static str, why: impl Into<String>) {
        let why = why.into();
        self.change(name, self.engine.now(), |row| row.trouble = Some(why));
    }

    /// Every pass that has run, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<PassView> {
        let mut rows: Vec<PassView> = self.rows().values().cloned().collect();
        rows.extend(self.engine.maintenance());
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// The failing passes, one concern each. Those of `reported_elsewhere` are included only if they
    /// have panicked.
    #[must_use]
    pub fn concerns(&self, reported_elsewhere: &[&str]) -> Vec<ConcernKind> {
        let (rows, ended) = (self.rows(), self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        let failing = rows.values().filter(|row| {
            let name = row.name.as_str();
            !reported_elsewhere.contains(&name) || ended.contains(name)
        });
        let line = |row: &PassView| {
            let ended = ended.contains(row.name.as_str());
            Some(ConcernKind::PassFails { pass: row.name.clone(), ended, why: row.trouble.clone()? })
        };
        failing.filter_map(line).collect()
    }

    fn change(&self, name: &'static str, now: TimeMs, change: impl FnOnce(&mut PassView)) {
        let mut rows = self.rows();
        let row = rows.entry(name).or_insert_with(|| PassView {
            name: name.to_owned(),
            last_run: now,
            did: String::new(),
            did_at: None,
            trouble: None,
        });
        row.last_run = now;
        change(row);
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<&'static str, PassView>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
