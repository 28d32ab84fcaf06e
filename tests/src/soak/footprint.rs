//! What the processes hold: memory and open files, from a little after a start to its end.

use super::farm::Farm;
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

/// A start may take this long to fill its caches.
const SETTLED: Duration = Duration::from_secs(30);

/// A process may grow by this much. An allocator keeps what a burst needed.
const GROWTH_BYTES: u64 = 48 << 20;
const GROWTH_FILES: u64 = 100;

#[derive(Debug, Clone, Copy)]
struct Held {
    bytes: u64,
    files: u64,
}

#[derive(Debug)]
struct Life {
    name: String,
    seen: Instant,
    first: Option<Held>,
    last: Held,
    age: Duration,
}

/// What each life of each process held.
#[derive(Debug, Default)]
pub struct Footprint {
    lives: BTreeMap<u32, Life>,
}

impl Footprint {
    /// Looks at every process that runs.
    pub fn look(&mut self, farm: &Farm) {
        for (name, id) in farm.processes() {
            let Some(held) = held(id) else { continue };
            let fresh = || Life { name, seen: Instant::now(), first: None, last: held, age: Duration::ZERO };
            let life = self.lives.entry(id).or_insert_with(fresh);
            life.age = life.seen.elapsed();
            life.last = held;
            if life.age > SETTLED {
                life.first.get_or_insert(held);
            }
        }
    }

    /// Lives that grew by more than they may.
    #[must_use]
    pub fn breaches(&self) -> Vec<String> {
        let grown = self.lives.iter().filter_map(|(id, life)| {
            let first = life.first?;
            let bytes = life.last.bytes.saturating_sub(first.bytes);
            let files = life.last.files.saturating_sub(first.files);
            (bytes > GROWTH_BYTES || files > GROWTH_FILES).then(|| {
                let minutes = life.age.as_secs_f64() / 60.0;
                let (name, mib) = (&life.name, bytes >> 20);
                format!("{name} (process {id}) grew by {mib} MiB and {files} files in {minutes:.1} min")
            })
        });
        grown.collect()
    }

    /// The most that any life of each kind of process held.
    #[must_use]
    pub fn figures(&self) -> Vec<String> {
        let mut most: BTreeMap<&str, Held> = BTreeMap::new();
        for life in self.lives.values() {
            let kind = if life.name.starts_with('d') { "a drone" } else { &life.name };
            let held = most.entry(kind).or_insert(life.last);
            held.bytes = held.bytes.max(life.last.bytes);
            held.files = held.files.max(life.last.files);
        }
        let line = |(kind, held): (&&str, &Held)| {
            format!(
                "{kind} held at most {} MiB and {} files at the end of a life",
                held.bytes >> 20,
                held.files
            )
        };
        most.iter().map(line).collect()
    }
}

fn held(id: u32) -> Option<Held> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    let files = fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64;
    Some(Held { bytes: kib << 10, files })
}
