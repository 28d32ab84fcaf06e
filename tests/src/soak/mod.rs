//! A soak: a whole swarm of real processes, each drone in its own network, that works for minutes while
//! faults are injected at random, followed by an audit.
//!
//! There are no tolerances: everything published must be intact whenever it is read, every package must end
//! up received once or quarantined with a reason, and memory and open files of a process must not grow.
//! Damage must be found, and no lie accepted.

mod audit;
mod backup;
pub mod clock;
mod damage;
mod damaged;
mod farm;
mod fault;
mod footprint;
mod liar;
mod node;
mod proxy;
mod reader;
mod status_reports;
mod worker;

pub use farm::{Farm, JournalKind};

use crate::sim::rng::Rng;
use anyhow::{Context, Result};
use fault::Fault;
use footprint::Footprint;
use status_reports::StatusReports;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Interval between two checks of everything.
const TICK: Duration = Duration::from_millis(500);

/// Duration of work without faults, during which the resources of processes must not grow.
const CALM: Duration = Duration::from_secs(120);

/// Upper limit for completing the remaining work.
const REST: Duration = Duration::from_secs(900);

#[derive(Debug, Clone)]
pub struct Options {
    /// How many minutes faults are injected.
    pub minutes: u64,
    pub drones: usize,
    /// Seed of the faults.
    pub seed: u64,
    pub journal: JournalKind,
}

#[derive(Debug)]
pub struct Report {
    /// How many times each fault was injected.
    pub faults: BTreeMap<String, u64>,
    /// Violations; empty if there were none.
    pub breaches: Vec<String>,
    /// What `swarmctl status` reported during each kind of fault.
    pub status_lines: Vec<String>,
    pub figures: Vec<String>,
}

/// Runs the soak.
///
/// # Errors
/// The swarm could not be started, or did not come to rest.
pub fn run(options: &Options) -> Result<Report> {
    let mut farm = Farm::start(options.drones, options.journal)?;
    let over = Arc::new(AtomicBool::new(false));
    let reader = reader::start(farm.address(), farm.damaged.clone(), over.clone());
    let liar = farm.start_liar(options.seed, over.clone())?;
    let worker = worker::start(farm.ground(), over.clone());
    let mut footprint = Footprint::default();
    let mut rng = Rng::new(options.seed);
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    let mut status_reports = StatusReports::default();
    // End, whether it lasts long enough to be reported in the status, and the fault.
    let mut open: Vec<(Instant, bool, Fault)> = Vec::new();
    let (began, length) = (Instant::now(), Duration::from_secs(options.minutes * 60));
    let mut next = began + Duration::from_secs(20);
    while began.elapsed() < length {
        thread::sleep(TICK);
        footprint.look(&farm);
        farm.check_alive()?;
        let now = Instant::now();
        let (ended, still): (Vec<_>, Vec<_>) = open.drain(..).partition(|(until, ..)| *until <= now);
        open = still;
        for (_, long, fault) in ended {
            // A paused process reports nothing.
            if long
                && fault != Fault::PauseOrchestrator
                && !open.iter().any(|o| o.2 == Fault::PauseOrchestrator)
            {
                status_reports.look(&farm, fault);
            }
            fault.end(&mut farm).with_context(|| format!("the end of: {fault}"))?;
        }
        if now < next {
            continue;
        }
        next = now + Duration::from_millis(rng.range(2_000, 10_000));
        let fault = Fault::choose(&mut rng, &farm);
        if open.iter().any(|(.., other)| other.excludes(&fault)) {
            continue;
        }
        let length_ms = rng.range(1_000, fault.longest_ms());
        let (length, long) = (Duration::from_millis(length_ms), 3 * length_ms > 2 * fault.longest_ms());
        println!("{:5.0} s  {fault} for {:.0} s", began.elapsed().as_secs_f64(), length.as_secs_f64());
        fault.begin(&mut farm, &mut rng, length).with_context(|| format!("the beginning of: {fault}"))?;
        *faults.entry(fault.kind().to_owned()).or_default() += 1;
        open.push((now + length, long, fault));
    }
    for (.., fault) in open {
        fault.end(&mut farm).with_context(|| format!("the end of: {fault}"))?;
    }
    println!("{:5.0} s  no more faults; the work goes on", began.elapsed().as_secs_f64());
    let calm = Instant::now();
    while calm.elapsed() < CALM {
        thread::sleep(TICK);
        footprint.look(&farm);
        farm.check_alive()?;
    }
    println!("{:5.0} s  the swarm comes to rest", began.elapsed().as_secs_f64());
    over.store(true, Ordering::Relaxed);
    let worked = worker.join().map_err(|_| anyhow::anyhow!("the worker broke off"))??;
    let runs = farm.rest(REST)?;
    let read = reader.join().map_err(|_| anyhow::anyhow!("the reader broke off"))?;
    let lies = liar.join().map_err(|_| anyhow::anyhow!("the liar broke off"))?;
    let mut breaches = read.breaches;
    breaches.append(&mut farm.breaches);
    breaches.extend(lies.breaches);
    breaches.extend(audit::breaches(&farm, &runs)?);
    breaches.extend(footprint.breaches());
    let mut figures = vec![
        format!("{} runs started, {} ended as they should", worked, runs.len()),
        format!("{} reads of the index, {} of packages, while faults went on", read.indexes, read.packages),
        format!("{} lies of a hostile drone were refused", lies.refused),
    ];
    figures.extend(audit::figures(&farm, &runs)?);
    figures.extend(footprint.figures());
    Ok(Report { faults, breaches, status_lines: status_reports.lines().collect(), figures })
}
