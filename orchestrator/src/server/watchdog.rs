//! Checks that the engine's thread is alive by sending it a message to answer, and notifies the
//! supervisor. A hung process is ended so that the supervisor restarts it: an orchestrator that
//! listens but decides nothing could look healthy for months.
//!
//! The watchdog has a thread of its own, because the async runtime and its timers may hang too.
//!
//! A full disk or an unreachable journal does not count as hung: the engine still answers, and
//! recovers by itself.

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

/// Interval of checks if the supervisor sets none.
const EVERY: Duration = Duration::from_secs(10);

/// How long the engine may stay silent before it counts as hung, if no supervisor judges that.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// How long the process may take to exit once the engine hangs; then it is aborted.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The engine hangs, and there is no supervisor to notice.
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
                // The server reports that it has ended.
                Err(EngineError::Stopped) => return,
                Err(_) => false,
            };
            let silence = answered.elapsed();
            if turns {
                answered = Instant::now();
                supervisor.alive();
                supervisor.status(&status());
            } else if supervisor.ping_every().is_some() {
                // The supervisor ends the process when its own time limit is over, and records that.
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

/// One line for `systemctl status`.
#[must_use]
pub fn status(app: &App) -> String {
    if let Some(trouble) = app.troubles().into_iter().find(view::stops) {
        let trouble = view::concern(trouble);
        return format!("{}; {}", trouble.what, trouble.next);
    }
    app.engine.read(|swarm| {
        let online = swarm.drones.values().filter(|d| d.state() == DroneState::Online).count();
        let live = swarm.attempts.values().filter(|a| a.is_live()).count();
        let runs = swarm.runs.values().filter(|r| !r.state.is_over()).count();
        format!("{online} drones online, {live} active attempts, {runs} active runs")
    })
}
