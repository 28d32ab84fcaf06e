//! Nix processes that build one derivation after another.
//!
//! Starting Nix and moving it into its control groups takes longer than a short build, so a process is kept for the
//! next one. It has at most one build at a time, and its limits are those of that build. It is replaced after a
//! failure, and before garbage is collected: Nix remembers which paths it has seen in its store.

use super::{
    Nix,
    machine_log::NixReport,
    programs::Programs,
    session::{Session, disk, drone},
};
use crate::{
    builder::Stop,
    process::{Attended, DiskLimit, End, Invocation, Running, Used},
};
use std::{
    ffi::OsString,
    fs,
    future::pending,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use swarm_common::state::Phase;
use swarm_formats::nix::serve::{self, BuildResult, BuildStatus};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, ChildStdout},
};

/// How long a process waits for the next build.
const IDLE: Duration = Duration::from_secs(20);
/// Maximum number of builds of a process. Until it ends, garbage collection spares everything that it has built.
const MOST_BUILDS: u32 = 100;
/// From this version on, a setting instead of `TMPDIR` determines the directory of builds.
const HAS_BUILD_DIR: (u32, u32) = (2, 22);
/// Maximum size in bytes of a piece of a response.
const PIECE_BYTES: usize = 64 << 10;

/// A build that a process has served.
pub(super) struct Served {
    /// Nix's answer; `None` if Nix itself failed.
    pub result: Option<BuildResult>,
    pub used: Used,
    pub heard: NixReport,
}

/// What processes differ in.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    programs: Programs,
    env: Vec<(OsString, OsString)>,
    cores: u32,
}

#[derive(Debug)]
struct Server {
    kind: Kind,
    running: Running,
    requests: ChildStdin,
    answers: ChildStdout,
    builds: u32,
    /// The number of garbage collections before it was started.
    collections: u64,
    /// Its working directory, which contains that of its build.
    dir: TempDir,
}

/// The processes that wait for a build.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    /// Each with the time since when it waits.
    servers: Vec<(Instant, Server)>,
    /// Number of garbage collections.
    collections: u64,
}

impl Servers {
    fn take(&self, kind: &Kind) -> Option<Server> {
        let idle = &mut super::locked(&self.0).servers;
        let at = idle.iter().position(|(_, server)| server.kind == *kind)?;
        Some(idle.swap_remove(at).1)
    }

    fn has(&self, kind: &Kind) -> bool {
        super::locked(&self.0).servers.iter().any(|(_, server)| server.kind == *kind)
    }

    fn collections(&self) -> u64 {
        super::locked(&self.0).collections
    }

    /// Ends all waiting processes, and the others after their build.
    pub async fn end_idle(&self) {
        let idle = {
            let mut idle = super::locked(&self.0);
            idle.collections += 1;
            std::mem::take(&mut idle.servers)
        };
        end(idle).await;
    }

    async fn end_unused(&self) {
        let unused = {
            let idle = &mut super::locked(&self.0).servers;
            idle.extract_if(.., |(since, _)| since.elapsed() >= IDLE).collect()
        };
        end(unused).await;
    }
}

async fn end(servers: Vec<(Instant, Server)>) {
    for (_, server) in servers {
        server.running.kill().await;
    }
}

/// Keeps a process for the next build.
async fn keep(nix: &Nix, server: Server) {
    if server.builds >= MOST_BUILDS || server.collections != nix.0.servers.collections() {
        return server.running.kill().await;
    }
    put(nix, server);
}

/// Keeps a process for the next build, for a limited time.
fn put(nix: &Nix, server: Server) {
    super::locked(&nix.0.servers.0).servers.push((Instant::now(), server));
    let shared = Arc::downgrade(&nix.0);
    tokio::spawn(async move {
        tokio::time::sleep(IDLE).await;
        if let Some(shared) = shared.upgrade() {
            shared.servers.end_unused().await;
        }
    });
}

