//! Connections: bounded in number, in the size and time of a request's head, and in what
//! stopping may take. Plain `axum::serve` bounds none of these.

use crate::config::Limits;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// Lines of a request's head.
const HEADERS: usize = 64;

/// Wait after a connection could not be accepted: the process is out of descriptors, and
/// asking again at once would only burn the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopping`, then lets open requests end, but not longer than the drain
/// time; what is open then is cut off.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = stopping.cancelled() => break,
            // Ended connections are taken from the set, so that it does not grow.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            (slot, accepted) = accept => match accepted {
                Ok((stream, _)) => (slot, stream),
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
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header())
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // A client that goes away, or is too slow, is its own affair.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain(), graceful.shutdown()).await.is_err() {
        tracing::warn!(open = connections.len(), "requests that did not end in time are cut off");
    }
    connections.shutdown().await;
}

/// Small answers go out at once: header and body are separate writes, and Nagle's algorithm
/// would hold the second back for 40 ms.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)
}
