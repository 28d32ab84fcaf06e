//! `swarm-sim`: replays measured builds through the real core on a simulated fleet, and prints how close it
//! comes to the shortest possible night, compared with other schedulers. It starts no drone and opens no
//! connection.

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use std::{io::Write, path::PathBuf};
use swarm_tests::replay::{
    case::{Case, Knowledge, Mishap},
    fleet::Fleet,
    gantt,
    made::made,
    peers::Peer,
    table::{Policy, Row, row, text},
    workload::Workload,
};

/// Simulate how long a night would take.
#[derive(Parser)]
#[command(
    name = "swarm-sim",
    after_help = "\
Examples:
  swarm-sim tests/workloads/blfs-733.json --fleet A
  swarm-sim tests/workloads/*.json --fleet A --fleet B --fleet C --night straggler
  swarm-sim --made 5266:1 --fleet 4,4,2,2,1,1,1,0.5 --seeds 3 --policy build-swarm
  swarm-sim my.json --fleet 8x1 --night cold --setup 20 --gantt night.svg

A workload file is {\"packages\":[{\"name\",\"version\",\"deps\":[names],\"seconds\"}]}: seconds of work on
a drone of speed 1. Figures are makespan / lower bound over all seeds. The bound is the largest of
three times: all work on all drones together; the longest chain on the fastest drone; and, for each
package, what comes before and after it on all drones plus the package itself on the fastest."
)]
struct Args {
    workloads: Vec<PathBuf>,
    /// An artificial workload with this many packages: `COUNT` or `COUNT:SEED`.
    #[arg(long, value_name = "COUNT[:SEED]")]
    made: Vec<String>,
    /// Speeds of the drones, separated by commas, for example `8x1`; or A, B, C for the fleets of the goals.
    #[arg(long, default_value = "A")]
    fleet: Vec<Fleet>,
    /// What is known in advance, and what goes wrong.
    #[arg(long, value_enum, default_value = "usual")]
    night: Kind,
    /// Error of the recorded build times, in percent in either direction.
    #[arg(long, default_value_t = 40.0, value_parser = percent)]
    noise: f64,
    /// Overhead of every package in seconds, on any drone.
    #[arg(long, default_value_t = 0.0, value_parser = seconds)]
    setup: f64,
    /// Number of nights for each figure.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Run only these policies.
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    policy: Vec<Policy>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw the first workload with the first seed, fleet and policy to this file.
    #[arg(long, value_name = "FILE.svg")]
    gantt: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Everything was built before, and nothing goes wrong.
    Usual,
    /// Nothing was built before; the speeds of drones are guessed from their processors.
    Cold,
    /// The fastest drone slows down to an eighth of its speed half-way.
    Straggler,
    /// The fastest drone disappears half-way.
    Loss,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if (0.0..100.0).contains(&p) => Ok(p / 100.0),
        _ => Err("expected 0 up to, not including, 100".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=86_400.0).contains(&s) => Ok(s),
        _ => Err("expected 0 to 86400 seconds".into()),
    }
}

fn policies() -> impl Iterator<Item = Policy> {
    std::iter::once(Policy::Core).chain(Peer::ALL.iter().map(|&p| Policy::Peer(p)))
}

fn policy(text: &str) -> Result<Policy, String> {
    policies().find(|p| p.word() == text).ok_or_else(|| {
        let all: Vec<_> = policies().map(Policy::word).collect();
        format!("one of {}", all.join(", "))
    })
}

fn workloads(args: &Args) -> Result<Vec<Workload>> {
    let mut all = args.workloads.iter().map(|path| Workload::read(path)).collect::<Result<Vec<_>>>()?;
    for text in &args.made {
        let (count, seed) = text.split_once(':').unwrap_or((text, "1"));
        let parsed = count.parse().ok().filter(|c| (1..=50_000).contains(c)).zip(seed.parse().ok());
        let (count, seed) = parsed.with_context(|| format!("--made {text}: expected 1 to 50000 packages"))?;
        all.push(made(count, seed)?);
    }
    if all.is_empty() {
        bail!("no workload: name a file, or have one made up with --made 500");
    }
    Ok(all)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let workloads = workloads(&args)?;
    let noise = Knowledge::Estimates(args.noise);
    let (knowledge, mishap) = match args.night {
        Kind::Usual => (noise, Mishap::None),
        Kind::Cold => (Knowledge::None, Mishap::None),
        Kind::Straggler => (noise, Mishap::Straggler),
        Kind::Loss => (noise, Mishap::Loss),
    };
    let case = Case { knowledge, mishap, setup_ms: args.setup * 1000.0 };
    let policies = if args.policy.is_empty() { policies().collect() } else { args.policy.clone() };
    let mut rows: Vec<Row> = Vec::new();
    for fleet in &args.fleet {
        for workload in &workloads {
            for &policy in &policies {
                rows.push(row(workload, fleet, &case, policy, args.seeds)?);
            }
        }
    }
    if let Some(path) = &args.gantt {
        let (workload, fleet, policy) = (&workloads[0], &args.fleet[0], policies[0]);
        let night = case.night(workload, fleet, 0);
        let outcome = policy.play(workload, &night)?;
        let title = format!("{} on fleet {} by {}", workload.name, fleet.name, policy.word());
        let svg = gantt::svg(workload, &night, &outcome, &title);
        std::fs::write(path, svg).with_context(|| format!("writing {}", path.display()))?;
    }
    let shown = if args.json { serde_json::to_string_pretty(&rows)? + "\n" } else { text(&rows) };
    std::io::stdout().write_all(shown.as_bytes())?;
    Ok(())
}
