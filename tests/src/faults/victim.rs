//! A real orchestrator that is killed at arbitrary moments and restarted with the files it left.

use anyhow::{Context, Result, ensure};
use md5::{Digest as _, Md5};
use rustix::process::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use swarm_client::{Client, parse_address};
use swarm_core::{Event, Record};
use swarm_daemon::config::secret::read_secret;
use swarm_orchestrator::{
    journal::{Journal, SqliteJournal},
    store::{ArtifactStore as _, LocalStore},
};
use tempfile::TempDir;

use crate::e2e::{process::Process, programs::program, wait};

/// Upper limit for a start or an end, enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// The text that the program logs once it listens, followed by the address.
const READY: &str = "ready address=";

/// The orchestrator, running or dead, and its state directory.
#[derive(Debug)]
pub struct Victim {
    // Dropped in this order: the process before its files.
    running: Option<Process>,
    starts: usize,
    folder: TempDir,
}

impl Victim {
    /// Creates an orchestrator without starting it.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = format!(
            "listen = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n[signing]\nenabled = false\n\
             [policy]\nbackoff = \"1ms\"\nbackoff_max = \"1ms\"\n",
            folder.path().join("state").display()
        );
        fs::write(folder.path().join("orchestrator.toml"), config)?;
        Ok(Self { running: None, starts: 0, folder })
    }

    /// Starts it. Returns an admin client for its current address.
    ///
    /// # Errors
    /// It ends instead; the error contains its log.
    pub fn start(&mut self) -> Result<Client> {
        let mut command = Command::new(program("swarm-orchestrator")?);
        command.arg("--config").arg(self.folder.path().join("orchestrator.toml"));
        let mut process = Process::start(&mut command, &self.folder.path().join("log"))?;
        self.starts += 1;
        let starts = self.starts;
        let address = wait::until("the orchestrator is ready", SOON, || {
            ensure!(process.ended()?.is_none(), "the orchestrator ended");
            let log = process.output();
            let address = log.split(READY).skip(1).nth(starts - 1);
            Ok(address.and_then(|rest| rest.split_once(' ')).map(|(address, _)| address.to_owned()))
        })
        .with_context(|| process.output())?;
        self.running = Some(process);
        let url = parse_address(&format!("http://{address}")).map_err(anyhow::Error::msg)?;
        let token = read_secret(&self.state().join("admin.token"))?;
        Ok(Client::new(&[url], Some(token))?)
    }

    /// Kills it as a power failure would, whatever it is doing.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("it does not run")?.kill()
    }

    /// Stops it as a supervisor does.
    ///
    /// # Errors
    /// It does not end, or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.running.take().context("it does not run")?;
        process.signal(Signal::TERM)?;
        let status = process.end(SOON)?;
        ensure!(status.success(), "it ended with {status}:\n{}", process.output());
        Ok(())
    }

    /// Reads the whole journal and verifies its hash chain. Uses a copy, so that the next start recovers the
    /// file itself.
    ///
    /// # Errors
    /// The journal is damaged.
    pub fn journal(&self) -> Result<Vec<Record>> {
        let copy = tempfile::tempdir()?;
        for name in ["journal.sqlite", "journal.sqlite-wal"] {
            let from = self.state().join(name);
            if from.exists() {
                fs::copy(from, copy.path().join(name))?;
            }
        }
        let journal = SqliteJournal::open(&copy.path().join("journal.sqlite"))?;
        Ok(journal.reader()?.records(0, usize::MAX)?)
    }

    /// Checks the files that a kill left on disk: every package received according to the journal is intact
    /// in the store, and every index names only intact files. Returns the number of files that the indexes
    /// name.
    ///
    /// # Errors
    /// A file is missing or damaged; the error names it.
    pub fn files(&self, journal: &[Record]) -> Result<usize> {
        let store = LocalStore::open(self.state().join("store"))?;
        for record in journal {
            let Event::PackageReceived { artifacts, attempt, .. } = &record.event else { continue };
            for artifact in artifacts {
                store.verify(artifact.digest).with_context(|| attempt.to_string())?;
            }
        }
        named_files(&self.state().join("binhost"))
    }

    /// A path for a test's own files.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

/// Compares every file that an index below `folder` names with its index entry, like a workstation that
/// downloads it at this moment. Returns the number of files.
///
/// # Errors
/// A file is missing or differs; the error names it.
pub fn named_files(folder: &Path) -> Result<usize> {
    let mut named = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Earlier generations may name files that are being removed. They are not served.
        if entry.path().is_dir() && entry.file_name() != "generations" {
            named += named_files(&entry.path())?;
        }
    }
    let index = folder.join("Packages");
    if !index.exists() {
        return Ok(named);
    }
    for block in fs::read_to_string(&index)?.split("\n\n") {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let Some(path) = value("PATH") else { continue };
        let bytes = fs::read(folder.join(path)).with_context(|| format!("{}: {path}", index.display()))?;
        let digest = hex::encode(Md5::digest(&bytes));
        let is = (Some(bytes.len().to_string()), Some(digest));
        let said = (value("SIZE").map(str::to_owned), value("MD5").map(str::to_owned));
        ensure!(is == said, "{}: {path} is {is:?}, not {said:?}", index.display());
        named += 1;
    }
    Ok(named)
}
