//! Adding a package to an index of thousands: our publisher compared with Portage's two ways and with merely
//! writing the same bytes.

mod farm;

use super::{
    Settings, cpu,
    report::{Goal, Row, Section, median},
};
use anyhow::{Context, Result, ensure};
use farm::{Ours, Peer};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};
use swarm_orchestrator::{
    publish::{Binhost, Generations, Published},
    store::ArtifactStore as _,
};

const COUNT: usize = 3000;
/// Sizes of the index at which adding a package is measured.
const SIZES: [usize; 3] = [1000, 3000, 9000];
/// Packages added at each size in a round.
const ADDED: usize = 5;
const NOW: u64 = 1_800_000_000;

/// Milliseconds of all rounds, by what was measured.
#[derive(Default)]
struct Times(BTreeMap<String, Vec<f64>>);

impl Times {
    fn add(&mut self, what: impl Into<String>, time: Duration) {
        self.0.entry(what.into()).or_default().push(time.as_secs_f64() * 1000.0);
    }

    fn of(&self, what: &str) -> Result<f64> {
        median(self.0.get(what).cloned().unwrap_or_default()).with_context(|| what.to_owned())
    }
}

/// Runs the benchmark.
///
/// # Errors
/// Portage does not accept the packages, or the disk fails.
pub fn run(settings: &Settings) -> Result<Section> {
    let folder = tempfile::tempdir()?;
    let (peer, mut ours) = (Peer::new()?, Ours::new(folder.path())?);
    for _ in 0..COUNT {
        let path = ours.make()?;
        place(&ours, &peer, &path)?;
    }
    let mut times = Times::default();
    let mut first = None;
    for round in 0..settings.rounds {
        cold(&ours, &peer, folder.path(), &mut times)?;
        let entries = ours.no_entries("entries")?;
        let known = ours.artifacts[..COUNT].to_vec();
        let all: Vec<Published> = known.iter().map(|a| ours.published(&entries, a)).collect::<Result<_>>()?;
        peer_adds(&mut ours, &peer, round == 0, &mut times)?;
        for size in SIZES {
            grow(&mut ours, &all, size, folder.path(), &mut times)?;
        }
        first.get_or_insert(fs::metadata(peer.packages().join("Packages"))?.len());
    }
    rows(&times, first.unwrap_or_default())
}

/// Also puts one of our packages into Portage's PKGDIR.
fn place(ours: &Ours, peer: &Peer, path: &str) -> Result<()> {
    let to = peer.packages().join(path);
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    let artifact = ours.artifacts.last().context("no package was made")?;
    // A copy, because Portage sets modes and times of the files it indexes.
    fs::copy(ours.store.describe(artifact.digest), to)?;
    Ok(())
}

/// Creates everything from the files, without an index and entries.
fn cold(ours: &Ours, peer: &Peer, folder: &Path, times: &mut Times) -> Result<()> {
    let home = folder.join("cold");
    for gone in [&home, &folder.join("entries")] {
        if gone.exists() {
            fs::remove_dir_all(gone)?;
        }
    }
    let (began, used) = (Instant::now(), cpu::own()?);
    let entries = ours.no_entries("entries")?;
    let artifacts = &ours.artifacts[..COUNT];
    let all: Vec<Published> = artifacts.iter().map(|a| ours.published(&entries, a)).collect::<Result<_>>()?;
    let outcome =
        Binhost::open(&home, Generations::CurrentOnly, BTreeMap::new())?.publish(NOW, &all, &*ours.store)?;
    ensure!(outcome.added == COUNT, "{outcome:?}");
    times.add("our cold CPU", cpu::own()? - used);
    times.add("our cold", began.elapsed());

    for name in ["Packages", "Packages.gz"] {
        let index = peer.packages().join(name);
        if index.exists() {
            fs::remove_file(index)?;
        }
    }
    let (began, used) = (Instant::now(), cpu::children()?);
    peer.fix(false, COUNT)?;
    times.add("emaint cold CPU", cpu::children()? - used);
    times.add("emaint cold", began.elapsed());
    Ok(())
}

/// Lets Portage add a package, and then forget it again.
fn peer_adds(ours: &mut Ours, peer: &Peer, stock: bool, times: &mut Times) -> Result<()> {
    let kept = ["Packages", "Packages.gz"].map(|name| peer.packages().join(name));
    let before = [fs::read(&kept[0])?, fs::read(&kept[1])?];
    let modified = fs::metadata(&kept[0])?.modified()?;
    let forget = || -> Result<()> {
        for (path, bytes) in kept.iter().zip(&before) {
            fs::write(path, bytes)?;
            File::options().write(true).open(path)?.set_modified(modified)?;
        }
        Ok(())
    };
    let path = ours.make()?;
    place(ours, peer, &path)?;
    let began = Instant::now();
    peer.fix(false, COUNT + 1)?;
    times.add("emaint", began.elapsed());
    if stock {
        forget()?;
        let began = Instant::now();
        peer.fix(true, COUNT + 1)?;
        times.add("stock emaint", began.elapsed());
    }
    let artifact = ours.artifacts.pop().context("no package was made")?;
    for millis in peer.inject(artifact.target.portage().unwrap().cpv.as_str())? {
        times.add("inject", Duration::from_secs_f64(millis / 1000.0));
    }
    fs::remove_file(peer.packages().join(path))?;
    forget()
}

