//! A mail server that accepts every mail, without TLS (a minimal RFC 5321).

use anyhow::{Result, ensure};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Upper limit for every wait.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// Sender and recipients of the envelope, as the client sent them.
    pub envelope: Vec<String>,
    pub data: String,
}

/// The server. Dropping it stops it.
pub struct Mailbox {
    /// The address it listens on.
    pub address: SocketAddr,
    taken: Arc<Mutex<Vec<Mail>>>,
    serving: JoinHandle<()>,
}

impl Mailbox {
    /// Starts the server.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let taken = Arc::new(Mutex::default());
        let mails = Arc::clone(&taken);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mails = Arc::clone(&mails);
                tokio::spawn(async move {
                    // It does not matter if a client disconnects.
                    let _ended = serve(stream, &mails).await;
                });
            }
        });
        Ok(Self { address, taken, serving })
    }

    #[must_use]
    pub fn taken(&self) -> Vec<Mail> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this many mails have arrived.
    ///
    /// # Errors
    /// They do not arrive in time.
    pub async fn wait(&self, count: usize) -> Result<Vec<Mail>> {
        let began = Instant::now();
        while self.taken().len() < count {
            ensure!(began.elapsed() < LIMIT, "only {:?} came", self.taken());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(self.taken())
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, mails: &Mutex<Vec<Mail>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut mail = Mail::default();
    say(&mut stream, "220 mailbox").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        match line.split([' ', ':']).next().unwrap_or_default().to_uppercase().as_str() {
            "EHLO" => say(&mut stream, "250-mailbox\r\n250 8BITMIME").await?,
            "MAIL" | "RCPT" => {
                mail.envelope.push(line.to_owned());
                say(&mut stream, "250 yes").await?;
            }
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                loop {
                    let mut line = String::new();
                    ensure!(stream.read_line(&mut line).await? > 0, "the mail broke off");
                    if line == ".\r\n" {
                        break;
                    }
                    mail.data.push_str(&line);
                }
                mails.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut mail));
                say(&mut stream, "250 taken").await?;
            }
            "QUIT" => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "500 what?").await?,
        }
    }
}

async fn say(stream: &mut BufReader<TcpStream>, line: &str) -> Result<()> {
    Ok(stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?)
}
