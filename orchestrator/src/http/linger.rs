//! Closes connections whose client is still sending.
//!
//! A request is often refused before its whole body has arrived. Closing the connection then makes
//! the kernel answer further data with a reset, and the client loses the refusal if it has not read
//! it yet: it sees a broken connection and retries. So the write half is closed first, and incoming
//! data is discarded for a moment. nginx does the same (`lingering_close`).

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// How long incoming data is discarded.
const LONGEST: Duration = Duration::from_secs(2);

const PIECE: usize = 16 * 1024;

/// Whether a request of the connection was answered before its whole body was read.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Wraps a body to record whether it was dropped before its end.
    pub(super) fn watch(&self, body: Incoming) -> Watched {
        Watched { body, unread: self.clone() }
    }
}

/// A request body that records whether it was read to its end.
pub(super) struct Watched {
    body: Incoming,
    unread: Unread,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.unread.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Discards what a client still sends on a connection whose write half is closed.
pub(super) struct Linger {
    unread: Unread,
    /// Set by the first poll.
    until: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    pub(super) fn new(unread: Unread) -> Self {
        Self { unread, until: None }
    }

    /// Ready at once if every body was read completely; otherwise when the client closes the connection, it
    /// breaks, or time is up.
    pub(super) fn poll(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.unread.0.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(LONGEST)));
        while until.as_mut().poll(context).is_pending() {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut *stream).poll_read(context, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(())
    }
}
