//! A private network for a test about peers that are not on loopback: a network namespace for one thread.

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
    thread,
};

/// An address that is not on loopback. RFC 5737 reserves its network for examples.
const ADDRESS: &str = "192.0.2.1";

/// Runs a test in a private network, in which this machine has loopback and [`ADDRESS`], which is passed to
/// the test. Connections to that address also come from it.
///
/// # Errors
/// The test fails, or the network cannot be created, which requires root and iproute2.
pub fn in_a_network_of_its_own<F>(test: impl FnOnce(&'static str) -> F + Send) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let mut keeper = keeper()?;
    // Namespaces belong to a thread. The runtime's threads inherit them from this one.
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

/// A process that keeps the network alive until its standard input is closed, which happens however this
/// process ends.
fn keeper() -> Result<Child> {
    // This interface exists even in kernels without modules for other kinds.
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
