//! Changes a byte of a file that the orchestrator keeps, and checks the consequences.

use super::{damaged::Damage, farm::Farm};
use crate::{
    e2e::{swarm::PROFILE, wait},
    sim::rng::Rng,
};
use anyhow::{Context, Result};
use md5::{Digest as _, Md5};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use swarm_common::{digest::Digest, wire::view::AuditView};
use swarm_formats::portage::packages_index::PackagesIndex;

/// Upper limit for an audit.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an event's text that distinguish it from others.
const EVENT: usize = 80;

/// A client that reads after the repair may have begun before it.
const AFTERMATH: Duration = Duration::from_secs(15);

/// Changes a byte of a published package, its entry or file list, its index, or a snapshot. Returns `None` if
/// nothing is published yet.
pub(super) fn begin(rng: &mut Rng, farm: &Farm) -> Result<Option<Damage>> {
    let state = farm.state_dir();
    let stable = state.join("binhost").join(PROFILE).join("stable");
    let Ok(text) = fs::read_to_string(stable.join("Packages")) else { return Ok(None) };
    let index = PackagesIndex::parse(&text).map_err(|e| anyhow::anyhow!("{e}"))?;
    let paths: Vec<String> = index.entries().map(|entry| entry.path().to_owned()).collect();
    let Some(package) = paths.get(rng.below(paths.len() as u64) as usize).map(|path| stable.join(path))
    else {
        return Ok(None);
    };
    let bytes = fs::read(&package)?;
    let entry = state.join("entries").join(Digest::of(&bytes).to_string());
    let path = match rng.below(7) {
        0..=2 => {
            farm.damaged.with(|damaged| damaged.packages.insert(hex::encode(Md5::digest(&bytes))));
            package
        }
        3 => entry,
        4 => entry.with_extension("files"),
        5 => newest(&state.join("snapshots"))?,
        _ => {
            farm.damaged.with(|damaged| damaged.index_until = Some(Instant::now() + 10 * PATIENCE));
            stable.join(["Packages", "Packages.gz"][rng.below(2) as usize])
        }
    };
    let byte = rng.bits();
    Damage::make(path, |whole| {
        Some((byte % (whole.len() as u64).max(1)) as usize).filter(|_| !whole.is_empty())
    })
}

/// Runs an audit, and returns what it missed.
pub(super) fn end(damage: &Damage, farm: &Farm) -> Result<Option<String>> {
    let audit: AuditView =
        wait::until("an audit", PATIENCE, || Ok(farm.ground().ask(&["audit", "verify"]).ok()))?;
    let name = damage.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let digest = Digest::of(&damage.whole).to_string();
    let reported =
        audit.faults.iter().chain(&audit.mended).any(|line| line.contains(&name) || line.contains(&digest));
    let stands = damage.stands();
    farm.damaged.with(|damaged| {
        damaged.index_until = damaged.index_until.map(|_| Instant::now() + AFTERMATH);
    });
    if stands {
        damage.mend()?;
    }
    let missed = stands && !reported && is_needed(damage, farm)?;
    let (path, at) = (damage.path.display(), damage.at);
    Ok(missed.then(|| {
        format!("byte {at} of {path} was changed, and neither mended nor named: {:?}", audit.faults)
    }))
}

/// Whether the file may still be sent to anybody. Files that are no longer needed are not audited.
fn is_needed(damage: &Damage, farm: &Farm) -> Result<bool> {
    let state = farm.state_dir();
    if damage.path.starts_with(state.join("snapshots")) {
        return Ok(newest(&state.join("snapshots"))? == damage.path);
    }
    let index = fs::read_to_string(state.join("binhost").join(PROFILE).join("stable/Packages"))?;
    let name = damage.path.file_name().unwrap_or_default().to_string_lossy();
    let stored = damage.path.starts_with(state.join("entries"));
    Ok(stored || name.starts_with("Packages") || index.contains(name.as_ref()))
}

fn newest(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    // A difference is not a snapshot: drones verify the result, and download the complete snapshot if it is
    // wrong.
    let is_whole = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".tar.zst") && !name.contains(".since-")
    };
    let archives = entries.into_iter().map(|entry| entry.path()).filter(is_whole);
    let dated = archives.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)));
    Ok(dated.max().context("no snapshot")?.1)
}

/// Changes a byte of the stopped orchestrator's journal or its mark. Returns what was not detected.
pub(super) fn of_the_journal(rng: &mut Rng, farm: &mut Farm) -> Result<Option<String>> {
    farm.stop_orchestrator()?;
    let (which, byte) = (rng.below(4), rng.bits());
    let path = farm.state_dir().join(if which == 0 { "journal.mark" } else { "journal.sqlite" });
    let event = b"{\"event\":\"";
    let made = Damage::make(path, |whole| match which {
        0 => Some((byte % whole.len() as u64) as usize),
        // Free space of pages that were split contains old copies, so only an event whose text occurs once
        // counts.
        _ => {
            let windows = || whole.windows(EVENT).enumerate().filter(|(_, text)| text.starts_with(event));
            let mut times: BTreeMap<&[u8], u64> = BTreeMap::new();
            windows().for_each(|(_, text)| *times.entry(text).or_default() += 1);
            let places: Vec<usize> =
                windows().filter(|(_, text)| times[text] == 1).map(|(at, _)| at).collect();
            let place = places.get((byte % (places.len() as u64).max(1)) as usize)?;
            Some(place + event.len() + (byte >> 60) as usize)
        }
    })?;
    let Some(damage) = made else {
        farm.start_orchestrator()?;
        return Ok(None);
    };
    let missed = match farm.start_orchestrator() {
        Err(_) => None,
        Ok(()) => {
            let audit: AuditView = farm.ground().ask(&["audit", "verify"])?;
            farm.stop_orchestrator()?;
            audit.faults.is_empty().then(|| {
                format!("byte {} of {} was changed, and no audit names it", damage.at, damage.path.display())
            })
        }
    };
    damage.mend()?;
    farm.start_orchestrator()?;
    Ok(missed)
}
