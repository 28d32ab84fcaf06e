//! A file as the body of an answer, in large pieces: small ones cost more than the disk.

use axum::body::Body;
use bytes::BytesMut;
use futures_util::stream;
use tokio::{fs::File, io::AsyncReadExt as _};

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

/// `length` bytes of a file from where it stands. If the file turns out to be shorter, the
/// answer breaks off, so that nobody takes it for whole.
pub(super) fn body(file: File, length: u64) -> Body {
    Body::from_stream(stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        let mut piece = BytesMut::with_capacity(PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
        let read = (&mut file).take(left).read_buf(&mut piece).await? as u64;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((piece.freeze(), (file, left - read))))
    }))
}
