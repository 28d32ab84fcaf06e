//! The real nginx between some drones and the orchestrator, and the errors that it returns itself.

use super::node::CENTRE;
use crate::e2e::{nginx::configuration, process::Process};
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The port it listens on.
pub(super) const PORT: u16 = 8180;

/// Upper limit for an end, enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// How the proxy fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It does not reach the orchestrator: 502.
    Unreachable,
    /// It accepts no body of more than a kilobyte: 413.
    Narrow,
    /// It is not running.
    Away,
    /// It accepts connections but never answers.
    Silent,
}

#[derive(Debug)]
pub(super) struct Proxy {
    running: Option<Process>,
    folder: PathBuf,
    upstream: u16,
}

impl Proxy {
    /// Starts it in front of the orchestrator's port.
    pub(super) fn start(folder: &Path, upstream: u16) -> Result<Self> {
        fs::create_dir(folder)?;
        let mut proxy = Self { running: None, folder: folder.to_owned(), upstream };
        proxy.run(upstream, "0")?;
        Ok(proxy)
    }

    pub(super) fn url() -> String {
        format!("http://{CENTRE}:{PORT}")
    }

    pub(super) fn hinder(&mut self, way: Way) -> Result<()> {
        match way {
            // Nothing listens on the discard port.
            Way::Unreachable => self.run(9, "0"),
            Way::Narrow => self.run(self.upstream, "1k"),
            Way::Away => self.stop(),
            Way::Silent => self.running.as_ref().context("nginx does not run")?.signal(Signal::STOP),
        }
    }

    /// Repairs it with a restart.
    pub(super) fn mend(&mut self) -> Result<()> {
        self.run(self.upstream, "0")
    }

    fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.running.take() else { return Ok(()) };
        process.signal(Signal::CONT)?;
        process.signal(Signal::TERM)?;
        process.end(SOON)?;
        Ok(())
    }

    fn run(&mut self, upstream: u16, largest_body: &str) -> Result<()> {
        self.stop()?;
        let server = format!(
            "server {{ listen {CENTRE}:{PORT}; client_max_body_size {largest_body}; location / {{\n\
             proxy_pass http://{CENTRE}:{upstream}; proxy_http_version 1.1; proxy_request_buffering off;\n\
             proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Forwarded-Proto $scheme; proxy_read_timeout 1h; }} }}\n"
        );
        let file = self.folder.join("nginx.conf");
        fs::write(&file, configuration(&self.folder, "", &server))?;
        let mut command = Command::new("nginx");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-c").arg(&file).arg("-p").arg(&self.folder);
        self.running = Some(Process::start(&mut command, &self.folder.join("log"))?);
        Ok(())
    }
}
