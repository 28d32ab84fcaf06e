//! The cost for a drone of a daily sync of a repository as large as Gentoo's, compared with unpacking the
//! same archive.

use super::{
    Settings,
    report::{Goal, Row, Section, median},
};
use crate::api::{FakeDrone, Line, Swarm};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    time::Instant,
};
use swarm_common::digest::Digest;
use swarm_drone::snapshots::Snapshots;
use swarm_formats::snapshot::{FORMAT, SnapshotContents, SnapshotManifest, SnapshotRepository};

/// Packages of the repository, and how many of them change per day.
const PACKAGES: usize = 21_000;
const CHANGED: usize = 300;
const CATEGORIES: usize = 150;

/// Maximum seconds and MB that a day's changes may cost a drone.
const SECONDS: f64 = 3.0;
const MEGABYTES: f64 = 100.0;

/// Runs the benchmark.
///
/// # Errors
/// The orchestrator does not start, or the disk is too small.
pub fn run(settings: &Settings) -> Result<Section> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(settings))
}

async fn measure(settings: &Settings) -> Result<Section> {
    let folder = tempfile::tempdir()?;
    let swarm = Swarm::start().await?;
    let drone = swarm.drone("ada").await?;
    let mut days = Vec::new();
    for day in 0..2 {
        let archive = folder.path().join(format!("day{day}.tar.zst"));
        let digest = repository(day)?.write(File::create(&archive)?, || {})?;
        swarm.admin.put_snapshot(digest, &archive).await?;
        days.push(digest);
    }
    let (mut first, mut rounds) = (None, Vec::new());
    for _ in 0..settings.rounds {
        let unpacked = folder.path().join("unpacked");
        fs::create_dir(&unpacked)?;
        let tar = tar(&folder.path().join("day0.tar.zst"), &unpacked)?;
        fs::remove_dir_all(&unpacked)?;
        let cache = folder.path().join("cache");
        let day = Day::of(&swarm, &drone, &days, &cache).await?;
        fs::remove_dir_all(&cache)?;
        // In the first round, the orchestrator makes the difference for all drones.
        first.get_or_insert(day.difference);
        rounds.push((tar, day));
    }
    let of = |what: fn(&(f64, Day)) -> f64| median(rounds.iter().map(what).collect());
    let rows = vec![
        Row::new(
            "the first snapshot, s",
            of(|(_, day)| day.whole)?,
            "tar -x of its archive",
            of(|(tar, _)| *tar)?,
            Goal::AtMost(1.5),
        ),
        Row::within(
            "the next day's, of the first drone that asks, s",
            first.context("no round was run")?,
            SECONDS,
        ),
        Row::within("the next day's, of every other drone, s", of(|(_, day)| day.difference)?, SECONDS),
        Row::within("MB on the disk for it", of(|(_, day)| day.disk)?, MEGABYTES),
        Row::alone("MB over the network for it", of(|(_, day)| day.network)?),
        Row::within("looking over both when the drone starts, s", of(|(_, day)| day.start)?, SECONDS),
    ];
    let about = format!(
        "A made-up repository of {PACKAGES} packages in {CATEGORIES} categories, the next day with {CHANGED} changed: \
         a new version with its metadata and Manifest. A drone fetches both over loopback, proves each by its digest and \
         has it on the disk (`syncfs`); tar unpacks the archive of the first and syncs. MB on the disk are blocks of \
         everything that is kept for it."
    );
    Ok(Section { title: "Snapshot", about, rows })
}

/// The cost of two days for a drone.
struct Day {
    whole: f64,
    difference: f64,
    start: f64,
    disk: f64,
    network: f64,
}

