//! Attacks with damage on the disk of a stopped orchestrator: changed, missing and truncated bytes in any of
//! its files. After each one, it must refuse to start and name the file, or work as before, or name the
//! damage in an audit (`audit verify`).

use super::{Dice, packages::mutate::change_bytes, prey, tally::Tally};
use crate::{
    api::{PROFILE, pebble, plan_of},
    bench::server::{Orchestrator, memory_mb},
};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use swarm_common::wire::artifact::Artifact;
use tokio::task::block_in_place;

/// Upper limit for every wait.
const PATIENCE: Duration = Duration::from_secs(60);

const POLICY: &str = "[policy]\nstartup_grace = \"0\"\n";

/// What the swarm shows to workstations and admins.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// The index without its date.
    index: String,
    /// The package that the index names.
    package: Vec<u8>,
    artifacts: Vec<Artifact>,
}

/// A state directory before any damage, and what its swarm shows.
struct Whole {
    state: PathBuf,
    shown: Shown,
}

/// Damages files until `until`, at least once.
///
/// # Errors
/// An undamaged orchestrator does not start.
pub async fn attack(dice: &mut Dice, until: Instant, tally: &mut Tally) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wholes = wholes(folder.path()).await?;
    loop {
        let whole = &wholes[dice.below(wholes.len())];
        let place = folder.path().join("now");
        block_in_place(|| copy(&whole.state, &place.join("state")))?;
        // Keep only the log of one start.
        let _none = fs::remove_file(place.join("log"));
        let (file, what) = damage(dice, &place.join("state"))?;
        let began = Instant::now();
        match tried(whole, &place, &file, tally).await {
            Ok(taken) => tally.count(taken),
            Err(error) => {
                tally.count(false);
                tally.wrong(format!("{what}: {error:#}"));
            }
        }
        tally.took(&what, began.elapsed());
        if Instant::now() >= until {
            return Ok(());
        }
    }
}

/// Two state directories of a swarm that has published a package: one was killed, the other was stopped.
async fn wholes(folder: &Path) -> Result<Vec<Whole>> {
    let place = folder.join("first");
    fs::create_dir(&place)?;
    let swarm = block_in_place(|| Orchestrator::start(&place, POLICY))?;
    let crew = swarm.crew(1).await?;
    swarm.planned(&crew[0], plan_of(&[pebble()])).await?;
    crew[0].build().await?;
    let shown = shown(&swarm, &|shown| !shown.artifacts.is_empty()).await?;
    let (killed, stopped) = (folder.join("killed"), folder.join("stopped"));
    block_in_place(|| {
        drop(swarm);
        copy(&place.join("state"), &killed)?;
        Orchestrator::start(&place, POLICY)?.stop()?;
        copy(&place.join("state"), &stopped)
    })?;
    let again = block_in_place(|| Orchestrator::start(&place, POLICY))?;
    let after = self::shown(&again, &|after| *after == shown).await?;
    ensure!(after == shown, "a whole one is not as it was after a start");
    Ok(vec![Whole { state: killed, shown: after }, Whole { state: stopped, shown }])
}

