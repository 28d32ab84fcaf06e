//! Sends build logs to the orchestrator: live during the build, and from the spool afterwards.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_client::{Client, ClientError, LogAppend};
use swarm_common::id::AttemptId;
use tokio::{sync::watch, time::Instant};

/// Maximum size of a request in bytes.
const PIECE: usize = 256 << 10;

/// Minimum interval between two requests for a growing log.
const PAUSE: Duration = Duration::from_secs(1);

/// The log file of an attempt, which can be sent while it is being written.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    length: watch::Sender<u64>,
    path: PathBuf,
}

impl LogFile {
    /// Creates the file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, length: watch::Sender::new(0), path: path.to_owned() })
    }

    /// Appends to the log.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length.send_modify(|length| *length += bytes.len() as u64);
        Ok(())
    }

    /// Sends the log while it grows, until this value is dropped. Parts that the orchestrator cannot accept
    /// now are left to [`deliver`].
    pub fn follow(&self, client: Client, attempt: AttemptId) -> impl Future<Output = ()> + use<> {
        let mut length = self.length.subscribe();
        let path = self.path.clone();
        async move {
            let mut sent = 0;
            while length.changed().await.is_ok() {
                let end = *length.borrow_and_update();
                let next = Instant::now() + PAUSE;
                if let Err(error) = send(&client, attempt, &path, &mut sent, end).await {
                    tracing::debug!(%attempt, %error, "cannot upload the log now, will retry");
                    if !error.is_transient() {
                        return;
                    }
                }
                tokio::time::sleep_until(next).await;
            }
        }
    }
}

/// Runs `work` and follows its log concurrently. Following ends with the work; the rest of the log is left to
/// [`deliver`].
pub async fn beside<T>(follow: Option<impl Future<Output = ()>>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Some(follow) = follow {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = follow => {}
        }
    }
    work.await
}

/// Sends the part of a finished log that the orchestrator does not have yet.
///
/// # Errors
/// The log cannot be sent. A missing log is not an error: nothing was printed.
pub async fn deliver(client: &Client, attempt: AttemptId, path: &Path) -> Result<(), ClientError> {
    let Ok(end) = std::fs::metadata(path).map(|m| m.len()) else { return Ok(()) };
    // Appending at the end makes the orchestrator report its offset.
    let mut sent = end;
    send(client, attempt, path, &mut sent, end).await
}

async fn send(
    client: &Client,
    attempt: AttemptId,
    path: &Path,
    sent: &mut u64,
    end: u64,
) -> Result<(), ClientError> {
    loop {
        let piece = read_piece(path, *sent, end).map_err(|e| ClientError::Local(e.to_string()))?;
        let length = piece.len() as u64;
        match client.append_log(attempt, *sent, piece.into()).await? {
            LogAppend::Stored => *sent += length,
            LogAppend::StandsAt(stored) if stored > end => return Ok(()),
            // The answer contradicts itself; continuing would loop forever.
            LogAppend::StandsAt(stored) if stored == *sent => {
                let what = format!("it rejected byte {stored} of the log and requested it again");
                return Err(ClientError::Local(what));
            }
            LogAppend::StandsAt(stored) => {
                *sent = stored;
                continue;
            }
        }
        if *sent >= end {
            return Ok(());
        }
    }
}

fn read_piece(path: &Path, from: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut piece = Vec::new();
    file.take(end.saturating_sub(from).min(PIECE as u64)).read_to_end(&mut piece)?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_client::parse_address;

    #[tokio::test]
    async fn a_build_does_not_wait_for_an_orchestrator_that_does_not_take_its_log() {
        let folder = tempfile::tempdir().unwrap();
        // This accepts connections but never answers.
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", deaf.local_addr().unwrap());
        let client = Client::new(&[parse_address(&address).unwrap()], None).unwrap();
        let mut log = LogFile::create(&folder.path().join("log")).unwrap();
        let follow = log.follow(client, AttemptId(1));
        let accepted = tokio::task::spawn_blocking(move || deaf.accept().map(|it| (it, deaf)));
        let build = async {
            log.write(b"compiling\n").unwrap();
            let sending = accepted.await.unwrap().unwrap();
            log.write(b"done\n").unwrap();
            sending
        };
        // The log is given up after a minute.
        let ended = tokio::time::timeout(Duration::from_secs(30), beside(Some(follow), build)).await;
        ended.expect("it waits for the answer to the piece");
    }
}
