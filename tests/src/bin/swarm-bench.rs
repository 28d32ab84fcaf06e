//! `swarm-bench`: measures Build Swarm and compares it with the alternatives. Started by `scripts/bench`,
//! which installs them.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use std::{fs, path::PathBuf};
use swarm_tests::bench::{ALL, Settings, queue::reference, report};

/// Measure Build Swarm and compare it with the alternatives
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  scripts/bench                                  everything; writes docs/benchmarks.md again
  scripts/bench index serving --rounds 5         two sections, printed only"
)]
struct Arguments {
    /// Run only these sections
    sections: Vec<String>,
    /// Number of rounds, of which the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Also measure build-swarm-v3, from a checkout of its repository
    #[arg(long, value_name = "DIR")]
    peer: Option<PathBuf>,
    /// Also make this many claims in the queue section, for example 1000000 (takes minutes)
    #[arg(long, value_name = "N")]
    claims: Option<usize>,
    /// Also measure a clean release build in the footprint section (takes minutes)
    #[arg(long)]
    clean_build: bool,
    /// Build whole graphs in the drone section: 733 packages of BLFS, 320 of T2 (takes two hours)
    #[arg(long)]
    whole: bool,
    /// Run only worlds of the drone section whose name contains this, for example t2
    #[arg(long, value_name = "TEXT")]
    world: Option<String>,
    /// Write the page with all sections to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run as the reference server for the queue, with this database
    #[arg(long, value_name = "DATABASE", hide = true)]
    reference: Option<PathBuf>,
    /// Number of packages that the reference server assigns
    #[arg(long, default_value_t = 1, hide = true)]
    packages: usize,
}

/// A short description of the machine.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores ({})", model.map_or("unknown processor", |(_, name)| name))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(database) = &arguments.reference {
        return reference::serve(database, arguments.packages);
    }
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = arguments.sections.iter().find(|s| !names.contains(&s.as_str())) {
        bail!("no section {unknown}; there are {}", names.join(", "));
    }
    let settings = Settings {
        rounds: arguments.rounds.into(),
        peer: arguments.peer,
        claims: arguments.claims,
        clean_build: arguments.clean_build,
        whole: arguments.whole,
        world: arguments.world,
    };
    let (mut sections, mut failed) = (Vec::new(), Vec::new());
    for (name, run) in ALL {
        if !arguments.sections.is_empty() && arguments.sections.iter().all(|s| s != name) {
            continue;
        }
        eprintln!("measuring {name} …");
        match run(&settings) {
            Ok(section) => {
                if !arguments.json {
                    println!("{}", section.text());
                }
                sections.push(section);
            }
            // The other sections are useful anyway.
            Err(error) => {
                eprintln!("section {name}: {error:#}");
                failed.push(name);
            }
        }
        // Written after each section, so that the results stay if the rest is interrupted.
        if let Some(path) = &arguments.write {
            fs::write(path, report::page(&sections, &machine()))
                .with_context(|| format!("writing {}", path.display()))?;
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&sections)?);
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}
