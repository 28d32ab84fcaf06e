//! Checks that the engine's thread answers a message, and notifies the supervisor. A hung process is ended,
//! so that the supervisor restarts it: an orchestrator that listens but decides nothing could look healthy
//! for months.
//!
//! The watchdog has a thread of its own, because the async runtime and its timers may hang too.
//!
//! An engine with a full disk or an unreachable journal does not count as hung: it still answers, and
//! recovers without a restart.

use crate::{
    app::App,
    engine::{Engine, EngineError},
};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use swarm_common::state::DroneState;
use swarm_core::view;
use swarm_daemon::supervisor::Supervisor;

/// Interval between checks if the supervisor does not set one.
const EVERY: Duration = Duration::from_secs(10);

/// Silence after which the engine counts as hung, if no supervisor decides that.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// How long the process may take to exit after the engine hangs. Then it is aborted.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The engine hangs, and no supervisor notices. The number is the silence in seconds.
#[derive(Debug, thiserror::Error)]
#[error("the engine has been unresponsive for {0} s; all acknowledged changes are in the journal")]
pub struct Stuck(u64);

/// The watchdog's thread, which stops when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    _ended: mpsc::Sender<()>,
}

/// Watches until the engine ends or has been silent for longer than `patience`. In the latter case
/// `stuck` is called, and the process is aborted if it does not end soon. `status` is the text for
/// the supervisor.
///
/// # Errors
/// The thread cannot be started.
pub fn watch(
    engine: Engine,
    supervisor: Arc<Supervisor>,
    patience: Duration,
    status: impl Fn() -> String + Send + 'static,
    stuck: impl FnOnce(Stuck) + Send + 'static,
) -> io::Result<Watchdog> {
    let (sender, ended) = mpsc::channel();
    let every = supervisor.ping_every().unwrap_or(EVERY.min(patience / 4));
    let look = move || {
        let mut answered = Instant::now();
        loop {
            let turns = match engine.turns_within(every) {
                Ok(turns) => turns,
                // The server reports the end of the engine.
                Err(EngineError::Stopped) => return,
                Err(_) => false,
            };
            let silence = answered.elapsed();
            if turns {
                answered = Instant::now();
                supervisor.alive();
                supervisor.status(&status());
            } else if supervisor.ping_every().is_some() {
                // The supervisor ends the process after its own time limit, and records that.
                tracing::error!(silence_s = silence.as_secs(), "the engine is unresponsive");
            } else if silence > patience {
                stuck(Stuck(silence.as_secs()));
                if ended.recv_timeout(LAST_WORDS) == Err(RecvTimeoutError::Timeout) {
                    std::process::abort();
                }
                return;
            }
            if ended.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(look)?;
    Ok(Watchdog { _ended: sender })
}

/// The status line that `systemctl status` shows.
#[must_use]
pub fn status(app: &App) -> String {
    if let Some(concern) = app.concerns().into_iter().find(view::stops) {
        let concern = view::concern(concern);
        return format!("{}; {}", concern.what, concern.next);
    }
    app.engine.read(|swarm| {
        let online = swarm.drones.values().filter(|d| d.state() == DroneState::Online).count();
        let live = swarm.attempts.values().filter(|a| a.is_live()).count();
        let runs = swarm.runs.values().filter(|r| !r.state.is_over()).count();
        format!("{online} drones online, {live} active attempts, {runs} active runs")
    })
}
