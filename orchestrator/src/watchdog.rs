//! Looks whether the engine still turns, by sending it something to answer, and tells the
//! supervisor so. What does not turn any more is ended, for the supervisor to start anew:
//! an orchestrator that listens and decides nothing would look like health for months.
//!
//! It has a thread of its own, as an engine that spins keeps everybody waiting who looks at
//! the state, and may so stop the runtime with all its timers.
//!
//! A disk that is full or a journal that is away is no reason: the engine answers then,
//! and goes on by itself.

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
use swarm_common::{state::DroneState, supervisor::Supervisor};

/// From one look to the next where no supervisor says how often.
const EVERY: Duration = Duration::from_secs(10);

/// An engine that is silent this long is stuck, where no supervisor judges that.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// How long the process may take to end when it was told that the engine is stuck.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The engine hangs, and no supervisor is there that judges it.
#[derive(Debug, thiserror::Error)]
#[error("the engine has not answered for {0} s, it hangs; everything that was answered is in the journal")]
pub struct Stuck(u64);

/// The thread that watches, until this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    _ended: mpsc::Sender<()>,
}

/// Watches until the engine ends, or hangs for longer than `patience`: then `stuck` is told, and
/// if the process does not end soon it is aborted. `status` is shown to the supervisor.
///
/// # Errors
/// There can be no thread.
pub fn watch(
    engine: Engine,
    supervisor: Arc<Supervisor>,
    patience: Duration,
    status: impl Fn() -> Option<String> + Send + 'static,
    stuck: impl FnOnce(Stuck) + Send + 'static,
) -> io::Result<Watchdog> {
    let (sender, ended) = mpsc::channel();
    let every = supervisor.ping_every().unwrap_or(EVERY.min(patience / 4));
    let look = move || {
        let mut answered = Instant::now();
        loop {
            let turns = match engine.turns_within(every) {
                Ok(turns) => turns,
                // That it has ended is for the server to tell.
                Err(EngineError::Stopped) => return,
                Err(_) => false,
            };
            let silence = answered.elapsed();
            if turns {
                answered = Instant::now();
                supervisor.alive();
                if let Some(status) = status() {
                    supervisor.status(&status);
                }
            } else if supervisor.ping_every().is_some() {
                // It ends us as soon as it has waited long enough, and keeps a trace of it.
                tracing::error!(silence_s = silence.as_secs(), "the engine does not answer");
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

/// One line for `systemctl status`, if the engine does not decide just now.
#[must_use]
pub fn status(app: &App) -> Option<String> {
    if let Some(trouble) = app.troubles().into_iter().find(|trouble| trouble.stops) {
        return Some(format!("{}; {}", trouble.what, trouble.next));
    }
    app.engine.try_read(|swarm| {
        let online = swarm.drones.values().filter(|d| d.state() == DroneState::Online).count();
        let live = swarm.attempts.values().filter(|a| a.is_live()).count();
        let runs = swarm.runs.values().filter(|r| !r.state.is_over()).count();
        format!("{online} drones on duty, {live} attempts under way, {runs} runs not over")
    })
}
