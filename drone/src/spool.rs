//! The durable state of attempts: a directory for each attempt with its assignment, log, files and, written
//! last, its report.
//!
//! The report is renamed into place after everything that it refers to is on disk. So an attempt with a
//! report is finished, and one without was interrupted, even after a power failure.

use crate::agent::Recovered;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    wire::drone::{Assignment, ReportRequest},
};

#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

/// A package file of a finished attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledFile {
    pub path: PathBuf,
    pub digest: Digest,
    pub size: u64,
}

impl Spool {
    /// Opens the spool.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The directory of an attempt.
    #[must_use]
    pub fn of(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(attempt.to_string())
    }

    /// The file that holds an attempt's log until it is delivered.
    #[must_use]
    pub fn log(&self, attempt: AttemptId) -> PathBuf {
        self.of(attempt).join("log")
    }

    /// Records the start of an attempt.
    ///
    /// # Errors
    /// The assignment cannot be written.
    pub fn begin(&self, assignment: &Assignment) -> io::Result<()> {
        let dir = self.of(assignment.attempt);
        fs::create_dir_all(&dir)?;
        write_json(&dir, "assignment.json", assignment)?;
        sync_dir(&self.dir)
    }

    /// Moves a file that an attempt built into the spool.
    ///
    /// # Errors
    /// The file cannot be read, copied or made durable.
    pub fn keep(&self, attempt: AttemptId, file: &Path) -> io::Result<SpooledFile> {
        let (digest, size) = Digest::of_all(File::open(file)?)?;
        let path = self.of(attempt).join(digest.to_string());
        // Renames on the same file system; otherwise copies and then renames.
        if fs::rename(file, &path).is_err() {
            let partial = path.with_extension("partial");
            if let Err(error) = fs::copy(file, &partial).and_then(|_| fs::rename(&partial, &path)) {
                // The disk is probably full, so do not leave a partial file.
                let _ = fs::remove_file(&partial);
                return Err(error);
            }
        }
        File::open(&path)?.sync_all()?;
        sync_dir(&self.of(attempt))?;
        Ok(SpooledFile { path, digest, size })
    }

    /// Records the end of an attempt. Add its files first.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn finish(&self, attempt: AttemptId, report: &ReportRequest) -> io::Result<()> {
        let dir = self.of(attempt);
        fs::create_dir_all(&dir)?;
        write_json(&dir, "report.json", report)
    }

    /// Returns the file of an attempt with this digest.
    ///
    /// # Errors
    /// The file does not exist.
    pub fn file(&self, attempt: AttemptId, digest: Digest) -> io::Result<SpooledFile> {
        let path = self.of(attempt).join(digest.to_string());
        let size = fs::metadata(&path)?.len();
        Ok(SpooledFile { path, digest, size })
    }

    /// Checks that a file still has its digest; a damaged one would be blamed on the package.
    ///
    /// # Errors
    /// It cannot be read, or it was changed.
    pub fn check(file: &SpooledFile) -> io::Result<()> {
        let (found, _) = Digest::of_all(File::open(&file.path)?)?;
        if found == file.digest {
            return Ok(());
        }
        let what = format!("{} was changed: its SHA-256 is {found}", file.path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// Returns the assignment of an attempt.
    ///
    /// # Errors
    /// The file does not exist or cannot be parsed.
    pub fn assignment(&self, attempt: AttemptId) -> io::Result<Assignment> {
        read_json(&self.of(attempt).join("assignment.json"))
    }

    /// Returns the report of an attempt.
    ///
    /// # Errors
    /// The file does not exist or cannot be parsed.
    pub fn report(&self, attempt: AttemptId) -> io::Result<ReportRequest> {
        read_json(&self.of(attempt).join("report.json"))
    }

    /// Removes an attempt with all its files.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub fn forget(&self, attempt: AttemptId) -> io::Result<()> {
        match fs::remove_dir_all(self.of(attempt)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Returns the attempts that an earlier start left. If a report cannot be read, the attempt counts as
    /// damaged, and its directory is renamed to `unreadable-…`.
    ///
    /// # Errors
    /// The spool itself cannot be read.
    pub fn recover(&self) -> io::Result<Vec<Recovered>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Some(attempt) = entry.file_name().to_str().and_then(|n| n.parse::<AttemptId>().ok()) else {
                continue;
            };
            let report = entry.path().join("report.json");
            if !report.exists() {
                found.push(Recovered::Unfinished(attempt));
                continue;
            }
            match read_json(&report) {
                Ok(report) => found.push(Recovered::Finished(attempt, Box::new(report))),
                Err(error) => {
                    let aside = self.dir.join(format!("unreadable-{attempt}"));
                    tracing::error!(%attempt, %error, aside = %aside.display(), "cannot read a spooled \
                        result, set aside");
                    fs::rename(entry.path(), aside)?;
                    found.push(Recovered::Damaged(attempt, format!("report.json: {error}")));
                }
            }
        }
        Ok(found)
    }
}

