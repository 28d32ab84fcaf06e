//! A TCP proxy in front of an orchestrator that counts transferred bytes and can break the connection.

use anyhow::Result;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use swarm_client::{Client, parse_address};
use swarm_common::secret::Secret;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};

#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    brought: Arc<AtomicU64>,
}

impl Line {
    /// A proxy to `to` that transfers this many bytes in all its connections together and then breaks once,
    /// ending the connection that transferred the last of them.
    ///
    /// # Errors
    /// No port is free.
    pub async fn that_breaks_after(bytes: u64, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let brought = Arc::new(AtomicU64::new(0));
        let whole =
            Arc::new(Whole { breaks_after: bytes, carried: AtomicU64::new(0), asked: Arc::clone(&brought) });
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, to, Arc::clone(&whole)));
            }
        });
        Ok(Self { address, brought })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client that connects through the proxy.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn client(&self, credential: &str) -> Result<Client> {
        let address = parse_address(&format!("http://{}", self.address)).map_err(anyhow::Error::msg)?;
        Ok(Client::new(&[address], Some(Secret::new(credential)))?)
    }

    /// How many bytes all connections transferred since the last call.
    pub fn brought(&self) -> u64 {
        self.brought.swap(0, Ordering::Relaxed)
    }
}

/// State shared by all connections of a proxy.
struct Whole {
    breaks_after: u64,
    carried: AtomicU64,
    asked: Arc<AtomicU64>,
}

impl Whole {
    /// Counts a piece. If the proxy breaks within it, returns how many bytes of it still arrive.
    fn breaks_in(&self, piece: u64) -> Option<u64> {
        let before = self.carried.fetch_add(piece, Ordering::Relaxed);
        let breaks = (before..before + piece).contains(&self.breaks_after);
        let arrives = if breaks { self.breaks_after - before } else { piece };
        self.asked.fetch_add(arrives, Ordering::Relaxed);
        breaks.then_some(arrives)
    }
}

async fn carry(near: TcpStream, to: SocketAddr, whole: Arc<Whole>) -> std::io::Result<()> {
    let (mut asks, mut hears) = near.into_split();
    let (mut answers, mut to_server) = TcpStream::connect(to).await?.into_split();
    let there = async {
        let mut piece = vec![0; 64 << 10];
        while let read @ 1.. = answers.read(&mut piece).await? {
            match whole.breaks_in(read as u64) {
                None => hears.write_all(&piece[..read]).await?,
                Some(arrives) => {
                    return hears.write_all(&piece[..usize::try_from(arrives).unwrap_or(read)]).await;
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        done = there => done,
        done = copy(&mut asks, &mut to_server) => done.map(drop),
    }
}
