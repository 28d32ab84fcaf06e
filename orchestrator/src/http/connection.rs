//! Connections, plain or TLS, with limits on their number, on the handshake, on the size and time
//! of a request's head, and on shutdown. Plain `axum::serve` limits none of these.
//! [`connection_limits`](crate::connection_limits) limits how many connections each kind of caller may have.

use super::{
    linger::{Linger, Unread},
    peer::{Peer, Way},
    stall::StallTimeout,
};
use crate::{
    config::{Limits, Network},
    connection_limits::{Answering, ConnectionLimiter, ConnectionPermit, HEAD_BYTES, HEADERS, STALLED},
    serve::lane::{Handoff, Lane},
};
use axum::{
    Router,
    body::{Body, Bytes},
};
use hyper::{
    Request,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use rustls::ServerConfig;
use std::{
    convert::Infallible,
    io::Cursor,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Pause after a failed `accept`: the process is out of file descriptors, and retrying at once
/// would only waste CPU time.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Listener {
    pub(crate) listener: TcpListener,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// Serves until `stopping`, then lets open requests finish within the drain time and cuts off the
/// rest. All listeners share the `limiter`.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    lane: Lane,
    limits: Limits,
    limiter: ConnectionLimiter,
    trusted: &[Network],
    stopping: CancellationToken,
) {
    let lane = Arc::new(lane);
    let trusted: Arc<[Network]> = trusted.into();
    let served = listeners.into_iter().map(|listener| {
        let server = ConnectionServer {
            router: router.clone(),
            lane: lane.clone(),
            limits,
            limiter: limiter.clone(),
            trusted: trusted.clone(),
            stopping: stopping.clone(),
        };
        server.serve(listener)
    });
    futures_util::future::join_all(served).await;
}

/// What all connections of one listener share.
#[derive(Clone)]
struct ConnectionServer {
    router: Router,
    lane: Arc<Lane>,
    limits: Limits,
    limiter: ConnectionLimiter,
    /// Proxies whose headers are trusted.
    trusted: Arc<[Network]>,
    stopping: CancellationToken,
}

impl ConnectionServer {
    async fn serve(self, Listener { listener, tls }: Listener) {
        let graceful = GracefulShutdown::new();
        let acceptor = tls.map(TlsAcceptor::from);
        let mut connections = JoinSet::new();
        loop {
            let (stream, from) = tokio::select! {
                () = self.stopping.cancelled() => break,
                // Remove ended connections, so that the set does not grow.
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            if let Err(error) = prepare(&stream) {
                tracing::debug!(%error, "a connection was lost immediately");
                continue;
            }
            let (server, watcher, acceptor) = (self.clone(), graceful.watcher(), acceptor.clone());
            let peer = Peer::of_connection(from.ip(), acceptor.is_some(), &self.trusted);
            // Take the permit before accepting again, so that connections never exceed the limit.
            let permit = self.limiter.take(peer.origin());
            connections.spawn(async move {
                tokio::select! {
                    () = permit.given_up() => tracing::debug!(peer = %peer.ip(), "closing a connection to \
                        make room for others"),
                    () = server.attend(stream, acceptor, peer, &permit, watcher) => {}
                }
            });
        }
        drop(listener);
        if timeout(self.limits.drain(), graceful.shutdown()).await.is_err() {
            tracing::warn!(open = connections.len(), "aborting requests that did not finish in time");
        }
        connections.shutdown().await;
    }

    /// Handles a connection from its first byte.
    async fn attend(
        &self,
        stream: TcpStream,
        acceptor: Option<TlsAcceptor>,
        peer: Peer,
        permit: &Arc<ConnectionPermit>,
        watcher: Watcher,
    ) {
        match acceptor {
            None => match self.lane.serve(stream, peer.origin(), permit).await {
                Ok(None) => {}
                Ok(Some(Handoff::Unread(stream))) => self.serve_http1(stream, peer, permit, watcher).await,
                Ok(Some(Handoff::Partial(stream, read))) => {
                    let (rest, write) = stream.into_split();
                    self.serve_http1(join(Cursor::new(read).chain(rest), write), peer, permit, watcher).await;
                }
                Err(error) => tracing::debug!(%error, "a connection was closed early"),
            },
            Some(acceptor) => {
                if let Some(stream) = self.tls_handshake(&acceptor, stream, peer).await {
                    self.serve_http1(stream, peer, permit, watcher).await;
                }
            }
        }
    }

    /// Performs the TLS handshake, within the time limit of a request's head.
    async fn tls_handshake(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
        peer: Peer,
    ) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
        let handshake = tokio::select! {
            handshake = timeout(self.limits.header(), acceptor.accept(stream)) => handshake,
            () = self.stopping.cancelled() => return None,
        };
        match handshake {
            Ok(Ok(stream)) => return Some(stream),
            // Usually the client does not trust the certificate. The log then explains why a drone is silent.
            Ok(Err(error)) => tracing::info!(peer = %peer.ip(), %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %peer.ip(), "a TLS handshake timed out"),
        }
        None
    }

    /// Serves HTTP requests on a connection.
    async fn serve_http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        permit: &Arc<ConnectionPermit>,
        watcher: Watcher,
    ) {
        let unread = Unread::default();
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(|body| unread.watch(body));
            let peer = peer.of_request(request.headers(), &self.trusted);
            if peer.way != Way::Direct {
                // The next request may be another caller's if a proxy sent this one, so count the connection
                // as a stranger's again.
                permit.is_strangers(peer.origin());
            }
            let answering = permit.answering();
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(permit.clone());
            let answered = self.router.clone().oneshot(request);
            async move {
                Ok::<_, Infallible>(
                    answered.await?.map(|body| InProgressBody { body, _answering: answering }),
                )
            }
        });
        let stream = StallTimeout::new(stream, STALLED, Linger::new(unread.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header())
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        // A client that disconnects or is too slow is not our error.
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection was closed early");
        }
    }
}

/// A response body that counts as a request in progress until it is dropped.
struct InProgressBody {
    body: Body,
    _answering: Answering,
}

impl HttpBody for InProgressBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Disables Nagle's algorithm: header and body are separate writes, and it would delay the second
/// by 40 ms.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)
}
