//! Raw HTTP requests, for what well-behaved clients never send and for headers that the API's client does not
//! expose.

use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Upper limit for every wait.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    /// The body, if the response has a `Content-Length`.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// Nothing listens at the address.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, read: Vec::new() })
    }

    /// Sends bytes unchanged.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref()).await?)
    }

    /// Sends a complete request and reads the response.
    ///
    /// # Errors
    /// There is no response.
    pub async fn ask(&mut self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut head = format!("{line} HTTP/1.1\r\nhost: swarm\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send(format!("{head}\r\n")).await?;
        self.send(body).await?;
        self.answer(line.starts_with("HEAD ")).await
    }

    /// Reads one response.
    ///
    /// # Errors
    /// The connection ended before it was complete, or timed out.
    pub async fn answer(&mut self, head_only: bool) -> Result<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if self.more().await? == 0 {
                bail!("the connection ended before an answer: {:?}", String::from_utf8_lossy(&self.read));
            }
        };
        let head = String::from_utf8(self.read[..end].to_vec())?;
        self.read.drain(..end + 4);
        let mut lines = head.lines();
        let first = lines.next().context("an empty answer")?;
        let status = first.split(' ').nth(1).context("no status")?.parse()?;
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
        let length = if head_only { 0 } else { length };
        while self.read.len() < length {
            if self.more().await? == 0 {
                bail!("the answer broke off after {} of {length} bytes", self.read.len());
            }
        }
        let body = self.read.drain(..length).collect();
        Ok(Answer { status, headers, body })
    }

    /// Waits until a response has begun, without reading further.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn begun(&mut self) -> Result<()> {
        while self.read.is_empty() {
            if self.more().await? == 0 {
                bail!("the connection ended before an answer");
            }
        }
        Ok(())
    }

    /// Waits until the peer closes the connection, discarding further data.
    ///
    /// # Errors
    /// It is not closed in time.
    pub async fn closed(&mut self) -> Result<()> {
        loop {
            match self.more().await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Closing a socket with unread data resets the connection. It is closed in this case too.
                Err(error) if error.downcast_ref::<std::io::Error>().is_some() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn more(&mut self) -> Result<usize> {
        let read = timeout(LIMIT, self.stream.read_buf(&mut self.read)).await;
        Ok(read.context("nothing came and nothing was closed")??)
    }
}
