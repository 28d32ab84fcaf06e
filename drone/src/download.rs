//! Archives on their way from the orchestrator. What came of one stays on the disk when the
//! connection breaks, and the rest is fetched after it.

use std::{fs, io, path::Path};
use swarm_common::client::{ByteStream, ClientError};
use tokio::io::AsyncWriteExt as _;

/// Waiting times before a fetch goes on that broke off: an orchestrator that is restarted
/// meanwhile should not cost the attempt.
pub(crate) const PAUSES_S: [u64; 4] = [1, 2, 4, 8];

/// What a file is called that may not be whole.
pub(crate) const PARTIAL: &str = "partial";

/// Why an archive did not arrive.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The orchestrator, or the way to it.
    Remote(ClientError),
    /// The disk.
    Local(io::Error),
    /// There was more of it than there can be. Nothing of it is kept.
    TooLarge,
}

/// Writes what `stream` brings into the file `at`, after the `first` bytes that are there. It
/// never has more than `most`.
pub(crate) async fn receive(mut stream: ByteStream, at: &Path, first: u64, most: u64) -> Result<(), Broken> {
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).write(true).append(first > 0).truncate(first == 0);
    let mut file = options.open(at).await.map_err(Broken::Local)?;
    let received = async {
        let mut size = first;
        while let Some(piece) = stream.next().await.map_err(Broken::Remote)? {
            size += piece.len() as u64;
            if size > most {
                return Err(Broken::TooLarge);
            }
            file.write_all(&piece).await.map_err(Broken::Local)?;
        }
        Ok(())
    };
    let received = received.await;
    // Writes happen behind: what came last is told, and there, only now.
    file.flush().await.map_err(Broken::Local)?;
    if matches!(received, Err(Broken::TooLarge)) {
        fs::remove_file(at).map_err(Broken::Local)?;
    }
    received
}

/// Whether an error of reading an archive on our disk is the disk's, and not the archive's.
pub(crate) fn is_disks(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    !matches!(kind, Kind::Other | Kind::UnexpectedEof | Kind::InvalidData | Kind::FileTooLarge)
}
