//! Bounded log files: `NAME.log` is the current one, `NAME.1.log` the previous one, and so on. A new file
//! begins each day (UTC) and when the current one is full. Files beyond the maximum number or age are
//! removed. A clock that is suddenly days ahead may be wrong, like that of a machine without a battery after
//! its start: for a day, only the maximum number and size count.
//!
//! The files of tracing-appender are not limited in size or age, so a loop that logs errors could fill the
//! disk within a day.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How far the clock may run ahead of the time that has passed before it is in doubt. It is also in doubt if
/// nothing was written for that long.
const LEAP: Duration = Duration::from_secs(2 * 24 * 3600);

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Maximum number of files, including the current one.
    pub(super) files: usize,
    /// Maximum size of one file in bytes. A single longer line may exceed it.
    pub(super) bytes: u64,
    /// Maximum age of a file in days.
    pub(super) days: u64,
}

/// Writes to the log files and rotates them.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    name: String,
    bounds: Bounds,
    file: File,
    written: u64,
    /// Day of the last line, counted from the Unix epoch.
    day: u64,
    /// When the last line was written, by the machine's clock and by the monotonic clock.
    last: (SystemTime, Instant),
    /// When the machine's clock was last found to be far ahead.
    leapt: Option<Instant>,
    /// Whether the current file is to be opened again, because another program may have moved it.
    reopen: Arc<AtomicBool>,
}

impl Files {
    /// Continues the newest file in `dir`, which is created if needed.
    pub(super) fn open(dir: &Path, name: &str, bounds: Bounds) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = path(dir, name, 0);
        let file = append_to(&path)?;
        let about = file.metadata()?;
        let (written, modified) = (about.len(), about.modified()?);
        Ok(Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
            bounds,
            file,
            written,
            day: day_of(modified),
            last: (modified, Instant::now()),
            leapt: None,
            reopen: Arc::default(),
        })
    }

    /// Set before the next line, it makes the files continue at the current file's path.
    pub(super) fn reopener(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }

    /// Whether the machine's clock can be believed.
    fn believes(&mut self, now: SystemTime) -> bool {
        let (last, at) = self.last;
        if now.duration_since(last).is_ok_and(|passed| passed > at.elapsed() + LEAP) {
            self.leapt = Some(Instant::now());
        }
        self.last = (now, Instant::now());
        self.leapt.is_none_or(|at| at.elapsed() > DAY)
    }

    /// Rotates the files and starts a new one. Files are removed for their age only if the clock is
    /// `believed`.
    fn turn(&mut self, now: SystemTime, believed: bool) -> io::Result<()> {
        let last = self.bounds.files.saturating_sub(1);
        for number in (0..last).rev() {
            let from = path(&self.dir, &self.name, number);
            ignore_not_found(fs::rename(from, path(&self.dir, &self.name, number + 1)))?;
        }
        if last == 0 {
            ignore_not_found(fs::remove_file(path(&self.dir, &self.name, 0)))?;
        }
        self.expire(now, believed)?;
        self.file = append_to(&path(&self.dir, &self.name, 0))?;
        (self.written, self.day) = (0, day_of(now));
        Ok(())
    }

    /// Removes files that exceed the maximum number or, if the clock is `believed`, the maximum age.
    fn expire(&self, now: SystemTime, believed: bool) -> io::Result<()> {
        let oldest = now.checked_sub(DAY * u32::try_from(self.bounds.days).unwrap_or(u32::MAX));
        let oldest = oldest.filter(|_| believed);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().and_then(|name| self.number_of(name)) else {
                continue;
            };
            let is_old = oldest.is_some_and(|oldest| {
                entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at < oldest)
            });
            if is_old || number >= self.bounds.files {
                ignore_not_found(fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }

    fn number_of(&self, file: &str) -> Option<usize> {
        file.strip_prefix(&self.name)?.strip_prefix('.')?.strip_suffix(".log")?.parse().ok()
    }
}

