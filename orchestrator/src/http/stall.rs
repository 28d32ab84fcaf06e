//! A stream whose other end has to take what is written: whoever takes nothing for long is gone, or
//! means to keep the connection's place.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A client that takes nothing for this long is gone. The kernel says so only after a third
/// of its buffer is free again, which over a slow line takes minutes.
pub(in crate::http) const STALLED: Duration = Duration::from_secs(600);

/// A stream that breaks when a write waits for too long.
pub(super) struct Impatient<S> {
    stream: S,
    longest: Duration,
    /// While a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, longest: Duration) -> Self {
        Self { stream, longest, waiting: None }
    }

    fn in_time<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let longest = self.longest;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(longest)));
        waiting.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.in_time(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(polled, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const LONGEST: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn a_reader_that_takes_nothing_breaks_the_stream_and_a_slow_one_does_not() {
        let (near, _far) = duplex(1024);
        let error = Impatient::new(near, LONGEST).write_all(&[7; 4096]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);

        let (near, mut far) = duplex(1024);
        let mut near = Impatient::new(near, LONGEST);
        let slowly = async {
            let mut taken = 0;
            let mut piece = [0; 256];
            while taken < 16 * 1024 {
                sleep(Duration::from_millis(20)).await;
                taken += far.read(&mut piece).await.unwrap();
            }
        };
        // Together longer than a single write may wait.
        let (written, ()) = tokio::join!(near.write_all(&[7; 16 * 1024]), slowly);
        written.unwrap();
    }
}
