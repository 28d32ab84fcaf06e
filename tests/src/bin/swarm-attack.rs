//! `swarm-attack`: attacks a new orchestrator with hostile input for some minutes. Started by
//! `scripts/attack`.

use clap::Parser;
use std::{process::ExitCode, time::Duration};
use swarm_tests::attack::{self, Options, SHARES};

/// Attack a new orchestrator on this machine with hostile reports, uploads, archives, connections and damaged
/// files
///
/// Exit codes: 0 no rule was broken, 1 a rule was broken, 70 the attack could not be carried out.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "Example:\n  scripts/attack 5 --seed 7")]
struct Arguments {
    /// Duration in minutes
    #[arg(default_value_t = 3.0)]
    minutes: f64,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run only this kind of attack; may be repeated
    #[arg(long, value_name = "KIND", value_parser = SHARES.map(|(kind, _)| kind))]
    only: Vec<String>,
    /// Number of connections in the crowd of strangers
    #[arg(long, default_value_t = 2000)]
    crowd: usize,
    /// By how much large plans are scaled down from the largest allowed size
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    scale: u32,
    /// Maximum for the 99th percentile of a well-behaved drone's heartbeats, in milliseconds
    #[arg(long, default_value_t = 100)]
    p99_ms: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        length: Duration::from_secs_f64(arguments.minutes.clamp(0.0, 10_000.0) * 60.0),
        seed: arguments.seed,
        only: arguments.only,
        crowd: arguments.crowd,
        scale: arguments.scale,
        p99: Duration::from_millis(arguments.p99_ms),
    };
    let printed = attack::run(&options).and_then(|report| match arguments.json {
        true => Ok((serde_json::to_string_pretty(&report)?, report.breaches.is_empty())),
        false => {
            let verdict = if report.breaches.is_empty() { "held" } else { "did not hold" };
            let text = report.text();
            Ok((format!("{text}attack: {verdict}, seed {}", report.seed), report.breaches.is_empty()))
        }
    });
    match printed {
        Ok((text, held)) => {
            println!("{text}");
            ExitCode::from(u8::from(!held))
        }
        Err(error) => {
            eprintln!("swarm-attack: seed {}: {error:#}", arguments.seed);
            ExitCode::from(70)
        }
    }
}
