//! Drones that claim and complete as fast as a server allows, each over its own persistent connection. All
//! run on one thread, so that they take at most one processor from the server, and the same code measures all
//! servers.

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long a drone waits before it asks again after getting nothing.
const BACK_OFF: Duration = Duration::from_millis(5);

/// A load without progress for this long is aborted.
const LONGEST: Duration = Duration::from_secs(300);

/// The result of a claim.
pub struct Given {
    pub package: String,
    /// The value that the completion has to name.
    pub ticket: String,
}

/// The protocol of a server.
pub trait Protocol {
    /// The complete request for a drone's claim number `turn`.
    fn claim(&self, drone: usize, turn: usize) -> String;
    /// Parses the answer; `None` if there was no work.
    ///
    /// # Errors
    /// The answer cannot be parsed.
    fn given(&self, answer: &[u8]) -> Result<Option<Given>>;
    /// The complete request that completes a claimed package.
    fn complete(&self, drone: usize, given: &Given) -> String;
    /// Whether the server accepted the completion.
    fn is_accepted(&self, answer: &[u8]) -> bool;
    /// Whether the server closes the connection after each answer.
    fn closes(&self) -> bool {
        false
    }
}

/// The result of a load.
pub struct Outcome {
    /// Seconds from the first claim to the last completion.
    pub seconds: f64,
    /// Durations of the claims that returned a package, in milliseconds, sorted.
    pub claims_ms: Vec<f64>,
    /// Number of packages assigned to more than one drone, or twice to one.
    pub doubled: usize,
}

impl Outcome {
    /// Claims per second, including their completions.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.claims_ms.len() as f64 / self.seconds
    }

    /// The time in milliseconds within which this percentage of the claims was answered.
    #[must_use]
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.claims_ms.len() * percent / 100).min(self.claims_ms.len().saturating_sub(1));
        self.claims_ms.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// A POST request with a JSON body.
#[must_use]
pub fn post(path: &str, credential: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: swarm\r\nauthorization: Bearer {credential}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Lets `drones` claim and complete `packages`.
///
/// # Errors
/// The server refuses a request, or makes no progress.
pub fn run(address: SocketAddr, drones: usize, packages: usize, protocol: &impl Protocol) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Tally::default();
    tally.left.set(packages);
    let began = Cell::new(Instant::now());
    runtime.block_on(async {
        let connections = (0..drones).map(|_| Connection::open(address, protocol.closes()));
        let connections = try_join_all(connections).await?;
        began.set(Instant::now());
        let drones = connections.into_iter().enumerate();
        let load = try_join_all(drones.map(|(n, connection)| work(n, connection, protocol, &tally)));
        tokio::time::timeout(LONGEST, load).await.context("the load does not end")??;
        anyhow::Ok(())
    })?;
    let seconds = began.get().elapsed().as_secs_f64();
    let mut claims_ms = tally.claims_ms.into_inner();
    claims_ms.sort_by(f64::total_cmp);
    let doubled = claims_ms.len() - tally.given.into_inner().len();
    Ok(Outcome { seconds, claims_ms, doubled })
}

#[derive(Default)]
struct Tally {
    left: Cell<usize>,
    given: RefCell<BTreeSet<String>>,
    claims_ms: RefCell<Vec<f64>>,
}

async fn work(
    drone: usize,
    mut connection: Connection,
    protocol: &impl Protocol,
    tally: &Tally,
) -> Result<()> {
    for turn in 0.. {
        if tally.left.get() == 0 {
            break;
        }
        let asked = Instant::now();
        let answer = connection.ask(&protocol.claim(drone, turn)).await?;
        let took_ms = asked.elapsed().as_secs_f64() * 1000.0;
        let Some(given) = protocol.given(answer)? else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        tally.claims_ms.borrow_mut().push(took_ms);
        let answer = connection.ask(&protocol.complete(drone, &given)).await?;
        ensure!(
            protocol.is_accepted(answer),
            "a completion was answered with {}",
            String::from_utf8_lossy(answer)
        );
        tally.given.borrow_mut().insert(given.package);
        tally.left.set(tally.left.get().saturating_sub(1));
    }
    Ok(())
}

/// A connection with a minimal HTTP client.
struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    closes: bool,
    read: Vec<u8>,
    /// End of the last answer's body in the buffer.
    used: usize,
}

impl Connection {
    async fn open(address: SocketAddr, closes: bool) -> Result<Self> {
        let stream = if closes { None } else { Some(connect(address).await?) };
        Ok(Self { address, stream, closes, read: Vec::with_capacity(4096), used: 0 })
    }

    /// Sends a request and returns the body of the answer.
    async fn ask(&mut self, request: &str) -> Result<&[u8]> {
        self.read.drain(..self.used);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        stream.write_all(request.as_bytes()).await?;
        let (begin, end) = loop {
            if let Some(found) = body(&self.read)?
                && self.read.len() >= found.1
            {
                break found;
            }
            let read = stream.read_buf(&mut self.read).await?;
            ensure!(read > 0, "the server hung up after {:?}", String::from_utf8_lossy(&self.read));
        };
        self.used = end;
        if self.closes {
            self.used = self.read.len();
        } else {
            self.stream = Some(stream);
        }
        Ok(&self.read[begin..end])
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Start and end of an answer's body, once its head is complete.
fn body(read: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&read[..end])?;
    if !head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
        bail!("the server answered {}", String::from_utf8_lossy(read));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.context("an answer without a length")??;
    Ok(Some((end + 4, end + 4 + length)))
}
