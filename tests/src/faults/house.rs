//! Several real orchestrators on one Redis with a common artifact directory, as in a swarm with standbys.
//! Each can be killed, paused and restarted.

use super::redis::Redis;
use crate::e2e::{process::Process, programs::program, wait};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};
use swarm_client::{Client, parse_address};
use swarm_common::secret::Secret;
use swarm_core::Record;
use swarm_daemon::config::secret::write_private;
use swarm_orchestrator::journal::{Journal, RedisJournal, RedisSettings, Verified};
use tempfile::TempDir;

/// Upper limit for a start or an end, enough for a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Lifetime of the lock after its holder is gone. Longer than a busy machine delays the holder.
pub const LOCK: Duration = Duration::from_millis(4000);

/// The name of the swarm in Redis.
pub const NAME: &str = "house";

const TOKEN: &str = "admin-of-the-house";

/// The orchestrators, running or not.
#[derive(Debug)]
pub struct House {
    members: Vec<Member>,
    folder: TempDir,
}

#[derive(Debug)]
struct Member {
    // Dropped before its files.
    process: Option<Process>,
    starts: usize,
    address: String,
    folder: PathBuf,
}

impl House {
    /// Creates orchestrators without starting them. `place` is the part of `[journal]` that says where Redis
    /// is.
    ///
    /// # Errors
    /// Their files cannot be written.
    pub fn new(count: usize, place: &str) -> Result<Self> {
        Self::with_lock(count, place, LOCK)
    }

    /// Like [`House::new`], with another lifetime of the lock.
    ///
    /// # Errors
    /// As [`House::new`].
    pub fn with_lock(count: usize, place: &str, lock: Duration) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut members = Vec::new();
        for n in 0..count {
            let own = folder.path().join(n.to_string());
            write_private(&own.join("state/admin.token"), TOKEN)?;
            let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let config = format!(
                "listen = \"{listen}\"\nstate_dir = \"{}\"\nartifact_dir = \"{}\"\n\
                 [signing]\nenabled = false\n\
                 [policy]\nstartup_grace = \"1s\"\nbackoff = \"1ms\"\nbackoff_max = \"1ms\"\n\
                 [journal]\nkind = \"redis\"\nswarm = \"{NAME}\"\nlock_timeout = \"{}ms\"\n{place}\n",
                own.join("state").display(),
                folder.path().join("artifacts").display(),
                lock.as_millis(),
            );
            fs::write(own.join("orchestrator.toml"), config)?;
            members.push(Member {
                process: None,
                starts: 0,
                address: format!("http://{listen}"),
                folder: own,
            });
        }
        Ok(Self { members, folder })
    }

    /// Starts `count` orchestrators on this Redis. The first one leads.
    ///
    /// # Errors
    /// They do not start.
    pub fn on(redis: &Redis, count: usize) -> Result<Self> {
        let mut house = Self::new(count, &format!("url = \"{}\"", redis.url()))?;
        house.start_all()?;
        Ok(house)
    }

    /// Starts all orchestrators. The first one leads.
    ///
    /// # Errors
    /// One does not start.
    pub fn start_all(&mut self) -> Result<()> {
        (0..self.members.len()).try_for_each(|n| self.start(n))
    }

    /// Starts an orchestrator and waits until it serves.
    ///
    /// # Errors
    /// It ends instead; the error contains its log.
    pub fn start(&mut self, n: usize) -> Result<()> {
        let member = &mut self.members[n];
        let mut command = Command::new(program("swarm-orchestrator")?);
        command.arg("--config").arg(member.folder.join("orchestrator.toml"));
        let mut process = Process::start(&mut command, &member.folder.join("log"))?;
        member.starts += 1;
        wait::until("the orchestrator is ready", SOON, || {
            ensure!(process.ended()?.is_none(), "the orchestrator ended");
            Ok((process.output().matches("ready address=").count() >= member.starts).then_some(()))
        })
        .with_context(|| process.output())?;
        member.process = Some(process);
        Ok(())
    }

    /// Kills an orchestrator as a power failure would.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill(&mut self, n: usize) -> Result<()> {
        self.members[n].process.take().context("it does not run")?.kill()
    }

    /// Sends a signal to an orchestrator.
    ///
    /// # Errors
    /// It is not running.
    pub fn signal(&self, n: usize, signal: Signal) -> Result<()> {
        self.members[n].process.as_ref().context("it does not run")?.signal(signal)
    }

    /// Waits until an orchestrator has ended by itself.
    ///
    /// # Errors
    /// It continues to run.
    pub fn end(&mut self, n: usize) -> Result<ExitStatus> {
        self.members[n].process.take().context("it does not run")?.end(SOON)
    }

    /// Restarts orchestrators that have ended, as a supervisor does.
    ///
    /// # Errors
    /// They do not start.
    pub fn revive(&mut self) -> Result<()> {
        for n in 0..self.members.len() {
            let ended = self.members[n].process.as_mut().map(Process::ended).transpose()?.flatten();
            if let Some(status) = ended {
                ensure!(status.code() == Some(69), "it ended with {status}: {}", self.log(n));
                self.start(n)?;
            }
        }
        Ok(())
    }

    /// The log of an orchestrator, without the lines about requests.
    #[must_use]
    pub fn log(&self, n: usize) -> String {
        let log = fs::read_to_string(self.members[n].folder.join("log")).unwrap_or_default();
        let own = log.lines().filter(|line| !line.contains("request{"));
        own.map(|line| format!("{line}\n")).collect()
    }

    #[must_use]
    pub fn address(&self, n: usize) -> &str {
        &self.members[n].address
    }

    /// A client for all orchestrators, with the admin's credential.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn client(&self) -> Result<Client> {
        self.client_of(&(0..self.members.len()).collect::<Vec<_>>())
    }

    /// A client for some orchestrators, with the admin's credential.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn client_of(&self, which: &[usize]) -> Result<Client> {
        let urls = which.iter().map(|&n| parse_address(&self.members[n].address));
        let urls = urls.collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
        Ok(Client::new(&urls, Some(Secret::new(TOKEN)))?)
    }

    /// The holder of the lock, if there is one.
    ///
    /// # Errors
    /// Redis does not answer.
    pub fn leader(&self, redis: &Redis) -> Result<Option<usize>> {
        let holder = redis.say(&format!("GET {{{NAME}}}:lock"))?;
        Ok(self.members.iter().position(|member| holder.contains(&member.address)))
    }

    /// Waits until this orchestrator leads.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_leader(&self, redis: &Redis, n: usize) -> Result<()> {
        wait::until("the other leads", SOON, || Ok((self.leader(redis)? == Some(n)).then_some(())))
            .with_context(|| self.log(n))
    }

    /// Reads the whole journal and verifies its hash chain.
    ///
    /// # Errors
    /// It is damaged, or Redis does not answer.
    pub fn journal(&self, redis: &Redis) -> Result<(Vec<Record>, Verified)> {
        let settings = RedisSettings { swarm: NAME.into(), ..RedisSettings::at(&redis.url()) };
        let journal = RedisJournal::open(&settings, "a test", "", None)?;
        let mut reader = journal.reader()?;
        Ok((reader.records(0, usize::MAX)?, reader.verify()?))
    }

    /// A folder for a test's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