impl Server {
    fn start(session: &Session<'_>, kind: Kind) -> Result<Self, Stop> {
        let work_dir = &session.context.config.work_dir;
        let dir = tempfile::Builder::new().prefix("nix-").tempdir_in(work_dir);
        let dir = dir.map_err(|error| disk("the directory for builds", &error))?;
        let builds = dir.path().join("build");
        fs::create_dir(&builds).map_err(|error| disk("the directory for builds", &error))?;
        let store = &session.building;
        let mut args: Vec<OsString> = vec!["--store".into(), store.dir().into()];
        args.extend(["--serve", "--write", "--max-jobs", "1", "--cores"].map(OsString::from));
        args.push(kind.cores.to_string().into());
        if kind.programs.is_at_least(HAS_BUILD_DIR) {
            args.extend(["--option".into(), "build-dir".into(), builds.clone().into()]);
        }
        args.extend(["--log-format", "internal-json", "-v"].map(OsString::from));
        let mut env = kind.env.clone();
        env.push(("TMPDIR".into(), builds.into()));
        let job = session.job(kind.programs.path("nix-store"), args, env);
        let started = Running::start_server(&Invocation { dir: dir.path().to_owned(), ..job });
        let (running, requests, answers) = started.map_err(|error| drone(error.to_string()))?;
        let collections = session.context.caches.nix.0.servers.collections();
        Ok(Self { kind, running, requests, answers, builds: 0, collections, dir })
    }
}

impl Kind {
    fn of(session: &Session<'_>) -> Self {
        let env = session.environment(&session.building.configuration(), &session.building.home());
        let (jobs, most) = (session.context.config.jobs(), session.context.assignment.limits.jobs);
        let cores = if most == 0 { jobs } else { most.min(jobs) };
        Self { programs: session.programs.clone(), env, cores }
    }
}

/// Starts a process for a build that will soon begin, unless one is waiting already. If that fails, the build
/// tries again and reports the error.
pub(super) fn warm(session: &Session<'_>) {
    let nix = &session.context.caches.nix;
    let kind = Kind::of(session);
    if nix.0.servers.has(&kind) {
        return;
    }
    match Server::start(session, kind) {
        Ok(server) => put(nix, server),
        Err(_) => tracing::debug!("a process for the next build cannot be started"),
    }
}

/// Has Nix build what `request` says.
pub(super) async fn build(session: &mut Session<'_>, request: &[u8], phase: Phase) -> Result<Served, Stop> {
    let nix = session.context.caches.nix.clone();
    loop {
        let kind = Kind::of(session);
        let (server, has_waited) = match nix.0.servers.take(&kind) {
            Some(waiting) => (waiting, true),
            None => (Server::start(session, kind)?, false),
        };
        let Server { kind, running, mut requests, mut answers, builds, collections, dir } = server;
        let limits = Invocation {
            disk: DiskLimit { dir: dir.path().to_owned(), bytes: session.context.config.disk_max() },
            ..session.job(PathBuf::from("nix-store"), Vec::new(), Vec::new())
        };
        let answer = converse(&mut requests, &mut answers, builds == 0, request);
        let (attended, heard) = session.attend_build(running, &limits, phase, answer).await?;
        match attended {
            Attended::Answered(running, result, used) => {
                let is_built = result.as_ref().is_some_and(|result| result.status == BuildStatus::Built);
                if is_built && !used.out_of_memory {
                    let (running, builds) = (*running, builds + 1);
                    keep(&nix, Server { kind, running, requests, answers, builds, collections, dir }).await;
                } else {
                    running.kill().await;
                }
                return Ok(Served { result, used, heard });
            }
            Attended::Ended(ended) => match ended.end {
                // It ended while it waited.
                End::Exited(_) if has_waited && !heard.begun && heard.errors.is_empty() => {}
                End::Exited(_) => return Ok(Served { result: None, used: ended.used, heard }),
                _ => return Err(Stop::Cancelled),
            },
        }
    }
}

/// Sends a request and returns the answer; `None` if Nix answered something else. Does not return if the process
/// ends.
async fn converse(
    requests: &mut ChildStdin,
    answers: &mut ChildStdout,
    is_first: bool,
    request: &[u8],
) -> Option<BuildResult> {
    let (greeting, expected) = if is_first { (serve::greeting(), serve::GREETING) } else { (Vec::new(), 0) };
    for bytes in [&greeting, request] {
        if requests.write_all(bytes).await.is_err() {
            pending::<()>().await;
        }
    }
    let mut read = Vec::new();
    loop {
        let before = read.len();
        read.resize(before + PIECE_BYTES, 0);
        let Ok(more @ 1..) = answers.read(&mut read[before..]).await else { return pending().await };
        read.truncate(before + more);
        let Some((first, rest)) = read.split_at_checked(expected) else { continue };
        if is_first && !serve::is_greeting(first) {
            return None;
        }
        match serve::response(rest) {
            Some((result, length)) if length == rest.len() => return Some(result),
            None if rest.len() <= serve::MAX_RESPONSE => {}
            _ => return None,
        }
    }
}