/// Adds packages to an index of `size`, and measures writing the same bytes for each.
fn grow(ours: &mut Ours, all: &[Published], size: usize, folder: &Path, times: &mut Times) -> Result<()> {
    let home = folder.join("grow");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    // If more packages are needed than exist, uses further builds with the same bytes.
    let build = |n: usize| -> Published {
        let Published { digest, entry } = &all[n % all.len()];
        let path = entry.path().replace("-1.gpkg.tar", &format!("-{}.gpkg.tar", n / all.len() + 1));
        Published { digest: *digest, entry: entry.moved(&path, NOW) }
    };
    let there: Vec<Published> = (0..size).map(build).collect();
    let mut binhost = Binhost::open(&home, Generations::CurrentOnly, BTreeMap::new())?;
    binhost.publish(NOW, &there, &*ours.store)?;
    let entries = ours.no_entries("new")?;
    for _ in 0..ADDED {
        ours.make()?;
        let artifact = ours.artifacts.pop().context("no package was made")?;
        // The state in which intake leaves a package.
        ours.published(&entries, &artifact)?;
        let began = Instant::now();
        let new = ours.published(&entries, &artifact)?;
        let outcome = binhost.add(NOW, &[new], &*ours.store)?;
        times.add(format!("ours at {size}"), began.elapsed());
        ensure!(outcome.changed && outcome.missing.is_empty(), "{outcome:?}");

        let bytes = fs::read(home.join("Packages"))?;
        let began = Instant::now();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&bytes)?;
        for (name, bytes) in [("limit", &bytes), ("limit.gz", &gz.finish()?)] {
            let mut file = File::create(folder.join(name))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        times.add(format!("limit at {size}"), began.elapsed());
        // Remove the package again, so that the next one is new.
        binhost.publish(NOW, &there, &*ours.store)?;
    }
    Ok(())
}

fn rows(times: &Times, bytes: u64) -> Result<Section> {
    let one = "one package more in 3,000, ms";
    let at = |who: &str, size: usize| times.of(&format!("{who} at {size}"));
    let ours = at("ours", COUNT)?;
    // A cost that is the same at every size is not growth.
    let thousands = (SIZES[2] - SIZES[0]) as f64 / 1000.0;
    let growth = |who: &str| Ok::<f64, anyhow::Error>((at(who, SIZES[2])? - at(who, SIZES[0])?) / thousands);
    let seconds = |what: &str| Ok::<f64, anyhow::Error>(times.of(what)? / 1000.0);
    let mut rows = vec![
        Row::new(one, ours, "emaint binhost --fix, patched", times.of("emaint")?, Goal::AtMost(0.02)),
        Row::new(one, ours, "bintree.inject", times.of("inject")?, Goal::AtMost(0.2)),
        Row::new(one, ours, "emaint binhost --fix, as released", times.of("stock emaint")?, Goal::None),
        Row::new(
            "3,000 anew from the files, CPU s",
            seconds("our cold CPU")?,
            "emaint binhost --fix",
            seconds("emaint cold CPU")?,
            Goal::AtMost(0.1),
        ),
        Row::new(
            "the same, s",
            seconds("our cold")?,
            "emaint binhost --fix",
            seconds("emaint cold")?,
            Goal::None,
        ),
        Row::new(
            "one package more, for each 1,000 in the index, ms",
            growth("ours")?,
            "writing, gzip and fsync of the same bytes",
            growth("limit")?,
            Goal::AtMost(1.0),
        ),
    ];
    for size in SIZES {
        let beside = "writing, gzip and fsync of the same bytes";
        rows.push(Row::new(
            format!("one more in {size}, ms"),
            at("ours", size)?,
            beside,
            at("limit", size)?,
            Goal::None,
        ));
    }
    let about = format!(
        "Packages as the real Portage builds them, 3,000 in {:.1} MB of index. Ours is what the publisher does: the stored \
         entry, the link, and both index files with fsync and rename. Portage 3.0.83 as released reads every package again \
         (USER_PATCHES has no default); `patched` has that default. `bintree.inject` is what emerge does after a build.",
        bytes as f64 / 1e6
    );
    Ok(Section { title: "Index", about, rows })
}