/// Writes a file atomically and durably.
fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let partial = dir.join(format!("{name}.partial"));
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(partial, dir.join(name))?;
    sync_dir(dir)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Syncs a directory, after which renames in it are durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::wire::drone::{BuildLimits, Outcome, Usage, Work};

    fn assignment(attempt: u64) -> Assignment {
        Assignment {
            attempt: AttemptId(attempt),
            run: swarm_common::id::RunId(1),
            profile: "desk".parse().unwrap(),
            snapshot: Digest::of(b""),
            binhost: String::new(),
            base: Default::default(),
            lease_ms: 1,
            limits: BuildLimits { build_timeout_ms: 1, silence_timeout_ms: 1, log_bytes: 1, jobs: 0 },
            work: Work::Plan,
        }
    }

    fn report() -> ReportRequest {
        let reason = "a test".into();
        ReportRequest::new(Outcome::HandedBack { reason }, Usage::default())
    }

    #[test]
    fn whatever_was_done_last_a_restart_finds_cut_off_or_finished() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        spool.begin(&assignment(1)).unwrap();
        assert_eq!(spool.recover().unwrap(), [Recovered::Unfinished(AttemptId(1))]);
        // Simulates a power failure while the report is being written.
        fs::write(spool.of(AttemptId(1)).join("report.json.partial"), "{\"outc").unwrap();
        assert_eq!(spool.recover().unwrap(), [Recovered::Unfinished(AttemptId(1))]);
        spool.finish(AttemptId(1), &report()).unwrap();
        assert_eq!(spool.recover().unwrap(), [Recovered::Finished(AttemptId(1), Box::new(report()))]);
        spool.forget(AttemptId(1)).unwrap();
        spool.forget(AttemptId(1)).unwrap();
        assert_eq!(spool.recover().unwrap(), []);
    }

    #[test]
    fn a_kept_file_is_found_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("spool")).unwrap();
        spool.begin(&assignment(1)).unwrap();
        let built = folder.path().join("x.gpkg.tar");
        fs::write(&built, "package").unwrap();
        let kept = spool.keep(AttemptId(1), &built).unwrap();
        assert_eq!((kept.digest, kept.size), (Digest::of(b"package"), 7));
        assert_eq!(spool.file(AttemptId(1), kept.digest).unwrap(), kept);
        assert!(!built.exists());
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_set_aside_and_the_rest_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        spool.begin(&assignment(1)).unwrap();
        spool.begin(&assignment(2)).unwrap();
        fs::write(spool.of(AttemptId(1)).join("report.json"), "not json").unwrap();
        fs::write(folder.path().join("stray file"), "").unwrap();
        let mut found = spool.recover().unwrap();
        found.sort_by_key(|found| matches!(found, Recovered::Damaged(..)));
        let [Recovered::Unfinished(AttemptId(2)), Recovered::Damaged(AttemptId(1), why)] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(why.contains("report.json"), "{why}");
        assert!(folder.path().join("unreadable-a1/assignment.json").exists());
    }
}
