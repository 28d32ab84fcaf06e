//! The real nginx in front of a swarm.

use super::{process::Process, wait};
use crate::tidy::top;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// Upper limit for a start or an end, enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// An nginx, running or not.
pub struct Nginx {
    // Dropped in this order: the process before its files.
    running: Option<Process>,
    /// The address it listens on.
    pub address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx with a `server` block. `server` makes the block for the address to listen on.
    ///
    /// # Errors
    /// nginx is missing, or does not start.
    pub fn start(server: impl FnOnce(SocketAddr) -> Result<String>) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = tempfile::tempdir()?;
        let text = configuration(folder.path(), "", &server(address)?);
        fs::write(folder.path().join("nginx.conf"), text)?;
        let mut nginx = Self { running: None, address, folder };
        nginx.go_on()?;
        Ok(nginx)
    }

    /// Starts nginx as described in the handbook, in front of an orchestrator that listens on `plain`, with
    /// the orchestrator's certificate from the directory `state`.
    ///
    /// # Errors
    /// As [`Nginx::start`], or the handbook does not contain the text to be replaced.
    pub fn of_the_handbook(
        state: &Path,
        plain: SocketAddr,
        change: impl FnOnce(String) -> Result<String>,
    ) -> Result<Self> {
        Self::start(|address| {
            let mut text = snippet("server {")?;
            for (from, to) in [
                ("listen 443 ssl;", format!("listen {address} ssl;")),
                ("/etc/ssl/swarm.crt", state.join("tls.crt").display().to_string()),
                ("/etc/ssl/swarm.key", state.join("tls.key").display().to_string()),
                ("127.0.0.1:8100", plain.to_string()),
            ] {
                text = replaced(&text, from, &to)?;
            }
            change(text)
        })
    }

    /// Starts it again.
    ///
    /// # Errors
    /// It does not start.
    pub fn go_on(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let found = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(found.context("nginx is missing: apt-get install nginx-light")?);
        command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder);
        let mut process = Process::start(&mut command, &folder.join("log"))?;
        let address = self.address;
        wait::until("nginx listens", SOON, || {
            let said = || fs::read_to_string(folder.join("nginx.err")).unwrap_or_default();
            ensure!(process.ended()?.is_none(), "nginx ended: {}{}", process.output(), said());
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        })?;
        self.running = Some(process);
        Ok(())
    }

    /// Stops it, which ends all connections through it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.running.take().context("nginx does not run")?;
        process.signal(Signal::TERM)?;
        process.end(SOON)?;
        Ok(())
    }
}

/// The code block in the handbook whose first line is `first`.
///
/// # Errors
/// There is none.
pub fn snippet(first: &str) -> Result<String> {
    let page = fs::read_to_string(top().join("docs/handbook.md"))?;
    let lines = page.lines().skip_while(|line| *line != format!("    {first}"));
    let block: String =
        lines.map_while(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
    ensure!(!block.is_empty(), "the handbook has no block that begins with `{first}`");
    Ok(block)
}

/// Replaces the only occurrence of `from` in `text`.
///
/// # Errors
/// There is not exactly one.
pub fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.matches(from).count() == 1, "not one `{from}` in:\n{text}");
    Ok(text.replace(from, to))
}

/// A configuration for a single process that writes only below `folder`. `settings` and `servers` become part
/// of its `http` block.
#[must_use]
pub fn configuration(folder: &Path, settings: &str, servers: &str) -> String {
    let here = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .concat();
    format!(
        "{user} daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/nginx.err;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; {settings}\n{temporary}{servers} }}\n"
    )
}
