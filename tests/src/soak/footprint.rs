//! Memory and open files of the processes: compares the minimum early in a process's life with the minimum
//! late in it. Work comes and goes, and an allocator keeps memory after a burst, but leaked resources are
//! never released, so the minimum rises.

use super::farm::Farm;
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

/// Time that a start may take to fill its caches.
const SETTLED: Duration = Duration::from_secs(20);

/// Minimum number of samples from which a process's life can be judged.
const LOOKS: usize = 150;

/// Maximum rise of the minimum from the first to the last third of a life. A leak of one descriptor or some
/// tens of kilobytes per reading of an index, of which there are hundreds, would exceed it.
const RISE_BYTES: u64 = 10 << 20;
const RISE_FILES: u64 = 10;

/// Sockets that a process may have for each peer. They do not count as files, because faults cut peers off and
/// bring them back, which changes the minimum. A leak of sockets soon exceeds them.
const SOCKETS: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ResourceUsage {
    bytes: u64,
    files: u64,
}

#[derive(Debug)]
struct Life {
    name: String,
    seen: Instant,
    samples: Vec<ResourceUsage>,
    /// The open files at the last sample.
    open: BTreeMap<String, u64>,
}

/// The samples of each life of each process.
#[derive(Debug, Default)]
pub struct Footprint {
    lives: BTreeMap<u32, Life>,
}

impl Footprint {
    /// Takes a sample of every running process.
    pub fn look(&mut self, farm: &Farm) {
        let processes = farm.processes();
        let drones = processes.len() as u64;
        for (name, id) in processes {
            let peers = if name == "orchestrator" { drones } else { 1 };
            let Some(usage) = usage(id, SOCKETS * peers) else { continue };
            let fresh = || Life { name, seen: Instant::now(), samples: Vec::new(), open: BTreeMap::new() };
            let life = self.lives.entry(id).or_insert_with(fresh);
            life.open = open(id);
            if life.seen.elapsed() > SETTLED {
                life.samples.push(usage);
            }
        }
    }

    /// Lives that grew too much, and kinds of processes of which none lived long enough to judge.
    #[must_use]
    pub fn breaches(&self) -> Vec<String> {
        let judged = || self.lives.iter().filter_map(|(id, life)| Some((id, life, rise(&life.samples)?)));
        let grown = judged().filter(|(.., rise)| rise.bytes > RISE_BYTES || rise.files > RISE_FILES);
        let grown = grown.map(|(id, life, rise)| {
            let minutes = life.seen.elapsed().as_secs_f64() / 60.0;
            let (name, mib, files) = (&life.name, rise.bytes >> 20, rise.files);
            let open: Vec<_> = life.open.iter().map(|(kind, n)| format!("{n} of {kind}")).collect();
            let open = open.join(", ");
            format!("{name} (process {id}) grew by {mib} MiB and {files} files in {minutes:.1} min: {open}")
        });
        let unknown =
            ["orchestrator", "drone"].into_iter().filter(|kind| !judged().any(|(_, l, _)| l.kind() == *kind));
        let unknown = unknown.map(|kind| format!("no {kind} lived long enough to see whether it grows"));
        grown.chain(unknown).collect()
    }

    /// The maximum that any life of each kind of process held, and how much it grew.
    #[must_use]
    pub fn figures(&self) -> Vec<String> {
        let mut most: BTreeMap<&str, [u64; 5]> = BTreeMap::new();
        for life in self.lives.values() {
            let top = most.entry(life.kind()).or_default();
            let rise = rise(&life.samples);
            top[4] += u64::from(rise.is_some());
            let (of, rise) = (|by: fn(&ResourceUsage) -> u64| life.samples.iter().map(by).max(), rise);
            let seen = [of(|h| h.bytes), of(|h| h.files), rise.map(|r| r.bytes), rise.map(|r| r.files)];
            for (top, seen) in top.iter_mut().zip(seen) {
                *top = (*top).max(seen.unwrap_or(0));
            }
        }
        let line = |(kind, [bytes, files, more, more_files, lives]): (&&str, &[u64; 5])| {
            let (mib, grown) = (bytes >> 20, more >> 10);
            format!(
                "{kind}: at most {mib} MiB and {files} files; grew by at most {grown} KiB and {more_files} files \
                 in {lives} long lives"
            )
        };
        most.iter().map(line).collect()
    }
}

impl Life {
    fn kind(&self) -> &str {
        if self.name == "orchestrator" { "orchestrator" } else { "drone" }
    }
}

/// By how much the minimum rose from the first to the last third; `None` if there are too few samples.
fn rise(samples: &[ResourceUsage]) -> Option<ResourceUsage> {
    if samples.len() < LOOKS {
        return None;
    }
    let third = samples.len() / 3;
    let least =
        |part: &[ResourceUsage], of: fn(&ResourceUsage) -> u64| part.iter().map(of).min().unwrap_or(0);
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    let by = |of| least(last, of).saturating_sub(least(first, of));
    Some(ResourceUsage { bytes: by(|h| h.bytes), files: by(|h| h.files) })
}

/// What a process holds, without so many sockets.
fn usage(id: u32, sockets: u64) -> Option<ResourceUsage> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    // Pages of the program file are loaded on first use and dropped when memory is needed, so they do not
    // count.
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    let files = |(kind, n): (String, u64)| if kind == "socket" { n.saturating_sub(sockets) } else { n };
    Some(ResourceUsage { bytes: kib << 10, files: open(id).into_iter().map(files).sum() })
}

/// The number of open files of a process, by kind or folder. Published files do not count, because they stay
/// open between requests, unless they were removed.
fn open(id: u32) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for target in entries.filter_map(|entry| fs::read_link(entry.path()).ok()) {
        let text = target.to_string_lossy();
        if text.contains("/binhost/") && !text.ends_with(" (deleted)") {
            continue;
        }
        let kind =
            text.split_once(':').map_or_else(|| text.rsplit_once('/').map_or("", |(dir, _)| dir), |(k, _)| k);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three minutes of a process that works in bursts and leaks this much per sample.
    fn life(leak: ResourceUsage) -> Footprint {
        let samples = (0..360).map(|n: u64| {
            let wave = n % 40;
            ResourceUsage {
                bytes: (30 << 20) + (wave << 19) + n * leak.bytes,
                files: 20 + wave + n * leak.files,
            }
        });
        let samples: Vec<_> = samples.collect();
        let life = |name: &str, samples| Life {
            name: name.into(),
            seen: Instant::now(),
            samples,
            open: BTreeMap::new(),
        };
        let flat = vec![ResourceUsage { bytes: 1, files: 1 }; LOOKS];
        Footprint { lives: [(1, life("orchestrator", samples)), (2, life("d00", flat))].into() }
    }

    #[test]
    fn a_leak_in_a_life_of_minutes_is_a_breach_and_waves_are_none() {
        let none = ResourceUsage { bytes: 0, files: 0 };
        assert_eq!(life(none).breaches(), Vec::<String>::new());
        for leak in [ResourceUsage { bytes: 64 << 10, ..none }, ResourceUsage { files: 1, ..none }] {
            let found = life(leak).breaches();
            assert!(
                matches!(&found[..], [one] if one.contains("orchestrator (process 1) grew")),
                "{found:?}"
            );
        }
        let mut brief = life(none);
        brief.lives.get_mut(&1).unwrap().samples.truncate(LOOKS - 1);
        assert_eq!(brief.breaches(), ["no orchestrator lived long enough to see whether it grows"]);
    }
}
