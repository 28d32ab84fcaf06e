//! A signed cache that the orchestrator serves, beside nginx.

use super::super::{
    Settings,
    made::noise,
    report::{Goal, Row, median},
    server::Orchestrator,
    serving::{
        load::{Load, Measured},
        servers::{Served, nginx, pin},
    },
};
use crate::api::PROFILE;
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    io::{Cursor, Read as _},
    path::Path,
    sync::Arc,
};
use swarm_formats::nix::{
    nar::NarWriter,
    narinfo::{Compression, NarInfo},
    store_path::StoreDir,
};
use swarm_orchestrator::{
    artifact::{
        disk::DiskError,
        store::{self, Store, StoreError},
    },
    publish::{
        NixCache,
        cache::{Beside, CachedPath, Wanted},
    },
    sign::NixKeys,
};

/// Bytes of the archive that is timed.
const LARGE: usize = 50_000_000;
/// Other paths of the cache.
const OTHERS: usize = 2000;

/// The rows.
pub(super) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let orchestrator = Orchestrator::start(folder.path(), "")?;
    tokio::runtime::Runtime::new()?.block_on(orchestrator.crew(0))?;
    let tree = folder.path().join(format!("state/binhost/{PROFILE}/stable"));
    let (narinfo, nar) = publish(&tree, folder.path())?;
    let load = Load::new(folder.path())?;
    let (ours, peer) = (Served::ours(&orchestrator), nginx(folder.path(), &tree)?);
    for server in [&ours, &peer] {
        pin(server.id)?;
    }
    let measure = |server: &Served, file: &str, connections: u16| {
        load.on(server, &format!("http://{}/binhost/{PROFILE}/{file}", server.address), connections)
    };
    let round =
        |server: &Served| Ok::<_, anyhow::Error>((measure(server, &narinfo, 32)?, measure(server, &nar, 4)?));
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        us.push(round(&ours)?);
        them.push(round(&peer)?);
    }
    let row = |what: &str, figure: fn(&(Measured, Measured)) -> f64, goal: Goal| -> Result<Row> {
        let of = |rounds: &[(Measured, Measured)]| median(rounds.iter().map(figure).collect());
        Ok(Row::new(what, of(&us)?, "nginx", of(&them)?, goal))
    };
    let rows = vec![
        row("narinfo: requests/s", |r| r.0.requests, Goal::AtLeast(1.0))?,
        row("narinfo: CPU microseconds per request", |r| r.0.cpu_per_request, Goal::None)?,
        row("narinfo: 99th percentile, ms", |r| r.0.p99_ms, Goal::None)?,
        row("NAR of 50 MB: MB/s", |r| r.1.megabytes, Goal::AtLeast(0.95))?,
        row("NAR of 50 MB: CPU seconds per GB", |r| r.1.cpu_per_gb, Goal::None)?,
    ];
    orchestrator.stop()?;
    Ok(rows)
}

/// Publishes a cache into `tree`. Gives the paths of the narinfo and of the archive that are asked for.
fn publish(tree: &Path, folder: &Path) -> Result<(String, String)> {
    let files = tempfile::tempdir_in(folder)?;
    let store = Store::open(files.path().join("store"))?;
    let (keys, _) = NixKeys::load_or_create(&files.path().join("key"), "bench-1")?;
    let mut paths = vec![path(&store, 0, LARGE)?];
    for n in 1..=OTHERS {
        paths.push(path(&store, n, 64)?);
    }
    let asked = paths.first().context("nothing to ask for")?.info.clone();
    let wanted = Wanted { paths, hosts: Vec::new() };
    NixCache::open(tree, Some(Arc::new(keys)))?.publish(1_800_000_000, &wanted, &store, &Nothing)?;
    Ok((format!("{}.narinfo", asked.path.hash_part()), asked.url.to_string()))
}

/// A cache without listings and logs.
struct Nothing;

impl Beside for Nothing {
    fn listing(&self, _: &CachedPath) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn log(&self, _: &CachedPath) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(None)
    }
}

/// A store path that is one file of noise.
fn path(store: &Store, n: usize, bytes: usize) -> Result<CachedPath> {
    let mut nar = NarWriter::new(zstd::Encoder::new(Vec::new(), 1)?);
    nar.file(b"", false, bytes as u64, noise(n as u64).take(bytes as u64))?;
    let (encoder, sum) = nar.finish()?;
    let stored = store::insert(store, Cursor::new(encoder.finish()?), None)?;
    let info = NarInfo {
        path: StoreDir::default().source_path(&format!("grain-{n}"), &sum.hash)?,
        url: format!("nar/{}.nar.zst", stored.sha256).parse()?,
        compression: Compression::Zstd,
        file_hash: Some(stored.sha256),
        file_size: Some(stored.size),
        nar: sum,
        references: BTreeSet::new(),
        deriver: None,
        signatures: BTreeSet::new(),
        content_address: None,
    };
    Ok(CachedPath { info, digest: stored.sha256 })
}
