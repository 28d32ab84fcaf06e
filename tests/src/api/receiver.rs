//! A third-party HTTP server that accepts posted notifications from the ntfy and webhook sinks.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};
use swarm_daemon::config::{Span, parse};
use swarm_orchestrator::config::Config;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Upper limit for every wait.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Post {
    pub line: String,
    /// The header `authorization`; empty if it is missing.
    pub authorization: String,
    pub body: Value,
}

impl Post {
    /// A text field of the body.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// The server. Dropping it stops it.
pub struct Receiver {
    /// The address it listens on.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    taken: Mutex<Vec<Post>>,
    refused: AtomicU16,
    status: AtomicU16,
}

impl Receiver {
    /// Configures this server as a sink that gets every concern immediately.
    ///
    /// # Errors
    /// The sink is not valid.
    pub fn subscribe(&self, config: &mut Config) -> Result<()> {
        let hook = format!("url = \"http://{}/hook\"\nminimum = \"warning\"", self.address);
        config.notify.sink.push(parse(Path::new("sink.toml"), &hook)?);
        config.notify.window = Span::default();
        Ok(())
    }

    /// Starts a server that accepts everything.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { status: AtomicU16::new(200), ..Shared::default() });
        let state = shared.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move {
                    // It does not matter if a client disconnects.
                    let _ended = serve(stream, &state).await;
                });
            }
        });
        Ok(Self { address, shared, serving })
    }

    /// Answers with this status from now on, and accepts requests only if it is 200. With 0, it does not
    /// answer at all.
    pub fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// How many requests it did not accept.
    #[must_use]
    pub fn refused(&self) -> u16 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// The requests accepted so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Post> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has accepted this many requests.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn wait(&self, count: usize) -> Result<Vec<Post>> {
        let began = Instant::now();
        loop {
            let taken = self.taken();
            if taken.len() >= count {
                return Ok(taken);
            }
            ensure!(began.elapsed() < LIMIT, "only {} of {count} came: {taken:?}", taken.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length, mut authorization) = (String::new(), 0, String::new());
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_lowercase().as_str() {
                "content-length" => length = value.parse()?,
                "authorization" => value.clone_into(&mut authorization),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let status = shared.status.load(Ordering::SeqCst);
        if status == 200 {
            let line = line.rsplit_once(' ').context("no request line")?.0.to_owned();
            let post = Post { line, authorization, body: serde_json::from_slice(&body)? };
            shared.taken.lock().unwrap_or_else(PoisonError::into_inner).push(post);
        } else {
            shared.refused.fetch_add(1, Ordering::SeqCst);
        }
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 4\r\n\r\nwhy\n");
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}
