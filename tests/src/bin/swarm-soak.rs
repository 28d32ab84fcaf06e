//! `swarm-soak`: injects faults into a whole swarm for some minutes and audits the result. Started by
//! `scripts/soak`, which creates its namespaces.

use clap::{Parser, ValueEnum};
use std::process::ExitCode;
use swarm_tests::soak::{self, JournalKind, Options};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Journal {
    Sqlite,
    Redis,
}

/// Inject faults into a swarm of real processes for some minutes, then audit it
///
/// Exit codes: 0 nothing was wrong, 1 something was wrong, 70 the swarm did not come to rest.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "Example:\n  scripts/soak 10 --journal redis --seed 7")]
struct Arguments {
    /// Duration in minutes
    #[arg(default_value_t = 10)]
    minutes: u64,
    /// Number of drones
    #[arg(long, default_value_t = 16)]
    drones: usize,
    /// Seed of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the journal is stored
    #[arg(long, value_enum, default_value = "redis")]
    journal: Journal,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        minutes: arguments.minutes,
        drones: arguments.drones,
        seed: arguments.seed,
        journal: match arguments.journal {
            Journal::Sqlite => JournalKind::Sqlite,
            Journal::Redis => JournalKind::Redis,
        },
    };
    match soak::run(&options) {
        Ok(report) => {
            for (fault, times) in &report.faults {
                println!("{times:4} x {fault}");
            }
            report.status_lines.iter().for_each(|line| println!("{line}"));
            report.figures.iter().for_each(|line| println!("{line}"));
            report.breaches.iter().for_each(|line| println!("WRONG: {line}"));
            let verdict = if report.breaches.is_empty() { "clean" } else { "not clean" };
            let Arguments { minutes, drones, seed, .. } = arguments;
            println!("soak: {verdict} after {minutes} min with {drones} drones, seed {seed}");
            ExitCode::from(u8::from(!report.breaches.is_empty()))
        }
        Err(error) => {
            eprintln!("swarm-soak: {error:#}");
            ExitCode::from(70)
        }
    }
}
