//! Requests written byte by byte, for what a well-behaved client never sends, and for
//! headers that the API's client does not show.

use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Nothing that is waited for here takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body, if its length was told.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, read: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref()).await?)
    }

    /// Sends a whole request and reads the answer.
    ///
    /// # Errors
    /// There is none.
    pub async fn ask(&mut self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut head = format!("{line} HTTP/1.1\r\nhost: swarm\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send(format!("{head}\r\n")).await?;
        self.send(body).await?;
        self.answer(line.starts_with("HEAD ")).await
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// The connection ended before it, or nothing came for long.
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

    /// Waits until an answer has begun, and takes nothing more.
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

    /// Waits until the other end closes; whatever it still says is dropped.
    ///
    /// # Errors
    /// It does not close for long.
    pub async fn closed(&mut self) -> Result<()> {
        loop {
            match self.more().await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Closing with unread bytes resets the connection, which is closed too.
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
