//! Nix in a swarm: serving a cache compared with nginx, building compared with `nix-build`, and accepting an
//! archive compared with `nix copy`.

mod intake;
mod serving;
mod world;

use super::{
    Settings,
    report::{Goal, Row, Section, median},
    shape::Shape,
};
use anyhow::Result;

/// Duration in milliseconds of a derivation, in sets whose builds take time at all.
const BUSY_MS: u32 = 500;

/// Packages of the forest: the first of BLFS in build order.
const FEW: usize = 120;

/// Runs the benchmark.
///
/// # Errors
/// Something does not start, Nix, nginx or wrk is missing, or a run does not end well.
pub fn run(settings: &Settings) -> Result<Section> {
    let mut rows = serving::rows(settings)?;
    for (shape, busy_ms) in
        [(Shape::ladder(16), 0), (Shape::of("blfs-733", FEW)?, 0), (Shape::ladder(32), BUSY_MS)]
    {
        let busy = if busy_ms == 0 { String::new() } else { format!(" of {busy_ms} ms each") };
        let label = format!("{}{busy}, one drone, s", shape.name);
        eprintln!("  {label} beside nix-build -j1 …");
        let round = |_| Ok((world::farm(&shape, busy_ms)?, world::plain(&shape, busy_ms)?));
        let rounds = (0..settings.rounds).map(round).collect::<Result<Vec<_>>>()?;
        let (ours, theirs): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        rows.push(Row::new(label, median(ours)?, "nix-build -j1", median(theirs)?, Goal::AtMost(1.3)));
    }
    rows.extend(intake::rows(settings)?);
    let about = "The release build of the orchestrator and nginx serve the same signed cache on one core each. wrk sends \
                 requests from another core, over 32 connections for a narinfo and 4 for an archive. Then one drone \
                 with the real Nix builds worlds of derivations that only read their dependencies; the time is from \
                 `run start` until everything is received. In comparison, Nix alone builds the same world, also in a \
                 sandbox. Finally, the drone's client uploads an archive of incompressible data to the orchestrator, \
                 which reads the archive and searches it for references before it answers; `nix copy` compresses the \
                 same file into a cache on this disk. A build that takes no time costs a drone 10 to 50 ms more than \
                 Nix alone, which builds a whole world in one process and delivers nothing."
        .to_owned();
    Ok(Section { title: "Nix", about, rows })
}
