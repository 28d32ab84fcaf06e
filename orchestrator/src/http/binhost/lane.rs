//! The short way of published files over plain HTTP: the kernel copies them from the page
//! cache to the socket (`sendfile`), which the HTTP library cannot do, and small ones go out
//! in one write.
//!
//! It has threads of its own, so that what waits for a disk here never holds up a drone.
//! It takes only requests that it surely understands: HTTP/1.1 GET and HEAD of plain paths
//! below `/binhost/`, without a body. With the first other one the connection goes back to
//! the HTTP library, with whatever was read.

mod request;
mod write;

use super::super::{
    connection::HEAD_BYTES,
    places::{Origin, Place},
};
use super::{
    answer::{self, Ask},
    locate,
};
use crate::{app::App, publish::small::SmallFiles, publisher::Binhosts};
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

/// What a connection begins with that is for the lane.
const OURS: [&[u8]; 2] = [b"GET /binhost/", b"HEAD /binhost/"];

/// Bytes that a usual head has room in.
const USUAL_HEAD: usize = 2048;

/// The threads, and what they answer from.
pub(crate) struct Lane {
    /// Taken when it ends.
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
}

struct Shared {
    binhosts: Binhosts,
    small_files: Arc<SmallFiles>,
    /// The longest wait for a request's head.
    head: Duration,
    stopping: CancellationToken,
}

/// A connection that is for the HTTP library.
pub(in crate::http) enum Handed {
    /// Nothing was read from it.
    Untouched(TcpStream),
    /// This was read from it.
    Begun(TcpStream, Bytes),
}

impl Lane {
    /// Starts its threads.
    ///
    /// # Errors
    /// There are none to be had.
    pub(crate) fn start(app: &App) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.thread_name("packages").enable_all().build()?;
        let shared = Shared {
            binhosts: app.binhosts.clone(),
            small_files: app.small_files.clone(),
            head: app.config.limits.header(),
            stopping: app.stopping.clone(),
        };
        Ok(Self { runtime: Some(runtime), shared: Arc::new(shared) })
    }

    /// Answers what a connection asks of the binary package hosts, until it ends or asks for
    /// something else.
    ///
    /// # Errors
    /// The connection broke, or was silent for too long.
    pub(in crate::http) async fn serve(
        &self,
        stream: TcpStream,
        origin: Origin,
        place: &Arc<Place>,
    ) -> io::Result<Option<Handed>> {
        let mut first = [0; 14];
        let peeked = tokio::select! {
            peeked = timeout(self.shared.head, stream.peek(&mut first)) => peeked??,
            () = self.shared.stopping.cancelled() => return Ok(None),
        };
        let first = first.get(..peeked).unwrap_or_default();
        let Some(runtime) = self.runtime.as_ref().filter(|_| OURS.iter().any(|ours| first.starts_with(ours)))
        else {
            return Ok(Some(Handed::Untouched(stream)));
        };
        let (stream, shared, place) = (stream.into_std()?, self.shared.clone(), place.clone());
        let task = runtime.spawn(async move { shared.talk(stream, origin, &place).await });
        match AbortOnDropHandle::new(task).await?? {
            Some((stream, read)) => Ok(Some(Handed::Begun(TcpStream::from_std(stream)?, read))),
            None => Ok(None),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A thread that hangs on a disk is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// Requests and answers. Gives the connection back if a request is not for the lane.
    async fn talk(
        &self,
        stream: StdStream,
        origin: Origin,
        place: &Arc<Place>,
    ) -> io::Result<Option<(StdStream, Bytes)>> {
        let mut stream = TcpStream::from_std(stream)?;
        let mut read = BytesMut::with_capacity(USUAL_HEAD);
        let mut out = Vec::with_capacity(USUAL_HEAD);
        let mut stopped = pin!(self.stopping.cancelled());
        let mut too_late = pin!(sleep_until(Instant::now() + self.head));
        loop {
            let answer =
                |path: &str, ask: &Ask| answer::to(locate(&self.binhosts, path), ask, &self.small_files);
            match request::read(&read, answer) {
                Read::Request { answer, bytes, head, close } => {
                    let _answered = read.split_to(bytes);
                    let close = close || self.stopping.is_cancelled();
                    let _answering = place.answering();
                    let answer = answer.if_there_is_room(place, origin);
                    write::answer(&mut stream, &mut out, answer, head, close).await?;
                    if close {
                        return Ok(None);
                    }
                    too_late.as_mut().reset(Instant::now() + self.head);
                }
                Read::Foreign => return Ok(Some((stream.into_std()?, read.freeze()))),
                // The library says what is wrong with it.
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