/// What the swarm shows, as soon as that is as expected or nothing more can change.
async fn shown(swarm: &Orchestrator, is_expected: &(dyn Fn(&Shown) -> bool + Sync)) -> Result<Shown> {
    let began = Instant::now();
    loop {
        let found = seen(swarm).await;
        let enough = began.elapsed() > PATIENCE;
        match found {
            Ok(shown) if is_expected(&shown) || enough => return Ok(shown),
            Err(error) if enough => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn seen(swarm: &Orchestrator) -> Result<Shown> {
    let base = format!("http://{}/binhost/{PROFILE}", swarm.address);
    let get = async |path: &str| {
        let answer = reqwest::get(format!("{base}/{path}")).await?.error_for_status()?;
        Ok::<_, anyhow::Error>(answer.bytes().await?.to_vec())
    };
    let index = String::from_utf8(get("Packages").await?)?;
    let path = index.lines().find_map(|line| line.strip_prefix("PATH: ")).context("the index is empty")?;
    let package = get(path).await?;
    let index = index.lines().filter(|line| !line.starts_with("TIMESTAMP")).collect::<Vec<_>>().join("\n");
    Ok(Shown { index, package, artifacts: swarm.admin.artifacts(None).await? })
}

/// Starts on a damaged directory. Returns whether it served; fails if it did something wrong.
async fn tried(whole: &Whole, place: &Path, file: &Path, tally: &mut Tally) -> Result<bool> {
    let name = file.file_name().and_then(|name| name.to_str()).context("a name")?;
    let swarm = match block_in_place(|| Orchestrator::start(place, POLICY)) {
        Ok(swarm) => swarm,
        Err(error) => {
            let (message, log) =
                (format!("{error:#}"), fs::read_to_string(place.join("log")).unwrap_or_default());
            let log = [message, log].concat();
            if log.contains("panicked at") {
                tally.crashes += 1;
            }
            // SQLite's WAL is part of the journal, and the admin has to restore an unreadable token.
            let named = log.contains(name.trim_end_matches("-wal").trim_end_matches("-shm"));
            let code = ["74", "75", "78"].iter().any(|code| log.contains(&format!("exit status: {code}")));
            ensure!(named && (code || name.ends_with(".token")), "it did not start:\n{}", prey::tail(&log));
            return Ok(false);
        }
    };
    let answer = judged(&swarm, whole, place, file, name).await;
    tally.peak_mb = tally.peak_mb.max(memory_mb(swarm.id(), "status", "VmHWM:").unwrap_or_default());
    let log = swarm.log();
    if log.contains("panicked at") {
        tally.crashes += 1;
    }
    block_in_place(|| swarm.stop())?;
    answer.map(|()| true).with_context(|| prey::tail(&log))
}

async fn judged(swarm: &Orchestrator, whole: &Whole, place: &Path, file: &Path, name: &str) -> Result<()> {
    let began = Instant::now();
    let (audit, is_named) = loop {
        let found = seen(swarm).await;
        let audit = swarm.admin.audit().await.context("the audit")?;
        let is_named = audit.faults.iter().chain(&audit.mended).any(|line| line.contains(name));
        if is_named || found.as_ref().is_ok_and(|found| *found == whole.shown) {
            break (audit, is_named);
        }
        // Published files may be made again meanwhile.
        if began.elapsed() > PATIENCE {
            let what =
                found.map_or_else(|error| format!("{error:#}"), |found| difference(&found, &whole.shown));
            anyhow::bail!("it is not as it was ({what}), and an audit names {:?}", audit.faults);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // Files that are fetched by their digest are checked only by the audit.
    let inside = file.strip_prefix(place.join("state"))?;
    let is_content = ["store", "snapshots", "images", "entries"].iter().any(|dir| inside.starts_with(dir));
    let before = fs::read(whole.state.join(inside)).ok();
    if is_content && !is_named && fs::read(file).ok() != before {
        anyhow::bail!("it is still damaged, and an audit names {:?}", audit.faults);
    }
    Ok(())
}

fn difference(found: &Shown, whole: &Shown) -> String {
    let mut what = Vec::new();
    if found.index != whole.index {
        let other = found.index.lines().zip(whole.index.lines()).find(|(a, b)| a != b);
        what.push(format!("the index: {other:?}"));
    }
    if found.package != whole.package {
        what.push("the package".to_owned());
    }
    if found.artifacts != whole.artifacts {
        what.push(format!("artifacts: {:?}", found.artifacts));
    }
    what.join(", ")
}

/// Damages a random file. Returns the file and the kind of damage.
fn damage(dice: &mut Dice, state: &Path) -> Result<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(state, &mut files)?;
    files.sort();
    let path = files[dice.below(files.len())].clone();
    let mut bytes = fs::read(&path)?;
    let at = dice.below(bytes.len().max(1));
    let date = fs::metadata(&path)?.modified()?;
    let how = match dice.below(7) {
        0 | 1 if !bytes.is_empty() => {
            bytes[at] ^= 1 << dice.below(8);
            format!("a bit of byte {at} changed")
        }
        2 if !bytes.is_empty() => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
            format!("zeros at {at}..{end}")
        }
        3 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        4 => {
            bytes.extend((0..=dice.below(600)).map(|_| dice.byte()).collect::<Vec<u8>>());
            "more bytes at its end".to_owned()
        }
        5 => {
            bytes = change_bytes(dice, bytes);
            "a byte more, less or changed".to_owned()
        }
        _ => {
            fs::remove_file(&path)?;
            let what = format!("{} is gone", path.strip_prefix(state)?.display());
            return Ok((path, what));
        }
    };
    // Keep the modification time, as a failing disk does.
    let file = File::options().write(true).open(&path)?;
    file.set_len(bytes.len() as u64)?;
    file.write_all_at(&bytes, 0)?;
    file.set_modified(date)?;
    let what = format!("{}: {how}", path.strip_prefix(state)?.display());
    Ok((path, what))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => collect(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

/// Replaces a directory by a copy with all modification times.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to.parent().context("a folder")?)?;
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output()?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    Ok(())
}
