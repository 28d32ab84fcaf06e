//! Connections without a credential that do nothing, or everything slowly: a crowd that comes
//! back when it is thrown out, and what a drone feels of it.

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

/// How long one waits before it comes back, at least and at most: they do not come all at once.
const PAUSES: [u64; 2] = [1000, 3000];

/// How long a slow one waits before its next byte: less than a body may be silent for.
const SLOWLY: Duration = Duration::from_secs(3);

/// How many connect at the same time; the rest of a crowd stands behind them.
const ABREAST: usize = 64;

/// What a hostile connection sends before it falls silent or slow.
const SHAPES: [&str; 4] = [
    // Nothing.
    "",
    // Half a head.
    "GET /healthz HTTP/1.1\r\nhost: s\r\nx-half: ",
    // A body that drips, to a route that is open to strangers.
    "POST /api/v1/enrol HTTP/1.1\r\nhost: s\r\ncontent-length: 100000\r\n\r\n",
    // A whole request, so that it has been busy lately.
    "GET /healthz HTTP/1.1\r\nhost: s\r\n\r\n",
];

/// Hostile connections. They end with this value.
pub struct Crowd {
    tasks: JoinSet<()>,
    opened: Arc<AtomicU64>,
}

impl Crowd {
    /// So many connections to `address`, of every shape alike; each is opened anew when it is
    /// closed. Waits until each was open once.
    ///
    /// # Errors
    /// They cannot connect.
    pub async fn gather(address: SocketAddr, count: usize) -> Result<Self> {
        let mut crowd = Self { tasks: JoinSet::new(), opened: Arc::default() };
        let abreast = Arc::new(Semaphore::new(ABREAST));
        let (tell, mut told) = tokio::sync::mpsc::channel::<()>(1);
        for (shape, n) in SHAPES.into_iter().cycle().zip(0..count) {
            let [least, most] = PAUSES;
            let pause = Duration::from_millis(least + (most - least) * n as u64 / count as u64);
            let opened = crowd.opened.clone();
            let (abreast, mut first) = (abreast.clone(), Some(tell.clone()));
            crowd.tasks.spawn(async move {
                loop {
                    let connected = {
                        let _turn = abreast.acquire().await;
                        TcpStream::connect(address).await
                    };
                    if let Ok(stream) = connected {
                        opened.fetch_add(1, Ordering::Relaxed);
                        drop(first.take());
                        // It ends when it is thrown out.
                        let _thrown_out = annoy(stream, shape).await;
                    }
                    sleep(pause).await;
                }
            });
        }
        drop(tell);
        // The last one lets go of it.
        let all = timeout(Duration::from_secs(60), told.recv()).await;
        all.context("a crowd could not gather in a minute")?;
        Ok(crowd)
    }

    /// How often one of them got in.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Goes away.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
    }
}

/// One connection, until the other end closes it.
async fn annoy(mut stream: TcpStream, shape: &str) -> std::io::Result<()> {
    stream.write_all(shape.as_bytes()).await?;
    let mut said = [0; 512];
    loop {
        match timeout(SLOWLY, stream.read(&mut said)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if shape.is_empty() => {}
            // A part of the header, of the body, or of the next request's method.
            Err(_) => stream.write_all(b"x").await?,
        }
    }
}

/// How long requests took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that so many of a hundred do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// How long one heartbeat takes; every other one comes over a connection of its own, as after a
/// restart or a pause of the network.
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
