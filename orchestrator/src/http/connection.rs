//! Connections, plain or over TLS: bounded in number, in the time of a handshake, in the
//! size and time of a request's head, and in what stopping may take. Plain `axum::serve`
//! bounds none of these.

use super::{Lane, binhost::lane::Handed};
use crate::config::Limits;
use axum::{Router, extract::Request};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use std::{io::Cursor, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Bytes of a request's head.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

/// Lines of a request's head.
pub(super) const HEADERS: usize = 64;

/// Wait after a connection could not be accepted: the process is out of descriptors, and
/// asking again at once would only burn the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// An address that is listened on.
pub(crate) struct Entrance {
    /// The address.
    pub(crate) listener: TcpListener,
    /// What TLS is spoken with, if it is.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// Who is at the other end of a connection; every request carries it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    ip: IpAddr,
    /// Whether nobody in between can read along.
    pub(super) tls: bool,
}

impl Peer {
    /// Whether it is a program of this machine.
    pub(super) fn is_this_machine(&self) -> bool {
        self.ip.to_canonical().is_loopback()
    }
}

/// Serves until `stopping`, then lets open requests end, but not longer than the drain
/// time; what is open then is cut off. All entrances share one number of connections.
pub(crate) async fn serve(
    entrances: Vec<Entrance>,
    router: Router,
    lane: Lane,
    limits: Limits,
    stopping: CancellationToken,
) {
    let lane = Arc::new(lane);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let served = entrances.into_iter().map(|entrance| {
        let hall = Hall {
            router: router.clone(),
            lane: lane.clone(),
            limits,
            slots: slots.clone(),
            stopping: stopping.clone(),
        };
        hall.serve(entrance)
    });
    futures_util::future::join_all(served).await;
}

/// What the connections of an entrance share.
#[derive(Clone)]
struct Hall {
    router: Router,
    lane: Arc<Lane>,
    limits: Limits,
    slots: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Hall {
    async fn serve(self, Entrance { listener, tls }: Entrance) {
        let graceful = GracefulShutdown::new();
        let acceptor = tls.map(TlsAcceptor::from);
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                let slot = self.slots.clone().acquire_owned().await;
                (slot, listener.accept().await)
            };
            let (slot, stream, from) = tokio::select! {
                () = self.stopping.cancelled() => break,
                // Ended connections are taken from the set, so that it does not grow.
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                (slot, accepted) = accept => match accepted {
                    Ok((stream, from)) => (slot, stream, from),
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            if let Err(error) = prepare(&stream) {
                tracing::debug!(%error, "a connection broke at once");
                continue;
            }
            let (hall, watcher, acceptor) = (self.clone(), graceful.watcher(), acceptor.clone());
            let peer = Peer { ip: from.ip(), tls: acceptor.is_some() };
            connections.spawn(async move {
                match acceptor {
                    None => match hall.lane.serve(stream).await {
                        Ok(None) => {}
                        Ok(Some(Handed::Untouched(stream))) => hall.talk(stream, peer, watcher).await,
                        Ok(Some(Handed::Begun(stream, read))) => {
                            let (rest, write) = stream.into_split();
                            hall.talk(join(Cursor::new(read).chain(rest), write), peer, watcher).await;
                        }
                        Err(error) => tracing::debug!(%error, "a connection ended early"),
                    },
                    Some(acceptor) => {
                        if let Some(stream) = hall.greet(&acceptor, stream, peer).await {
                            hall.talk(stream, peer, watcher).await;
                        }
                    }
                }
                drop(slot);
            });
        }
        drop(listener);
        if timeout(self.limits.drain(), graceful.shutdown()).await.is_err() {
            tracing::warn!(open = connections.len(), "requests that did not end in time are cut off");
        }
        connections.shutdown().await;
    }

    /// The handshake, which may take as long as a request's head.
    async fn greet(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
        peer: Peer,
    ) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
        let greeted = tokio::select! {
            greeted = timeout(self.limits.header(), acceptor.accept(stream)) => greeted,
            () = self.stopping.cancelled() => return None,
        };
        match greeted {
            Ok(Ok(stream)) => return Some(stream),
            // A client that does not trust the certificate says so, which tells a person more
            // than the silence of a drone.
            Ok(Err(error)) => tracing::info!(peer = %peer.ip, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %peer.ip, "a TLS handshake did not end in time"),
        }
        None
    }

    /// Requests and answers.
    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        watcher: Watcher,
    ) {
        let router = self.router.clone().map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(peer);
            request
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header())
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        // A client that goes away, or is too slow, is its own affair.
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Small answers go out at once: header and body are separate writes, and Nagle's algorithm
/// would hold the second back for 40 ms.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)
}
