//! Attacks with connections without a credential that do nothing, or everything slowly: a crowd that
//! reconnects whenever it is disconnected. Measures how this affects a drone.

use crate::api::FakeDrone;
use anyhow::{Context as _, Result};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use swarm_client::Client;
use swarm_common::secret::Secret;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Minimum and maximum pause in milliseconds before a client reconnects, so that they do not all reconnect at
/// once.
const PAUSES: [u64; 2] = [1000, 3000];

/// How long a slow client waits before its next byte. Less than the time limit for pauses in a body.
const SLOWLY: Duration = Duration::from_secs(3);

/// How many clients connect at the same time. The rest of the crowd waits.
const ABREAST: usize = 64;

/// What a hostile client sends before it becomes silent or slow.
const SHAPES: [&str; 4] = [
    // Nothing.
    "",
    // Half a request head.
    "GET /healthz HTTP/1.1\r\nhost: s\r\nx-half: ",
    // A slow body for a route that needs no credential.
    "POST /api/v1/enrol HTTP/1.1\r\nhost: s\r\ncontent-length: 100000\r\n\r\n",
    // A complete request, so that the connection counts as recently used.
    "GET /healthz HTTP/1.1\r\nhost: s\r\n\r\n",
];

/// Hostile clients. Dropping this disconnects them.
pub struct Crowd {
    tasks: JoinSet<()>,
    opened: Arc<AtomicU64>,
}

impl Crowd {
    /// Opens `count` connections to `address`, with all shapes in equal numbers, and reopens each one when it
    /// is closed. Waits until each was open once.
    ///
    /// # Errors
    /// They cannot connect.
    pub async fn gather(address: SocketAddr, count: usize) -> Result<Self> {
        let mut crowd = Self { tasks: JoinSet::new(), opened: Arc::default() };
        let abreast = Arc::new(Semaphore::new(ABREAST));
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        for (shape, n) in SHAPES.into_iter().cycle().zip(0..count) {
            let [least, most] = PAUSES;
            let pause = Duration::from_millis(least + (most - least) * n as u64 / count as u64);
            let opened = crowd.opened.clone();
            let (abreast, mut first) = (abreast.clone(), Some(sender.clone()));
            crowd.tasks.spawn(async move {
                loop {
                    let connected = {
                        let _turn = abreast.acquire().await;
                        TcpStream::connect(address).await
                    };
                    if let Ok(stream) = connected {
                        opened.fetch_add(1, Ordering::Relaxed);
                        drop(first.take());
                        // The connection ends when the orchestrator closes it.
                        let _thrown_out = annoy(stream, shape).await;
                    }
                    sleep(pause).await;
                }
            });
        }
        drop(sender);
        // The channel closes when the last client has dropped its sender.
        let all = timeout(Duration::from_secs(60), receiver.recv()).await;
        all.context("a crowd could not gather in a minute")?;
        Ok(crowd)
    }

    /// How many times a client has connected.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Keeps a connection open until the peer closes it.
async fn annoy(mut stream: TcpStream, shape: &str) -> std::io::Result<()> {
    stream.write_all(shape.as_bytes()).await?;
    let mut buffer = [0; 512];
    loop {
        match timeout(SLOWLY, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if shape.is_empty() => {}
            // A part of a header, of a body, or of the next request's method.
            Err(_) => stream.write_all(b"x").await?,
        }
    }
}

/// Durations of requests.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The duration that this percentage of the requests did not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// Measures a heartbeat. Every other one uses a new connection, as after a restart or a network outage.
///
/// # Errors
/// It is not answered.
pub async fn beat(drone: &FakeDrone, n: usize) -> Result<Duration> {
    let client = match n % 2 {
        0 => drone.client.clone(),
        _ => Client::new(&[drone.client.address().clone()], Some(Secret::new(&drone.credential)))?,
    };
    let one = FakeDrone { client, id: drone.id, credential: String::new() };
    let began = Instant::now();
    one.heartbeat(vec![]).await?;
    Ok(began.elapsed())
}