impl Day {
    async fn of(swarm: &Swarm, drone: &FakeDrone, days: &[Digest], cache: &Path) -> Result<Self> {
        let line = Line::that_breaks_after(u64::MAX, swarm.address).await?;
        let client = line.client(&drone.credential)?;
        let snapshots = Snapshots::open(cache, false)?;
        let began = Instant::now();
        let first = snapshots.get(&client, days[0]).await?;
        let whole = began.elapsed().as_secs_f64();
        line.brought();
        let began = Instant::now();
        let second = snapshots.get(&client, days[1]).await?;
        let difference = began.elapsed().as_secs_f64();
        let network = line.brought() as f64 / 1e6;
        ensure!(second.layers().len() == 2, "the whole snapshot was fetched again");
        drop((first, second));
        let disk = blocks(&cache.join(days[1].to_string()))? as f64 / 1e6;
        let snapshots = Snapshots::open(cache, false)?;
        let began = Instant::now();
        snapshots.get(&client, days[1]).await?;
        let start = began.elapsed().as_secs_f64();
        ensure!(line.brought() == 0, "a start made the drone fetch something");
        Ok(Self { whole, difference, start, disk, network })
    }
}

/// Size in bytes of all blocks below `path`.
fn blocks(path: &Path) -> Result<u64> {
    let found = fs::symlink_metadata(path)?;
    let mut sum = found.blocks() * 512;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            sum += blocks(&entry?.path())?;
        }
    }
    Ok(sum)
}

/// Seconds that tar takes to unpack an archive.
fn tar(archive: &Path, into: &Path) -> Result<f64> {
    let began = Instant::now();
    let done = Command::new("tar").arg("--zstd").arg("-xf").arg(archive).arg("-C").arg(into).status()?;
    ensure!(done.success(), "tar ended with {done}");
    rustix::fs::syncfs(File::open(into)?)?;
    Ok(began.elapsed().as_secs_f64())
}

/// The repository on a day.
fn repository(day: usize) -> Result<SnapshotContents> {
    let mut contents = SnapshotContents::new(SnapshotManifest {
        format: FORMAT,
        portage_profile: Some("made".to_owned()),
        profile_repository: None,
        main_repository: "made".to_owned(),
        repositories: vec![SnapshotRepository {
            name: "made".to_owned(),
            commit: None,
            settings: BTreeMap::new(),
        }],
        nix: None,
    })?;
    contents.add_bytes("repos/made/profiles/made/eapi", b"8\n".to_vec())?;
    contents.add_bytes("world", b"cat0/part0\n".to_vec())?;
    for n in 0..PACKAGES {
        let changed = day > 0 && n % (PACKAGES / CHANGED) == 0;
        add_package(&mut contents, n, if changed { day } else { 0 })?;
    }
    Ok(contents)
}

/// A package with two versions, of which the newer one changes every day.
fn add_package(contents: &mut SnapshotContents, n: usize, day: usize) -> Result<()> {
    let category = format!("cat{}", n % CATEGORIES);
    let folder = format!("repos/made/{category}/part{n}");
    let mut add = |path: String, text: String| contents.add_bytes(&path, text.into_bytes());
    add(format!("{folder}/metadata.xml"), words(n, 500))?;
    let mut manifest = String::new();
    for version in [1, 2 + day] {
        let seed = n * 10 + version;
        add(format!("{folder}/part{n}-{version}.ebuild"), words(seed, 1900))?;
        add(format!("repos/made/metadata/md5-cache/{category}/part{n}-{version}"), words(seed, 1100))?;
        manifest +=
            &format!("DIST part{n}-{version}.tar.xz {seed} BLAKE2B {} SHA512 {}\n", sum(seed), sum(seed + 1));
    }
    add(format!("{folder}/Manifest"), manifest)?;
    for patch in 0..3 {
        add(format!("{folder}/files/{patch}.patch"), words(n + patch, 400))?;
    }
    Ok(())
}

/// A fake digest of 128 digits.
fn sum(seed: usize) -> String {
    let half = |part: &str| Digest::of(format!("{seed} {part}").as_bytes()).to_string();
    half("first") + &half("second")
}

/// About `bytes` bytes of text that compresses like real text.
fn words(seed: usize, bytes: usize) -> String {
    let mut state = seed as u64 | 1;
    let mut text = format!("# {seed}\n");
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += ["src_compile ", "die\n", "econf ", "inherit ", "|| ", "DEPEND=", "dev-libs/", "use "]
            [(state >> 61) as usize];
    }
    text
}
