//! build-swarm-v3 from a checkout of its repository, if available: its own server with its own database and
//! protocol. Only effects outside this benchmark are prevented: it listens on loopback, starts no dashboard,
//! and logs in to no machine.

use super::load::{self, Given, Outcome, Protocol};
use crate::{bench::server::announced, e2e::process::Process};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

/// Starts the server of the checkout given as the first argument.
const LAUNCH: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import swarm.admin_server
import swarm.control_plane as plane
swarm.admin_server.start_admin_server = lambda port: None
plane.SelfHealingMonitor.start = lambda self: None
class Local(plane.ThreadingHTTPServer):
    def __init__(self, address, handler):
        super().__init__(('127.0.0.1', 0), handler)
        print(f'ready address=127.0.0.1:{self.server_address[1]}', flush=True)
plane.ThreadingHTTPServer = Local
plane.start()
";

const ADMIN: &str = "admin-of-the-benchmark";

/// It resets connections when many arrive at once, and loses their requests. The measurement is repeated up
/// to this many times.
const TRIES: usize = 3;

/// Lets drones claim and complete packages of the peer in `checkout`.
///
/// # Errors
/// It does not start, refuses a request, or fails in every try.
pub(super) fn run(checkout: &Path, drones: usize, packages: usize) -> Result<Outcome> {
    for _ in 1..TRIES {
        match once(checkout, drones, packages) {
            Err(error) if was_reset(&error) => eprintln!("the peer is measured anew: {error:#}"),
            ended => return ended,
        }
    }
    once(checkout, drones, packages)
}

fn was_reset(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::ConnectionReset)
}

fn once(checkout: &Path, drones: usize, packages: usize) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let mut command = Command::new("python3");
    command.args(["-c", LAUNCH]).arg(checkout).current_dir(folder.path());
    for (variable, name) in [
        ("SWARM_DB_PATH", "swarm.db"),
        ("LOG_FILE", "peer.log"),
        ("STAGING_PATH", "staging"),
        ("BINHOST_PATH", "binhost"),
        ("RELEASES_BASE_PATH", "releases"),
        ("PROFILES_DIR", "profiles"),
        ("PORTAGE_SNAPSHOTS_DIR", "snapshots"),
    ] {
        command.env(variable, at(name));
    }
    // The load sends no heartbeats.
    command.env("ADMIN_SECRET", ADMIN).env("NODE_TIMEOUT", "100000").env("PYTHONDONTWRITEBYTECODE", "1");
    let mut process = Process::start(&mut command, &at("log"))?;
    let address = announced(&mut process)?;
    for drone in 0..drones {
        let body =
            format!("{{\"id\":\"d{drone}\",\"name\":\"drone-{drone}\",\"capabilities\":{{\"cores\":4}}}}");
        tell(address, "/api/v1/register", &body)?;
    }
    let names: Vec<String> = (0..packages).map(|n| format!("\"=app-test/dummy-{n}-1.0\"")).collect();
    for names in names.chunks(1000) {
        tell(address, "/api/v1/queue", &format!("{{\"packages\":[{}]}}", names.join(",")))?;
    }
    load::run(address, drones, packages, &Spoken)
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: peer\r\nx-admin-key: {ADMIN}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn tell(address: SocketAddr, path: &str, body: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(post(path, body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("an empty answer")?;
    anyhow::ensure!(status == "200", "{path} was answered with {answer}");
    Ok(())
}

#[derive(Deserialize)]
struct Claimed {
    package: Option<String>,
}

#[derive(Deserialize)]
struct Completed {
    accepted: bool,
}

struct Spoken;

impl Protocol for Spoken {
    fn claim(&self, drone: usize, _: usize) -> String {
        format!("GET /api/v1/work?id=d{drone} HTTP/1.1\r\nhost: peer\r\n\r\n")
    }

    fn given(&self, answer: &[u8]) -> Result<Option<Given>> {
        let Claimed { package } = serde_json::from_slice(answer)?;
        Ok(package.map(|package| Given { ticket: package.clone(), package }))
    }

    fn complete(&self, drone: usize, given: &Given) -> String {
        let package = &given.ticket;
        let body = format!(
            "{{\"id\":\"d{drone}\",\"package\":\"{package}\",\"status\":\"success\",\"build_duration_s\":1}}"
        );
        post("/api/v1/complete", &body)
    }

    fn is_accepted(&self, answer: &[u8]) -> bool {
        serde_json::from_slice::<Completed>(answer).is_ok_and(|said| said.accepted)
    }

    fn closes(&self) -> bool {
        true
    }
}
