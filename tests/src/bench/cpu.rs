//! Processor time, as the kernel counts it in hundredths of a second.

use anyhow::{Context, Result};
use std::{fs, process, time::Duration};

/// Columns of `/proc/PID/stat` after the name (proc(5)): the first is the third field.
const OWN: [usize; 2] = [11, 12];
const CHILDREN: [usize; 2] = [13, 14];

/// What this process has used.
///
/// # Errors
/// The kernel does not say.
pub fn own() -> Result<Duration> {
    of(process::id())
}

/// What a process has used.
///
/// # Errors
/// There is none with this id.
pub fn of(id: u32) -> Result<Duration> {
    used(id, OWN)
}

/// What ended processes that this one started have used.
///
/// # Errors
/// The kernel does not say.
pub fn children() -> Result<Duration> {
    used(process::id(), CHILDREN)
}

fn used(id: u32, columns: [usize; 2]) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The program's name may hold anything; fields count from its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no stat")?.1.split(' ').collect();
    let ticks: Vec<u64> = columns.iter().map(|&n| Ok(fields[n].parse()?)).collect::<Result<_>>()?;
    // USER_HZ is 100 wherever Linux runs.
    Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
}
