//! A signed cache served by the orchestrator, compared with nginx.

use super::super::{
    Settings,
    report::{Goal, Row, median},
    server::Orchestrator,
    serving::{
        load::{Load, Measured},
        servers::{Served, nginx, pin},
    },
};
use crate::api::{PROFILE, mold::noise};
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    io::{Cursor, Read as _},
    path::Path,
    sync::Arc,
};
use swarm_common::wire::ready::Ready;
use swarm_formats::nix::{
    nar::NarWriter,
    narinfo::{Compression, NarInfo},
    store_path::StoreDir,
};
use swarm_orchestrator::{
    publish::{
        NixCache,
        nix::cache::{CacheContent, CachedPath, SideFiles},
    },
    sign::NixKeys,
    store::{self, LocalStore, StoreError, disk::DiskError},
};

/// Size in bytes of the timed archive.
const LARGE: usize = 50_000_000;
/// Other paths of the cache, whose narinfos are requested in turn.
const OTHERS: usize = 2000;

pub(super) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let orchestrator = Orchestrator::start(folder.path(), "")?;
    tokio::runtime::Runtime::new()?.block_on(orchestrator.crew(0))?;
    let tree = folder.path().join(format!("state/binhost/{PROFILE}/stable"));
    let published = publish(&tree, folder.path())?;
    let below = |file: &str| format!("/binhost/{PROFILE}/{file}");
    let narinfos: Vec<String> = published.narinfos.iter().map(|file| below(file)).collect();
    let load = Load::new(folder.path())?;
    let (ours, peer) = (Served::ours(&orchestrator), nginx(folder.path(), &tree)?);
    for server in [&ours, &peer] {
        pin(server.id)?;
    }
    let measure = |server: &Served, file: &str, connections: u16| {
        load.on(server, &format!("http://{}{}", server.address, below(file)), connections)
    };
    let round = |server: &Served| {
        let url = format!("http://{}/", server.address);
        Ok::<_, anyhow::Error>(Round {
            one: measure(server, published.narinfos.first().context("no narinfo")?, 32)?,
            all: load.on_each(server, &url, &narinfos, 32)?,
            nar: measure(server, &published.nar, 4)?,
        })
    };
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        us.push(round(&ours)?);
        them.push(round(&peer)?);
    }
    let row = |what: &str, figure: fn(&Round) -> f64, goal: Goal| -> Result<Row> {
        let of = |rounds: &[Round]| median(rounds.iter().map(figure).collect());
        Ok(Row::new(what, of(&us)?, "nginx", of(&them)?, goal))
    };
    let rows = vec![
        row("narinfo: requests/s", |r| r.one.requests, Goal::AtLeast(1.0))?,
        row("narinfo: CPU microseconds per request", |r| r.one.cpu_per_request, Goal::None)?,
        row("narinfo: 99th percentile, ms", |r| r.one.p99_ms, Goal::None)?,
        row("2,000 narinfos in turn: requests/s", |r| r.all.requests, Goal::AtLeast(1.0))?,
        row("2,000 narinfos in turn: CPU microseconds per request", |r| r.all.cpu_per_request, Goal::None)?,
        row("NAR of 50 MB: MB/s", |r| r.nar.megabytes, Goal::AtLeast(0.95))?,
        row("NAR of 50 MB: CPU seconds per GB", |r| r.nar.cpu_per_gb, Goal::None)?,
    ];
    orchestrator.stop()?;
    Ok(rows)
}

/// Results of a server in one round.
struct Round {
    one: Measured,
    all: Measured,
    nar: Measured,
}

/// Paths of the files to request.
struct Published {
    narinfos: Vec<String>,
    nar: String,
}

/// Publishes a cache in `tree`.
fn publish(tree: &Path, folder: &Path) -> Result<Published> {
    let files = tempfile::tempdir_in(folder)?;
    let store = LocalStore::open(files.path().join("store"))?;
    let (keys, _) = NixKeys::load_or_create(&files.path().join("key"), "bench-1")?;
    let mut paths = vec![path(&store, 0, LARGE)?];
    for n in 1..=OTHERS {
        paths.push(path(&store, n, 64)?);
    }
    let nar = paths.first().context("nothing to ask for")?.info.url.to_string();
    let narinfos = paths.iter().map(|path| format!("{}.narinfo", path.info.path.hash_part())).collect();
    let content = CacheContent { paths, hosts: Vec::new() };
    NixCache::open(tree, Some(Arc::new(keys)))?.publish(1_800_000_000, &content, &store, &Nothing)?;
    Ok(Published { narinfos, nar })
}

/// A cache without listings, logs and locks.
struct Nothing;

impl SideFiles for Nothing {
    fn listing(&self, _: &CachedPath) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn log(&self, _: &CachedPath) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(None)
    }

    fn lock(&self, _: &Ready) -> Option<Vec<u8>> {
        None
    }
}

/// A store path consisting of one file of random bytes.
fn path(store: &LocalStore, n: usize, bytes: usize) -> Result<CachedPath> {
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
