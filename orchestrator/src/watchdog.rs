//! Looks whether the engine still turns, by sending it something to answer, and tells the
//! supervisor so. What does not turn any more is ended, for the supervisor to start anew:
//! an orchestrator that listens and decides nothing would look like health for months.
//!
//! A disk that is full or a journal that is away is no reason: the engine answers then,
//! and goes on by itself.

use crate::{app::App, engine::EngineError};
use std::time::{Duration, Instant};
use swarm_common::{state::DroneState, supervisor::Supervisor};

/// From one look to the next where no supervisor says how often.
const EVERY: Duration = Duration::from_secs(10);

/// An engine that is silent this long is stuck, where no supervisor judges that.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// The engine hangs, and no supervisor is there that judges it.
#[derive(Debug, thiserror::Error)]
#[error("the engine has not answered for {0} s, it hangs; everything that was answered is in the journal")]
pub struct Stuck(u64);

/// Watches until the engine hangs; for ever if it does not. One that has ended is
/// [`crate::server::Server::serve`]'s to tell.
pub async fn watch(app: &App, supervisor: &Supervisor) -> Stuck {
    let every = supervisor.ping_every().unwrap_or(EVERY);
    let mut answered = Instant::now();
    loop {
        let is_alive = match tokio::time::timeout(every, app.engine.pulse()).await {
            Ok(Ok(())) => true,
            Ok(Err(EngineError::Stopped)) => return std::future::pending().await,
            Ok(Err(_)) | Err(_) => false,
        };
        let silence = answered.elapsed();
        if is_alive {
            answered = Instant::now();
            supervisor.alive();
            supervisor.status(&status(app));
        } else if supervisor.ping_every().is_some() {
            // It ends us as soon as it has waited long enough, and keeps a trace of it.
            tracing::error!(silence_s = silence.as_secs(), "the engine does not answer");
        } else if silence > LONGEST_SILENCE {
            return Stuck(silence.as_secs());
        }
        tokio::time::sleep(every).await;
    }
}

/// One line for `systemctl status`.
fn status(app: &App) -> String {
    if let Some(trouble) = app.troubles().into_iter().next() {
        return format!("{}; {}", trouble.what, trouble.next);
    }
    app.engine.read(|swarm| {
        let online = swarm.drones.values().filter(|d| d.state() == DroneState::Online).count();
        let live = swarm.attempts.values().filter(|a| a.is_live()).count();
        let runs = swarm.runs.values().filter(|r| !r.state.is_over()).count();
        format!("{online} drones on duty, {live} attempts under way, {runs} runs not over")
    })
}
