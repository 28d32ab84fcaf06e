//! `swarm-suites`: runs the tests that Cargo has built, several suites at a time.
//!
//!     cargo test --workspace --no-run --message-format=json-render-diagnostics | swarm-suites
//!
//! The last line is the sum of all results. The exit status is non-zero if anything failed, crashed or gave
//! no result.

use clap::Parser;
use std::{
    io,
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use swarm_tests::suites::{Job, built, lanes, report};

/// Run the tests that Cargo has built, several suites at a time.
#[derive(Debug, Parser)]
struct Options {
    /// A command to run beside the suites
    #[arg(long, num_args = 2, value_names = ["NAME", "COMMAND"])]
    also: Vec<String>,
    /// When the script began, in seconds since 1970, for printing the total time
    #[arg(long)]
    began: Option<u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let began = Instant::now();
    let mut jobs: Vec<Job> = options
        .also
        .chunks_exact(2)
        .map(|also| Job::Command { name: also[0].clone(), line: also[1].clone() })
        .collect();
    jobs.extend(built::suites(io::stdin().lock())?.into_iter().map(Job::Suite));
    let ended = lanes::run(jobs, |job| print!("{}", report::of_one(job)));
    print!("{}", report::of_all(&ended));
    println!("== tests: {} s", began.elapsed().as_secs());
    if let Some(began) = options.began {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        println!("== all: {} s", now.saturating_sub(began));
    }
    println!("{}", report::sum(&ended));
    let failed = ended.iter().any(|job| job.failure.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
