//! CPU time, which the kernel counts in hundredths of a second.

use anyhow::{Context, Result};
use std::{fs, process, time::Duration};

/// Indexes into `/proc/PID/stat` after the process name (proc(5)). Index 0 is the third field.
const OWN: [usize; 2] = [11, 12];
const CHILDREN: [usize; 2] = [13, 14];

/// CPU time of this process.
///
/// # Errors
/// `/proc` cannot be read.
pub fn own() -> Result<Duration> {
    of(process::id())
}

/// CPU time of a process.
///
/// # Errors
/// There is no process with this ID.
pub fn of(id: u32) -> Result<Duration> {
    used(id, OWN)
}

/// CPU time of the child processes that have ended.
///
/// # Errors
/// `/proc` cannot be read.
pub fn children() -> Result<Duration> {
    used(process::id(), CHILDREN)
}

fn used(id: u32, columns: [usize; 2]) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The process name may contain anything, so fields count from its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no stat")?.1.split(' ').collect();
    let ticks: Vec<u64> = columns.iter().map(|&n| Ok(fields[n].parse()?)).collect::<Result<_>>()?;
    // USER_HZ is 100 on every Linux.
    Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
}
