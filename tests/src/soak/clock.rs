//! The clock of the orchestrator's machine, which is set while it runs. It is set only for its process,
//! because the drones run on the same machine.

use crate::{e2e::programs::part, sim::rng::Rng};
use anyhow::{Context, Result, ensure};
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// If the clock were further ahead, files written now would look old enough to be cleaned up.
const MOST_AHEAD_MS: u64 = 50 * 60 * 1000;
const MOST_BEHIND_MS: u64 = 400 * 24 * 3_600_000;

#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Clock {
    /// A correct clock, with its files in `folder`.
    ///
    /// # Errors
    /// Its library cannot be built.
    pub fn new(folder: &Path) -> Result<Self> {
        let (library, path) = (folder.join("clock.so"), folder.join("clock"));
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library);
        let done =
            compiler.arg(part("tests/src/soak/clock.c")).output().context("a C compiler is missing")?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let clock = Self { library, file: File::create(&path)?, path };
        clock.set_right()?;
        Ok(clock)
    }

    /// Makes a program use this clock.
    pub fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("SOAK_CLOCK", &self.path);
    }

    /// Sets the clock wrong in either direction, by seconds or much more. Returns the difference.
    pub(super) fn set_wrong(&self, rng: &mut Rng) -> Result<i64> {
        let by = match rng.below(4) {
            0 => rng.range(6_000, MOST_AHEAD_MS) as i64,
            1 => rng.range(1_000, 30_000) as i64,
            2 => -(rng.range(1_000, 7_200_000) as i64),
            _ => -(rng.range(7_200_000, MOST_BEHIND_MS) as i64),
        };
        self.show(by)?;
        Ok(by / 1000)
    }

    pub(super) fn set_right(&self) -> Result<()> {
        self.show(0)
    }

    /// Sets the clock ahead of the machine's clock, or behind it if negative.
    ///
    /// # Errors
    /// The disk fails.
    pub fn show(&self, ahead_ms: i64) -> Result<()> {
        Ok(self.file.write_all_at(&ahead_ms.to_ne_bytes(), 0)?)
    }
}
