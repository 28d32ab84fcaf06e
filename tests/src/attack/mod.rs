//! Attacks: random hostile actions of a drone, an admin, a stranger or a disk against a real orchestrator,
//! limited in time, on this machine only.
//!
//! For each input it is known in advance whether it must be accepted or refused, or a reference decides (the
//! real Portage for packages, the original for changed files). Meanwhile a well-behaved drone sends
//! heartbeats, and their response time is measured.

mod archives;
pub mod connections;
mod damage;
mod packages;
pub mod plans;
mod prey;
mod pulse;
mod reports;
mod strangers;
mod tally;
mod uploads;

pub use packages::Dice;
pub use tally::Tally;

use anyhow::{Context as _, Result};
use connections::Crowd;
use prey::Prey;
use pulse::Pulse;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Maximum memory of the orchestrator in MB.
pub const MEMORY_MB: f64 = 150.0;

/// Maximum response time for any plan. Meanwhile the engine answers nothing else.
pub const PLAN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Options {
    /// Total duration. An action that has begun is completed.
    pub length: Duration,
    /// Seed of all random choices.
    pub seed: u64,
    /// Run only these kinds of attacks, with the whole time; empty for all of them.
    pub only: Vec<String>,
    /// Number of connections in the crowd.
    pub crowd: usize,
    /// By how much large plans are scaled down from the largest allowed size.
    pub scale: u32,
    /// Maximum for the 99th percentile of heartbeat durations.
    pub p99: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The seed that reproduces the attack.
    pub seed: u64,
    pub kinds: Vec<Tally>,
    /// Rules that were broken, one line each.
    pub breaches: Vec<String>,
}

impl Report {
    /// A line for each kind of attack, a line for the total, and a line for each broken rule.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = tally::table(&self.kinds);
        for breach in &self.breaches {
            text.push_str(&format!("WRONG: {breach}\n"));
        }
        text
    }
}

/// The relative share of time for each kind of attack.
pub const SHARES: [(&str, u32); 5] =
    [("reports", 6), ("uploads", 6), ("archives", 2), ("connections", 3), ("damage", 3)];

/// Attacks a new orchestrator.
///
/// # Errors
/// It cannot be started, or an attack cannot be carried out.
pub fn run(options: &Options) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let mut kinds = Vec::new();
    runtime.block_on(async {
        let mut prey = Prey::start().await?;
        let pulse = Pulse::start(prey.honest.clone());
        let is_selected =
            |kind: &str| options.only.is_empty() || options.only.iter().any(|only| only == kind);
        let shares: u32 = SHARES.iter().filter(|(kind, _)| is_selected(kind)).map(|(_, share)| share).sum();
        for (number, (kind, share)) in (1..).zip(SHARES).filter(|(_, (kind, _))| is_selected(kind)) {
            let mut tally = Tally::new(kind);
            let dice = &mut Dice::new(options.seed.wrapping_mul(31).wrapping_add(number));
            let until = Instant::now() + options.length * share / shares;
            pulse.taken();
            prey.forget_peak()?;
            match kind {
                "reports" => reports::attack(&mut prey, dice, until, options.scale, &mut tally).await,
                "uploads" => uploads::attack(&prey, dice, until, options.scale, &mut tally).await,
                "archives" => archives::attack(&prey, dice, until, &mut tally).await,
                "connections" => crowded(&prey, dice, until, options.crowd, &mut tally).await,
                // Uses another orchestrator, which is stopped and started.
                _ => damage::attack(dice, until, &mut tally).await,
            }
            .with_context(|| format!("{kind}, after {} inputs", tally.inputs))?;
            let (beats, unanswered) = pulse.taken();
            tally.heartbeat_p99_ms = beats.percentile(99).as_secs_f64() * 1000.0;
            tally.heartbeats = beats.len() as u64;
            unanswered
                .into_iter()
                .for_each(|why| tally.wrong(format!("a heartbeat of the other drone: {why}")));
            let lives = prey.look(&mut tally);
            kinds.push(tally);
            if !lives {
                return Ok(());
            }
        }
        pulse.stop().await;
        prey.stop()
    })?;
    let breaches = breaches(&kinds, options);
    Ok(Report { seed: options.seed, kinds, breaches })
}

/// Opens a crowd of connections, while strangers request what they must not get.
async fn crowded(
    prey: &Prey,
    dice: &mut Dice,
    until: Instant,
    crowd: usize,
    tally: &mut Tally,
) -> Result<()> {
    let crowd = Crowd::gather(prey.address(), crowd).await?;
    strangers::attack(prey, dice, until, tally).await?;
    tally.inputs += crowd.opened();
    tally.refused += crowd.opened();
    crowd.leave().await;
    Ok(())
}

fn breaches(kinds: &[Tally], options: &Options) -> Vec<String> {
    let mut breaches = Vec::new();
    for tally in kinds {
        let kind = tally.kind;
        breaches.extend(tally.examples.iter().map(|example| format!("{kind}: {example}")));
        if tally.wrong > tally.examples.len() as u64 {
            breaches.push(format!("{kind}: {} wrong verdicts in all", tally.wrong));
        }
        if tally.crashes > 0 {
            breaches.push(format!("{kind}: {} crashes", tally.crashes));
        }
        if tally.peak_mb > MEMORY_MB {
            breaches
                .push(format!("{kind}: {:.0} MB of memory; at most {MEMORY_MB} are allowed", tally.peak_mb));
        }
        // Debug builds get smaller plans, and their times mean nothing.
        if options.scale == 1 && tally.slowest_plan_ms > PLAN.as_secs_f64() * 1000.0 {
            let (plan, ms) = (&tally.slowest_plan, tally.slowest_plan_ms);
            breaches
                .push(format!("{kind}: the plan `{plan}` is answered after {ms:.0} ms; {PLAN:?} is allowed"));
        }
        if tally.heartbeat_p99_ms > options.p99.as_secs_f64() * 1000.0 {
            let p99 = tally.heartbeat_p99_ms;
            breaches.push(format!(
                "{kind}: 99 of 100 heartbeats take {p99:.0} ms; {:?} are allowed",
                options.p99
            ));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_full_size_that_is_answered_late_is_a_breach() {
        let breaches_of = |ms: u64, scale| {
            let mut tally = Tally::new("reports");
            tally.took_for_plan("a ladder", Duration::from_millis(ms));
            tally.took_for_plan("a plan of two", Duration::from_millis(2));
            let (length, p99) = (Duration::ZERO, Duration::MAX);
            breaches(&[tally], &Options { length, seed: 1, only: Vec::new(), crowd: 0, scale, p99 })
        };
        assert_eq!(
            breaches_of(1001, 1),
            ["reports: the plan `a ladder` is answered after 1001 ms; 1s is allowed"]
        );
        assert_eq!([breaches_of(999, 1), breaches_of(1001, 40)], [const { Vec::<String>::new() }; 2]);
    }
}
