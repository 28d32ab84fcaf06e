//! The servers of the comparison, and the core on which each one runs.

use crate::{
    bench::server::Orchestrator,
    e2e::{nginx::configuration, process::Process, programs::program, wait},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

pub(in crate::bench) struct Served {
    pub(in crate::bench) address: SocketAddr,
    pub(in crate::bench) id: u32,
    /// `None` if somebody else owns the process.
    _process: Option<Process>,
}

impl Served {
    /// The orchestrator, which the caller keeps running.
    pub(in crate::bench) fn ours(orchestrator: &Orchestrator) -> Self {
        Self { address: orchestrator.address, id: orchestrator.id(), _process: None }
    }
}

/// nginx, configured for speed: sendfile, no log, a single process.
///
/// # Errors
/// It is missing or does not start.
pub(in crate::bench) fn nginx(folder: &Path, tree: &Path) -> Result<Served> {
    let address = free_address()?;
    let config = folder.join("nginx.conf");
    let settings = "sendfile on; tcp_nopush on; keepalive_requests 100000000;";
    let server = format!(
        "server {{ listen {address}; location /binhost/{}/ {{ alias {}/; }} }}",
        crate::api::PROFILE,
        tree.display()
    );
    let text = configuration(folder, settings, &server);
    fs::write(&config, text)?;
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(found.context("nginx is missing: apt-get install nginx-light")?);
    start(command.arg("-c").arg(&config).arg("-p").arg(folder), address, &folder.join("nginx.log"))
}

/// tower-http's ServeDir, used as in its documentation.
///
/// # Errors
/// It does not start.
pub(in crate::bench) fn serve_dir(folder: &Path, tree: &Path) -> Result<Served> {
    let address = free_address()?;
    let mut command = Command::new(program("serve-dir")?);
    let arguments = [address.to_string(), format!("/binhost/{}", crate::api::PROFILE)];
    start(command.args(arguments).arg(tree), address, &folder.join("serve-dir.log"))
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn start(command: &mut Command, address: SocketAddr, log: &Path) -> Result<Served> {
    let mut process = Process::start(command, log)?;
    wait::until("the server listens", Duration::from_secs(20), || {
        ensure!(process.ended()?.is_none(), "{command:?} ended:\n{}", process.output());
        Ok(TcpStream::connect(address).is_ok().then_some(()))
    })?;
    Ok(Served { address, id: process.id(), _process: Some(process) })
}

/// Restricts a server to the first core, if there are at least two.
///
/// # Errors
/// `taskset` fails.
pub(in crate::bench) fn pin(id: u32) -> Result<()> {
    if std::thread::available_parallelism()?.get() == 1 {
        return Ok(());
    }
    let pinned = Command::new("taskset").args(["-acp", "0", &id.to_string()]).output();
    let pinned = pinned.context("taskset is missing: install util-linux")?;
    ensure!(pinned.status.success(), "taskset: {}", String::from_utf8_lossy(&pinned.stderr));
    Ok(())
}
