//! A line to an orchestrator that counts what it brings, and may break.

use anyhow::Result;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use swarm_common::{
    client::{Client, parse_address},
    secret::Secret,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};

/// A line.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    brought: Arc<AtomicU64>,
}

impl Line {
    /// A line to `to` whose first connection brings so many bytes and breaks.
    ///
    /// # Errors
    /// There is no port for it.
    pub async fn that_breaks_after(bytes: u64, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let brought = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&brought);
        tokio::spawn(async move {
            let mut limit = bytes;
            while let Ok((near, _)) = listener.accept().await {
                let (count, most) = (Arc::clone(&count), std::mem::replace(&mut limit, u64::MAX));
                tokio::spawn(carry(near, to, most, count));
            }
        });
        Ok(Self { address, brought })
    }

    /// A client at the other end of it.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn client(&self, credential: &str) -> Result<Client> {
        let address = parse_address(&format!("http://{}", self.address)).map_err(anyhow::Error::msg)?;
        Ok(Client::new(&[address], Some(Secret::new(credential)))?)
    }

    /// How many bytes all connections brought since this was asked last.
    pub fn brought(&self) -> u64 {
        self.brought.swap(0, Ordering::Relaxed)
    }
}

async fn carry(near: TcpStream, to: SocketAddr, most: u64, count: Arc<AtomicU64>) -> std::io::Result<()> {
    let (mut asks, mut hears) = near.into_split();
    let (answers, mut told) = TcpStream::connect(to).await?.into_split();
    let mut answers = answers.take(most);
    let there = async {
        let mut piece = vec![0; 64 << 10];
        while let read @ 1.. = answers.read(&mut piece).await? {
            count.fetch_add(read as u64, Ordering::Relaxed);
            hears.write_all(&piece[..read]).await?;
        }
        Ok(())
    };
    tokio::select! {
        done = there => done,
        done = copy(&mut asks, &mut told) => done.map(drop),
    }
}