impl Write for Files {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let now = SystemTime::now();
        if self.reopen.swap(false, Ordering::Relaxed) {
            self.file = append_to(&path(&self.dir, &self.name, 0))?;
            self.written = self.file.metadata()?.len();
        }
        let believed = self.believes(now);
        let is_full = self.written > 0 && self.written + line.len() as u64 > self.bounds.bytes;
        let is_new_day = believed && self.written > 0 && day_of(now) != self.day;
        if is_full || is_new_day {
            self.turn(now, believed)?;
        }
        let count = self.file.write(line)?;
        self.written += count as u64;
        self.day = day_of(now);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn path(dir: &Path, name: &str, number: usize) -> PathBuf {
    dir.join(if number == 0 { format!("{name}.log") } else { format!("{name}.{number}.log") })
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn day_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / DAY.as_secs()
}

fn ignore_not_found(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { files: 3, bytes: 100, days: 2 };

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn however_much_is_written_the_files_stay_few_and_small_and_the_newest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::open(dir.path(), "d", BOUNDS).unwrap();
        for number in 0..1000 {
            files.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(dir.path()), ["d.1.log", "d.2.log", "d.log"]);
        let sizes = names(dir.path()).iter().map(|n| fs::metadata(dir.path().join(n)).unwrap().len()).max();
        assert!(sizes.unwrap() <= 100, "{sizes:?}");
        assert!(fs::read_to_string(dir.path().join("d.log")).unwrap().ends_with("line 999\n"));
    }

    #[test]
    fn a_file_that_another_program_moved_gets_no_more_lines_after_a_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::open(dir.path(), "d", BOUNDS).unwrap();
        let moved = dir.path().join("moved");
        files.write_all(b"1\n").unwrap();
        fs::rename(dir.path().join("d.log"), &moved).unwrap();
        files.write_all(b"2\n").unwrap();
        assert_eq!(names(dir.path()), ["moved"], "until it is asked to reopen it");
        files.reopener().store(true, Ordering::Relaxed);
        files.write_all(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(moved).unwrap(), "1\n2\n");
        assert_eq!(fs::read_to_string(dir.path().join("d.log")).unwrap(), "3\n");
        // It is counted from there: the limit is that of the new file.
        files.write_all(&[b'x'; 98]).unwrap();
        assert_eq!(names(dir.path()), ["d.log", "moved"]);
    }

    /// A directory with files whose last lines are so many days old.
    fn aged(files: &[(&str, u32)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, days) in files {
            let path = dir.path().join(name);
            fs::write(&path, "old\n").unwrap();
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - DAY * *days).unwrap();
        }
        dir
    }

    #[test]
    fn a_new_day_begins_a_new_file_and_old_ones_go() {
        let dir = aged(&[("d.log", 1), ("d.1.log", 5), ("other.1.log", 5)]);
        let mut files = Files::open(dir.path(), "d", BOUNDS).unwrap();
        files.write_all(b"new\n").unwrap();
        assert_eq!(names(dir.path()), ["d.1.log", "d.log", "other.1.log"]);
        assert_eq!(fs::read_to_string(dir.path().join("d.log")).unwrap(), "new\n");
    }

    // fault: 58
    #[test]
    fn a_clock_that_is_years_ahead_at_the_start_makes_no_log_file_too_old() {
        let dir = aged(&[("d.log", 8000), ("d.1.log", 8001)]);
        let mut files = Files::open(dir.path(), "d", BOUNDS).unwrap();
        files.write_all(b"new\n").unwrap();
        assert_eq!(names(dir.path()), ["d.1.log", "d.log"]);
        assert_eq!(fs::read_to_string(dir.path().join("d.log")).unwrap(), "old\nnew\n");
        // The file is full. Only the maximum number of files counts.
        files.write_all(&[b'x'; 99]).unwrap();
        assert_eq!(names(dir.path()), ["d.1.log", "d.2.log", "d.log"]);
        // After a day, the clock is trusted.
        assert!(files.leapt.is_some_and(|at| at.elapsed() < DAY));
        files.leapt = None;
        files.write_all(&[b'x'; 99]).unwrap();
        assert_eq!(names(dir.path()), ["d.1.log", "d.2.log", "d.log"]);
        assert_ne!(fs::read_to_string(dir.path().join("d.2.log")).unwrap(), "old\n");
    }
}
