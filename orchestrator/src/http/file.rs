//! Sends a file as a response body, in large pieces: with small ones, the overhead exceeds the cost of
//! reading.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
};
use tokio::task::spawn_blocking;

const PIECE: u64 = 256 * 1024;

/// A body of `length` bytes of a file, starting at `first`. If the file is shorter, the body fails,
/// so that the client sees an incomplete answer.
pub(super) fn body(file: File, first: u64, length: u64) -> Body {
    Body::from_stream(stream::try_unfold((file, first, length), |(file, first, left)| async move {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let (file, piece) = spawn_blocking(move || read(file, first, left.min(PIECE))).await??;
        let read = piece.len() as u64;
        Ok(Some((piece, (file, first + read, left - read))))
    }))
}

fn read(mut file: File, first: u64, length: u64) -> io::Result<(File, Bytes)> {
    let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.seek(SeekFrom::Start(first))?;
    (&mut file).take(length).read_to_end(&mut piece)?;
    if (piece.len() as u64) < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok((file, piece.into()))
}
