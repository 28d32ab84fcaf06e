//! The way of Portage to the orchestrator's binary package host: plain HTTP on loopback
//! here, and from here on the drone's own client, with its pinned certificate and its list
//! of orchestrators.
//!
//! Portage could neither pin a certificate nor go on to another orchestrator, and a drone
//! does not check the signatures of what it builds with: whoever stood between it and the
//! orchestrator could put something into every package.
//!
//! It passes on without the drone's credential, so that other programs of this machine get
//! nothing here that they would not get from the orchestrator itself.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use std::{io, net::SocketAddr};
use swarm_common::client::{ByteStream, Client, ClientError};
use tokio::{net::TcpListener, task::JoinHandle};

/// A relay that runs until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Relay {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// There is no loopback or no port.
    pub async fn start(client: &Client) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(pass_on).with_state(client.without_credential());
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, task })
    }

    /// What Portage takes for the orchestrator's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(State(client): State<Client>, request: Request) -> Response {
    let path = request.uri().path();
    let head_only = request.method() == Method::HEAD;
    if !(head_only || request.method() == Method::GET) || !path.starts_with("/binhost/") {
        return (StatusCode::NOT_FOUND, "only the binary package host is passed on\n").into_response();
    }
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let answer = match client.binhost(head_only, path, headers).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%error, path, "a package cannot be fetched");
            return (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response();
        }
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let body = if head_only { Body::empty() } else { Body::from_stream(pieces(answer.body)) };
    response.body(body).unwrap_or_else(|error| {
        tracing::warn!(%error, path, "an answer cannot be passed on");
        StatusCode::BAD_GATEWAY.into_response()
    })
}

/// A file as it comes; where it breaks off the connection does, too.
fn pieces(body: ByteStream) -> impl futures_util::Stream<Item = Result<Bytes, ClientError>> {
    futures_util::stream::try_unfold(body, |mut body| async move {
        let piece = body.next().await?;
        Ok(piece.map(|piece| (piece, body)))
    })
}
