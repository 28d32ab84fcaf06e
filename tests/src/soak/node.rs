//! A drone of the soak: a process in its own network namespace, at the end of a virtual cable that can be
//! cut, slowed down, or limited to one direction.

use crate::e2e::{process::Process, programs::program};
use anyhow::{Context, Result, ensure};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

/// The bridge to which all cables are connected.
pub const BRIDGE: &str = "swarm0";

/// The address on which the orchestrator listens.
pub const CENTRE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// A drone, running or not.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    /// Its process while it runs.
    pub process: Option<Process>,
    cable: String,
    config: PathBuf,
    log: PathBuf,
}

/// Runs a program that must succeed.
///
/// # Errors
/// It fails; the error contains its output.
pub fn must(command: &str) -> Result<()> {
    let mut words = command.split_whitespace();
    let mut program = Command::new(words.next().context("no command")?);
    let done = program.args(words).output().with_context(|| command.to_owned())?;
    ensure!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

impl Node {
    /// Creates the cable of drone `number`, which is not started yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(number: usize, folder: &Path) -> Result<Self> {
        let (name, cable) = (format!("d{number:02}"), format!("v{number:02}"));
        let address = format!("10.99.0.{}/24", number + 10);
        for command in [
            format!("ip netns add {name}"),
            format!("ip link add {cable} type veth peer name eth0 netns {name}"),
            format!("ip link set {cable} master {BRIDGE} up"),
            format!("ip -n {name} addr add {address} dev eth0"),
            format!("ip -n {name} link set eth0 up"),
            format!("ip -n {name} link set lo up"),
        ] {
            must(&command)?;
        }
        let config = folder.join(format!("{name}.toml"));
        let log = folder.join(format!("{name}.log"));
        Ok(Self { name, process: None, cable, config, log })
    }

    /// The path of its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self) -> Result<()> {
        // `ip netns exec` would hide the control groups that builds need.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program("swarm-drone")?);
        command.arg("--config").arg(&self.config);
        self.process = Some(Process::start(&mut command, &self.log)?);
        Ok(())
    }

    /// Cuts the cable or repairs it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_cable(&self, whole: bool) -> Result<()> {
        must(&format!("ip link set {} {}", self.cable, if whole { "up" } else { "down" }))
    }

    /// Makes the cable slow or normal.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_slow(&self, slow: bool) -> Result<()> {
        must(&match slow {
            true => format!("tc qdisc add dev {} root tbf rate 128kbit burst 8kb latency 800ms", self.cable),
            false => format!("tc qdisc del dev {} root", self.cable),
        })
    }

    /// Drops everything that the drone sends, while it still receives.
    ///
    /// # Errors
    /// nft refuses.
    pub fn set_mute(&self, mute: bool) -> Result<()> {
        let enter = format!("nsenter --net=/run/netns/{} nft", self.name);
        if !mute {
            return must(&format!("{enter} delete table inet soak"));
        }
        must(&format!("{enter} add table inet soak"))?;
        must(&format!(
            "{enter} add chain inet soak out {{ type filter hook output priority 0 ; policy drop ; }}"
        ))
    }
}
