//! Runs that start by themselves: [`due`] knows when, [`ticker`] that time passes, and the
//! pass here tells the core that a due time has come.
//!
//! The ticker is not trusted with more than waking the pass: it stores a fixed offset for a
//! time zone, so that after a change of the clocks its own schedules are an hour off, and it
//! forgets everything at a restart. What is due follows from the state and the wall clock at
//! each pass, so a pass too few or too many changes nothing.

pub mod due;
mod ticker;

use crate::{
    app::App,
    engine::{Engine, EngineError},
};
use due::{DueError, DueTimes};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use swarm_common::{name::Name, time::TimeMs};
use swarm_core::{Command, calendar::Schedule};
use ticker::Ticker;

/// What it is called in the list of passes.
const NAME: &str = "schedule";

/// From one pass to the next.
const EVERY: Duration = Duration::from_secs(1);

/// A ticker that is silent for this long is made anew: it goes by the wall clock, which may
/// be set back.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// How often the rules of time zones are looked at anew.
const REFORESEE: Duration = Duration::from_secs(3600);

/// A due time that was handled lies no further ahead than this, unless the clock was wrong.
const CLOCK_WAS_WRONG_MS: u64 = 25 * 3_600_000;

/// Why a schedule was not looked after. It is tried again at the next pass.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("the schedule of {profile} cannot be worked out: {source}")]
    Due { profile: Name, source: DueError },
    #[error("the schedule of {profile} waits: {source}")]
    Engine { profile: Name, source: EngineError },
}

/// Passes every second until the orchestrator stops.
pub async fn run(app: Arc<App>) {
    let mut foreseen: Option<Instant> = None;
    while !app.stopping.is_cancelled() {
        let mut ticker = match Ticker::start(EVERY).await {
            Ok(ticker) => Some(ticker),
            Err(error) => {
                tracing::error!(%error, "the ticker does not start; the schedules are looked at less often");
                None
            }
        };
        loop {
            let foresee = foreseen.is_none_or(|at| at.elapsed() >= REFORESEE);
            match pass(&app.engine, foresee).await {
                Ok(did) => {
                    app.passes.note(NAME, did);
                    if foresee {
                        foreseen = Some(Instant::now());
                    }
                }
                Err(error) => app.passes.fail(NAME, error.to_string()),
            }
            let tick = async {
                match &ticker {
                    Some(ticker) => ticker.ticked().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = app.stopping.cancelled() => break,
                () = tick => {}
                () = tokio::time::sleep(LONGEST_SILENCE) => {
                    tracing::warn!("the ticker of the schedules fell silent and is made anew");
                    break;
                }
            }
        }
        if let Some(ticker) = ticker.take() {
            ticker.stop().await;
        }
    }
}

/// Tells the core of every due time that has come. What was done, in words. One schedule's
/// failure does not hold up the others; the first is given back.
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
            Ok(_) if due => did.push(format!("a run of {profile} was due")),
            Ok(_) => did.push(format!("{profile} is foreseen anew")),
            // It was removed or set anew meanwhile, and the next pass sees that.
            Err(EngineError::Refused(refusal)) => tracing::debug!(%refusal, "a due time was refused"),
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

/// What the core is to be told of a schedule at the time `wall`.
fn command(profile: &Name, schedule: &Schedule, wall: TimeMs) -> Result<Option<Command>, DueError> {
    let times = DueTimes::read(&schedule.cron, &schedule.zone)?;
    let profile = profile.clone();
    if wall >= schedule.forecast.next
        && let Some(due) = times.last(wall).filter(|&due| due > schedule.handled)
    {
        // Of several that were missed the last stands for all.
        return Ok(Some(Command::HandleDue { profile, due, forecast: times.forecast(wall)? }));
    }
    let clock_was_wrong = schedule.handled > wall + CLOCK_WAS_WRONG_MS;
    let after = if clock_was_wrong { wall } else { schedule.handled };
    let forecast = times.forecast(after)?;
    Ok((forecast.next != schedule.forecast.next).then_some(Command::Foresee { profile, forecast }))
}

#[cfg(test)]
mod tests;
