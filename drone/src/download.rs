//! Resumable downloads from the orchestrator: received data is kept on disk when the connection breaks.

use std::{fs, io, path::Path};
use swarm_client::{ByteStream, ClientError, Tries};
use tokio::io::AsyncWriteExt as _;

/// File extension of a download that may be incomplete.
pub(crate) const PARTIAL: &str = "partial";

#[derive(Debug)]
pub(crate) enum DownloadError {
    /// The orchestrator or the connection failed.
    Remote(ClientError),
    Local(io::Error),
    /// The stream was larger than allowed. The file was removed.
    TooLarge,
}

/// Appends `stream` to the first `first` bytes of the file `at`, up to a total of `most` bytes.
pub(crate) async fn receive(
    mut stream: ByteStream,
    at: &Path,
    first: u64,
    most: u64,
) -> Result<(), DownloadError> {
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).write(true).append(first > 0).truncate(first == 0);
    let mut file = options.open(at).await.map_err(DownloadError::Local)?;
    let received = async {
        let mut size = first;
        while let Some(piece) = stream.next().await.map_err(DownloadError::Remote)? {
            size += piece.len() as u64;
            if size > most {
                return Err(DownloadError::TooLarge);
            }
            file.write_all(&piece).await.map_err(DownloadError::Local)?;
        }
        Ok(())
    };
    let received = received.await;
    // Tokio writes in the background: only after a flush is the last write complete and its error known.
    file.flush().await.map_err(DownloadError::Local)?;
    if matches!(received, Err(DownloadError::TooLarge)) {
        fs::remove_file(at).map_err(DownloadError::Local)?;
    }
    received
}

/// Waits before a download is retried after this error. Returns false if it must not be retried.
pub(crate) async fn is_tried_again(error: &ClientError, tries: &mut Tries) -> bool {
    let pause = if error.is_transient() { tries.pause(error.retry_after()) } else { None };
    if let Some(pause) = pause {
        tracing::warn!(%error, "the download failed, trying again in {:.1} s", pause.as_secs_f64());
        tokio::time::sleep(pause).await;
    }
    pause.is_some()
}

/// Whether an error while reading a downloaded archive comes from the disk, not from its content.
pub(crate) fn is_disks(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    !matches!(kind, Kind::Other | Kind::UnexpectedEof | Kind::InvalidData | Kind::FileTooLarge)
}
