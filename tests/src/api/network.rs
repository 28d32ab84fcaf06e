//! A network that a test has to itself, for what happens to peers that are not loopback:
//! a network namespace that one thread lives in.

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
    thread,
};

/// An address that is not loopback's, of a network that RFC 5737 keeps for examples.
const ADDRESS: &str = "192.0.2.1";

/// Runs a test in a network of its own, where this machine is loopback and [`ADDRESS`],
/// which the test is given. Whoever connects to that address does it from that address.
///
/// # Errors
/// The test fails, or the network cannot be made, which takes root and iproute2.
pub fn in_a_network_of_its_own<F>(test: impl FnOnce(&'static str) -> F + Send) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let mut keeper = keeper()?;
    // Namespaces are a thread's own affair; the runtime's threads come from this one.
    let done = thread::scope(|scope| {
        let id = keeper.id();
        let own = scope.spawn(move || -> Result<()> {
            let network = File::open(format!("/proc/{id}/ns/net"))?;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(test(ADDRESS))
        });
        own.join()
    });
    drop(keeper.stdin.take());
    keeper.wait()?;
    match done {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A process that keeps the network in being until its standard input is closed, which
/// happens however this process ends.
fn keeper() -> Result<Child> {
    // Kernels without the modules for other interfaces have this one.
    let script = format!("ip link set lo up && ip address add {ADDRESS}/24 dev lo && echo ready && exec cat");
    let mut keeper = Command::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("unshare is missing: install util-linux")?;
    let mut word = String::new();
    let output = keeper.stdout.take().context("no output")?;
    BufReader::new(output).read_line(&mut word)?;
    if word != "ready\n" {
        let ended = keeper.wait()?;
        ensure!(rustix::process::geteuid().is_root(), "this test makes a network of its own: run it as root");
        bail!("no network can be made ({ended}): install iproute2, and allow network namespaces");
    }
    Ok(keeper)
}
