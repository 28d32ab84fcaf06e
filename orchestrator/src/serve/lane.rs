//! The fast path for published files over plain HTTP: the kernel copies them from the page cache to
//! the socket (`sendfile`), which the HTTP library cannot do, and small files are sent in one
//! write.
//!
//! The lane has threads of its own, so that waiting for a disk here never delays a drone. It takes
//! only requests that it fully understands: HTTP/1.1 GET and HEAD of plain paths below `/binhost/`,
//! without a body. At the first other request, the connection is handed to the HTTP library
//! together with the bytes already read.

mod request;
mod write;

use super::{answer, conditional::RequestHead, locate, small::SmallFiles};
use crate::{
    connection_limits::{ConnectionPermit, HEAD_BYTES, HEADERS, Origin},
    publish::Binhosts,
};
use bytes::{Bytes, BytesMut};
use request::Read;
use std::{io, net::TcpStream as StdStream, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// First bytes of a connection that the lane takes.
const OURS: [&[u8]; 2] = [b"GET /binhost/", b"HEAD /binhost/"];

/// Buffer size that is enough for a typical request head.
const USUAL_HEAD: usize = 2048;

/// The lane's threads and the files that they serve.
pub(crate) struct Lane {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
}

struct Shared {
    binhosts: Binhosts,
    small_files: Arc<SmallFiles>,
    /// How long to wait for a request's head.
    head: Duration,
    stopping: CancellationToken,
}

/// A connection handed over to the HTTP library.
pub(crate) enum Handoff {
    Unread(TcpStream),
    /// These bytes have been read from it.
    Partial(TcpStream, Bytes),
}

impl Lane {
    /// Starts the lane's threads. `head` is how long they wait for a request's head.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub(crate) fn start(
        binhosts: Binhosts,
        small_files: Arc<SmallFiles>,
        head: Duration,
        stopping: CancellationToken,
    ) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.thread_name("packages").enable_all().build()?;
        let shared = Shared { binhosts, small_files, head, stopping };
        Ok(Self { runtime: Some(runtime), shared: Arc::new(shared) })
    }

    /// Serves requests for published files until the connection ends, or returns it when a request
    /// is not for the lane.
    ///
    /// # Errors
    /// The connection broke, or sent no request in time.
    pub(crate) async fn serve(
        &self,
        stream: TcpStream,
        origin: Origin,
        permit: &Arc<ConnectionPermit>,
    ) -> io::Result<Option<Handoff>> {
        let mut first = [0; 14];
        let peeked = tokio::select! {
            peeked = timeout(self.shared.head, stream.peek(&mut first)) => peeked??,
            () = self.shared.stopping.cancelled() => return Ok(None),
        };
        let first = first.get(..peeked).unwrap_or_default();
        let Some(runtime) = self.runtime.as_ref().filter(|_| OURS.iter().any(|ours| first.starts_with(ours)))
        else {
            return Ok(Some(Handoff::Unread(stream)));
        };
        let (stream, shared, permit) = (stream.into_std()?, self.shared.clone(), permit.clone());
        let task = runtime.spawn(async move { shared.answer_requests(stream, origin, &permit).await });
        match AbortOnDropHandle::new(task).await?? {
            Some((stream, read)) => Ok(Some(Handoff::Partial(TcpStream::from_std(stream)?, read))),
            None => Ok(None),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Does not wait for a thread that is blocked by a disk.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// Answers requests. Returns the connection if a request is not for the lane.
    async fn answer_requests(
        &self,
        stream: StdStream,
        origin: Origin,
        permit: &Arc<ConnectionPermit>,
    ) -> io::Result<Option<(StdStream, Bytes)>> {
        let mut stream = TcpStream::from_std(stream)?;
        let mut read = BytesMut::with_capacity(USUAL_HEAD);
        let mut out = Vec::with_capacity(USUAL_HEAD);
        let mut stopped = pin!(self.stopping.cancelled());
        let mut too_late = pin!(sleep_until(Instant::now() + self.head));
        loop {
            let answer = |path: &str, head: &RequestHead| {
                answer::to(locate(&self.binhosts, path), head, &self.small_files)
            };
            match request::read(&read, answer) {
                Read::Request { answer, bytes, is_head, close } => {
                    let _answered = read.split_to(bytes);
                    let close = close || self.stopping.is_cancelled();
                    let _answering = permit.answering();
                    let answer = answer.if_there_is_room(permit, origin);
                    write::answer(&mut stream, &mut out, answer, is_head, close).await?;
                    if close {
                        return Ok(None);
                    }
                    too_late.as_mut().reset(Instant::now() + self.head);
                }
                Read::Foreign => return Ok(Some((stream.into_std()?, read.freeze()))),
                // The HTTP library answers with the right error.
                Read::Part if read.len() >= HEAD_BYTES => {
                    return Ok(Some((stream.into_std()?, read.freeze())));
                }
                Read::Part => {
                    read.reserve(USUAL_HEAD / 2);
                    let came = tokio::select! {
                        biased;
                        came = stream.read_buf(&mut read) => came?,
                        () = &mut stopped, if read.is_empty() => 0,
                        () = &mut too_late => 0,
                    };
                    if came == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
