//! Clients that download a large file at one KB per second.

use anyhow::{Context, Result, anyhow};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Bytes that each client reads per second.
const BYTES: usize = 1000;

/// The clients, which run in a thread.
pub(super) struct SlowClients {
    over: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl SlowClients {
    /// Connects `count` clients and starts them.
    ///
    /// # Errors
    /// A connection is refused or not answered.
    pub(super) fn start(server: SocketAddr, url: &str, count: usize) -> Result<Self> {
        let path = url.split_once(&server.to_string()).context("a URL of another server")?.1;
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            let mut client = TcpStream::connect(server)?;
            client.write_all(format!("GET {path} HTTP/1.1\r\nhost: s\r\n\r\n").as_bytes())?;
            client.set_read_timeout(Some(Duration::from_secs(10)))?;
            take(&mut client)?;
            clients.push(client);
        }
        let (over, stopped) = channel();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                clients.iter_mut().try_for_each(take)?;
            }
            Ok(())
        });
        Ok(Self { over, thread })
    }

    /// Disconnects the clients.
    ///
    /// # Errors
    /// One of them was not served.
    pub(super) fn stop(self) -> Result<()> {
        drop(self.over);
        self.thread.join().map_err(|_| anyhow!("the slow clients broke off"))?
    }
}

fn take(client: &mut TcpStream) -> Result<()> {
    client.read_exact(&mut [0; BYTES]).context("a slow client was not served")
}
