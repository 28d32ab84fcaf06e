//! Published files over plain HTTP, compared with nginx and with the directory service of the library on
//! which the orchestrator is based.

pub(super) mod load;
pub(super) mod servers;
mod slow;
mod tree;

use super::{
    Settings,
    report::{Goal, Row, Section, median},
    server::Orchestrator,
};
use crate::api::PROFILE;
use anyhow::Result;
use load::{Load, Measured};
use servers::{Served, nginx, pin, serve_dir};
use slow::SlowClients;
use std::net::SocketAddr;

const SLOW_CLIENTS: usize = 200;

/// The requested file, and the number of connections.
const SMALL: (&str, u16) = (tree::SMALL, 32);
const INDEX: (&str, u16) = ("Packages", 32);
const LARGE: (&str, u16) = (tree::LARGE, 4);

/// Results of a server in one round.
struct Round {
    small: Measured,
    index: Measured,
    large: Measured,
}

/// Runs the benchmark.
///
/// # Errors
/// A server does not start or answers wrongly, or nginx or wrk is missing.
pub fn run(settings: &Settings) -> Result<Section> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let orchestrator = Orchestrator::start(folder.path(), "")?;
    runtime.block_on(orchestrator.crew(0))?;
    let host = format!("state/binhost/{PROFILE}/stable");
    let tree = folder.path().join(host);
    let index_bytes = tree::publish(&tree)?;
    let load = Load::new(folder.path())?;
    let ours = Served::ours(&orchestrator);
    let nginx = nginx(folder.path(), &tree)?;
    let directory = serve_dir(folder.path(), &tree)?;
    for server in [&ours, &nginx, &directory] {
        pin(server.id)?;
    }
    let url = |at: SocketAddr, file: &str| format!("http://{at}/binhost/{PROFILE}/{file}");
    let measure = |server: &Served, what: (&str, u16)| load.on(server, &url(server.address, what.0), what.1);
    let round = |server: &Served| -> Result<Round> {
        Ok(Round {
            small: measure(server, SMALL)?,
            index: measure(server, INDEX)?,
            large: measure(server, LARGE)?,
        })
    };
    let (mut us, mut peer, mut library, mut beside) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        us.push(round(&ours)?);
        peer.push(round(&nginx)?);
        library.push(measure(&directory, LARGE)?);
        let slow = SlowClients::start(ours.address, &url(ours.address, tree::LARGE), SLOW_CLIENTS)?;
        beside.push(measure(&ours, SMALL)?);
        slow.stop()?;
    }
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let against = |what: &str, figure: fn(&Round) -> f64, goal: Goal| -> Result<Row> {
        Ok(Row::new(what, of(&us, figure)?, "nginx", of(&peer, figure)?, goal))
    };
    let index = format!("index of {:.1} MB: requests/s", index_bytes as f64 / 1e6);
    let cpu = median(library.iter().map(|m| m.cpu_per_gb).collect())?;
    let with = |figure: fn(&Measured) -> f64| median(beside.iter().map(figure).collect());
    let alone = "ours without them";
    let rows = vec![
        against("4 KiB file: requests/s", |r| r.small.requests, Goal::AtLeast(1.0))?,
        against("4 KiB file: CPU microseconds per request", |r| r.small.cpu_per_request, Goal::None)?,
        against("4 KiB file: 99th percentile, ms", |r| r.small.p99_ms, Goal::None)?,
        against(&index, |r| r.index.requests, Goal::AtLeast(1.0))?,
        against("50 MB package: MB/s", |r| r.large.megabytes, Goal::AtLeast(0.95))?,
        against("50 MB package: CPU seconds per GB", |r| r.large.cpu_per_gb, Goal::None)?,
        Row::new(
            "50 MB package: CPU seconds per GB",
            of(&us, |r| r.large.cpu_per_gb)?,
            "ServeDir",
            cpu,
            Goal::AtMost(1.0),
        ),
        Row::new(
            "4 KiB file beside 200 slow clients: requests/s",
            with(|m| m.requests)?,
            alone,
            of(&us, |r| r.small.requests)?,
            Goal::AtLeast(0.9),
        ),
        Row::new(
            "4 KiB file beside 200 slow clients: 99th percentile, ms",
            with(|m| m.p99_ms)?,
            alone,
            of(&us, |r| r.small.p99_ms)?,
            Goal::None,
        ),
    ];
    orchestrator.stop()?;
    Ok(Section {
        title: "Serving",
        about: "The release build of the orchestrator, nginx (sendfile, one process) and tower-http's ServeDir serve \
                the same published tree on one core each. wrk sends requests from another core over 32 connections, \
                for the package over 4. A slow client reads 1 KB of the package per second. CPU is that of the \
                server's process."
            .into(),
        rows,
    })
}
