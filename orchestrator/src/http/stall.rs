//! The stream of a connection. It fails if the peer does not read for long: such a client is gone, or tries
//! to occupy the connection. On shutdown it lingers ([`linger`](super::linger)).

use super::linger::Linger;
use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream that fails if a write waits too long, and lingers on shutdown.
pub(super) struct StallTimeout<S> {
    stream: S,
    longest: Duration,
    linger: Linger,
    /// The write half is closed.
    closed: bool,
    /// The timer while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> StallTimeout<S> {
    pub(super) fn new(stream: S, longest: Duration, linger: Linger) -> Self {
        Self { stream, longest, linger, closed: false, waiting: None }
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

impl<S: AsyncRead + Unpin> AsyncRead for StallTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for StallTimeout<S> {
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
        let this = &mut *self;
        if !this.closed {
            let polled = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.in_time(polled, context))?;
            this.closed = true;
        }
        this.linger.poll(&mut this.stream, context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::linger::Unread, *};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const LONGEST: Duration = Duration::from_secs(3);

    #[tokio::test]
    async fn a_reader_that_takes_nothing_breaks_the_stream_and_a_slow_one_does_not() {
        let (near, _far) = duplex(1024);
        let error = StallTimeout::new(near, LONGEST, Linger::new(Unread::default()))
            .write_all(&[7; 4096])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);

        let (near, mut far) = duplex(1024);
        let mut near = StallTimeout::new(near, LONGEST, Linger::new(Unread::default()));
        let slowly = async {
            let mut taken = 0;
            let mut piece = [0; 256];
            while taken < 16 * 1024 {
                sleep(Duration::from_millis(60)).await;
                taken += far.read(&mut piece).await.unwrap();
            }
        };
        // Longer in total than a single write may wait.
        let (written, ()) = tokio::join!(near.write_all(&[7; 16 * 1024]), slowly);
        written.unwrap();
    }
}
