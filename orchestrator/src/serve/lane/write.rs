//! Writes an answer to a socket.

use crate::{
    connection_limits::STALLED,
    serve::answer::{Answer, Content},
};
use bytes::{Buf as _, Bytes};
use rustix::{fs::sendfile, io::retry_on_intr, net::SendFlags};
use std::{
    fs::File,
    io::{self, ErrorKind},
    time::SystemTime,
};
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::TcpStream,
    time::timeout,
};

/// Bytes per `sendfile` call. Between calls, other connections get their turn.
const PIECE: u64 = 1 << 20;

/// Writes an answer. `out` is a reusable buffer for its head.
pub(super) async fn answer(
    stream: &mut TcpStream,
    out: &mut Vec<u8>,
    answer: Answer,
    head_only: bool,
    close: bool,
) -> io::Result<()> {
    out.clear();
    write_head(out, &answer, close);
    match answer.content {
        Content::File { file, first, length } if !head_only => {
            send(stream, out).await?;
            send_file(stream, &file, first, length).await
        }
        Content::Bytes(bytes) if !head_only => both(stream, out, bytes).await,
        _ => both(stream, out, Bytes::new()).await,
    }
}

fn write_head(out: &mut Vec<u8>, answer: &Answer, close: bool) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(answer.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(answer.status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in &answer.headers {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    line(out, b"date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    if close {
        line(out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [b"\r\n", name, b": ", value] {
        out.extend_from_slice(part);
    }
}

/// Writes head and body, with a single write if the socket accepts it.
async fn both(stream: &mut TcpStream, head: &[u8], body: Bytes) -> io::Result<()> {
    let mut all = head.chain(body);
    while all.has_remaining() {
        if in_time(stream.write_buf(&mut all)).await? == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Sends bytes that are directly followed by more.
async fn send(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let sent = || Ok(retry_on_intr(|| rustix::net::send(stream, bytes, flags))?);
        let sent = in_time(stream.async_io(Interest::WRITABLE, sent)).await?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Sends `length` bytes of a file, starting at `first`, without copying them to user space.
async fn send_file(stream: &TcpStream, file: &File, first: u64, length: u64) -> io::Result<()> {
    let (mut at, end) = (first, first.saturating_add(length));
    while at < end {
        let piece = usize::try_from(PIECE.min(end - at)).unwrap_or_default();
        let mut next = at;
        let send = || Ok(retry_on_intr(|| sendfile(stream, file, Some(&mut next), piece))?);
        if in_time(stream.async_io(Interest::WRITABLE, send)).await? == 0 {
            // The file has become shorter. Break off, so that the client sees an incomplete answer.
            return Err(ErrorKind::UnexpectedEof.into());
        }
        at = next;
    }
    Ok(())
}

async fn in_time<T>(done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(STALLED, done).await?
}
