//! Scheduled runs: [`due`] computes the due times, [`ticker`] provides the ticks, and the pass in this file
//! reports reached due times to the core.
//!
//! The ticker only wakes the pass: it converts a time zone to a fixed offset, so its own schedules are an
//! hour off after a daylight saving change, and it forgets everything at a restart. Each pass derives what is
//! due from the state and the wall clock, so a missing or additional pass is harmless.

pub mod due;
mod ticker;

use crate::{
    engine::{Engine, EngineError},
    passes::{Context, Pass, Report},
};
use due::{DueError, DueTimes};
use std::time::{Duration, Instant};
use swarm_common::{name::Name, time::TimeMs};
use swarm_core::{Command, state::Schedule};
use ticker::Ticker;

const EVERY: Duration = Duration::from_secs(1);

/// A ticker that is silent for this long is replaced. It uses the wall clock, which can be set back.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// How often due times are recomputed, because time zone rules can change.
const REFORESEE: Duration = Duration::from_secs(3600);

/// Handled due times are never further in the future than this, unless the clock was wrong.
const CLOCK_WAS_WRONG_MS: u64 = 25 * 3_600_000;

/// Why a schedule could not be processed. The next pass tries again.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("cannot compute the schedule of {profile}: {source}")]
    Due { profile: Name, source: DueError },
    #[error("the schedule of {profile} is delayed: {source}")]
    Engine { profile: Name, source: EngineError },
}

/// The pass that reports due times, every second.
pub struct Calendar {
    engine: Engine,
    ticker: Option<Ticker>,
    /// When the due times were last recomputed.
    foreseen: Option<Instant>,
}

impl Calendar {
    /// A calendar for the schedules of this engine's state.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, ticker: None, foreseen: None }
    }
}

impl Pass for Calendar {
    const NAME: &'static str = "schedule";

    async fn wake(&mut self) {
        let Some(ticker) = &self.ticker else {
            match Ticker::start(EVERY).await {
                Ok(ticker) => self.ticker = Some(ticker),
                Err(error) => {
                    tracing::error!(%error, "cannot start the ticker; schedules are checked less often");
                    tokio::time::sleep(LONGEST_SILENCE).await;
                }
            }
            return;
        };
        if tokio::time::timeout(LONGEST_SILENCE, ticker.ticked()).await.is_err() {
            tracing::warn!("the ticker of the schedules stopped, restarting it");
            if let Some(ticker) = self.ticker.take() {
                ticker.stop().await;
            }
        }
    }

    async fn run_once(&mut self, _: &Context) -> Report {
        let foresee = self.foreseen.is_none_or(|at| at.elapsed() >= REFORESEE);
        let did = pass(&self.engine, foresee).await.map_err(|error| error.to_string())?;
        if foresee {
            self.foreseen = Some(Instant::now());
        }
        Ok(did)
    }

    async fn end(self) {
        if let Some(ticker) = self.ticker {
            ticker.stop().await;
        }
    }
}

/// Reports every reached due time to the core, and returns a description of what was done. A schedule that
/// fails does not stop the others; the first error is returned.
async fn pass(engine: &Engine, foresee: bool) -> Result<String, PassError> {
    let wall = engine.wall();
    let schedules = engine.read(|swarm| swarm.schedules.clone());
    let (mut did, mut failed) = (Vec::new(), None);
    for (profile, schedule) in schedules.iter().filter(|(_, s)| s.enabled) {
        if wall < schedule.forecast.next && !foresee {
            continue;
        }
        let command = command(profile, schedule, wall);
        let command = match command {
            Ok(None) => continue,
            Ok(Some(command)) => command,
            Err(source) => {
                failed.get_or_insert(PassError::Due { profile: profile.clone(), source });
                continue;
            }
        };
        let due = matches!(command, Command::HandleDue { .. });
        match engine.submit(command, None).await {
            Ok(_) if due => did.push(format!("a run of {profile} is due")),
            Ok(_) => did.push(format!("updated the forecast of {profile}")),
            // The schedule was removed or replaced meanwhile, which the next pass will see.
            Err(EngineError::Refused(refusal)) => tracing::debug!(%refusal, "a due time was rejected"),
            Err(source) => {
                failed.get_or_insert(PassError::Engine { profile: profile.clone(), source });
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(did.join(", ")),
    }
}

/// The command for a schedule at time `wall`, if any.
fn command(profile: &Name, schedule: &Schedule, wall: TimeMs) -> Result<Option<Command>, DueError> {
    let times = DueTimes::read(&schedule.cron, &schedule.zone)?;
    let profile = profile.clone();
    if wall >= schedule.forecast.next
        && let Some(due) = times.last(wall).filter(|&due| due > schedule.handled)
    {
        // If several due times were missed, only the last one is reported.
        return Ok(Some(Command::HandleDue { profile, due, forecast: times.forecast(wall)? }));
    }
    let clock_was_wrong = schedule.handled > wall + CLOCK_WAS_WRONG_MS;
    let after = if clock_was_wrong { wall } else { schedule.handled };
    let forecast = times.forecast(after)?;
    Ok((forecast.next != schedule.forecast.next).then_some(Command::Foresee { profile, forecast }))
}

#[cfg(test)]
mod tests;
