//! Sends requests: chooses the orchestrator, limits times, and fails over.
//!
//! The addresses are tried in turn, beginning with the one that answered last. The next address is tried if
//! there is no answer, on 503 if there is another address (a standby sends it and names the leader, which is
//! tried next), and on 502 or 504 from a proxy. Redirects are not followed: a credential is sent only to
//! configured addresses. If no address helps, [`super::retry`] decides whether all are tried again.

use super::{
    ClientError, Tried,
    answer::{read_bounded, success},
    call::{Body, Call, Wait},
    key::random_id,
    retry::{Patience, Tries, is_repeated, retry_after},
    tls::{self, Trust},
};

use reqwest::{Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use swarm_common::{causes::with_causes, digest::Digest, secret::Secret, wire::API_PREFIX};

/// Time limit for the TCP and TLS handshakes.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(10);

/// A client of one swarm. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    addresses: Arc<[Url]>,
    credential: Option<Secret>,
    /// Index of the address that answered last.
    current: Arc<AtomicUsize>,
    patience: Patience,
}

/// Parses an orchestrator's address, such as `http://nas:8100`.
///
/// # Errors
/// What is wrong with the text, and an example of a valid address.
pub fn parse_address(text: &str) -> Result<Url, String> {
    let shown: String = text.chars().take(80).collect();
    let like = "expected something like http://nas:8100";
    let url = Url::parse(text).map_err(|e| format!("invalid address `{shown}` ({e}); {like}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{shown}` is not an http or https address; {like}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("no user or password allowed in an address; use the token's file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{shown}` has a query or fragment; {like}"));
    }
    Ok(url)
}

impl Client {
    /// A client for the orchestrators at `addresses`, which serve the same swarm. For TLS it trusts the
    /// certificates that this machine trusts.
    ///
    /// # Errors
    /// See [`Client::with_trust`].
    pub fn new(addresses: &[Url], credential: Option<Secret>) -> Result<Self, ClientError> {
        Self::with_trust(addresses, credential, &Trust::default())
    }

    /// A client for the orchestrators at `addresses` that trusts certificates according to `trust`.
    ///
    /// # Errors
    /// There is no address, the credential is not valid in a header, or TLS cannot be set up (an
    /// `https` address and no root certificates on this machine).
    pub fn with_trust(
        addresses: &[Url],
        credential: Option<Secret>,
        trust: &Trust,
    ) -> Result<Self, ClientError> {
        if addresses.is_empty() {
            return Err(ClientError::Local("no orchestrator address is configured".to_owned()));
        }
        if credential.as_ref().is_some_and(|c| !c.is_well_formed()) {
            return Err(ClientError::Local("the credential is not a valid token".to_owned()));
        }
        // A second installation is refused. That is harmless, since it is the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("build-swarm/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            // Shorter than the orchestrator's own limit, so that no request is sent on a connection
            // that the orchestrator is closing.
            .pool_idle_timeout(POOL_IDLE);
        let http = trust
            .apply(builder, addresses)?
            .build()
            .map_err(|e| ClientError::Local(format!("cannot set up the HTTP client: {}", with_causes(&e))))?;
        let current = Arc::new(AtomicUsize::new(0));
        Ok(Self { http, addresses: addresses.into(), credential, current, patience: Patience::NONE })
    }

    /// A client that shares the connections but uses another credential.
    #[must_use]
    pub fn with_credential(&self, credential: Secret) -> Self {
        Self { credential: Some(credential), ..self.clone() }
    }

    /// A client that shares the connections and sends requests again for as long as `patience` lasts.
    #[must_use]
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self { patience, ..self.clone() }
    }

    /// SHA-256 of the client's credential, if it has one.
    #[must_use]
    pub fn credential_hash(&self) -> Option<Digest> {
        self.credential.as_ref().map(|credential| Digest::of(credential.expose().as_bytes()))
    }

    /// A client that shares the connections but sends no credential.
    #[must_use]
    pub fn without_credential(&self) -> Self {
        Self { credential: None, ..self.clone() }
    }

    /// The address that answered last, or the first one.
    #[must_use]
    pub fn address(&self) -> &Url {
        let at = self.current.load(Ordering::Relaxed);
        &self.addresses[at % self.addresses.len()]
    }

    /// Sends a request and decodes its JSON response.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let mut tries = self.patience.tries();
        let (url, body) = loop {
            let response = success(self.answer_within(&call, &mut tries).await?).await?;
            let url = response.url().to_string();
            match read_bounded(response).await {
                Ok(body) => break (url, body),
                Err(error) => match tries.pause(None).filter(|_| call.repeatable && error.is_transient()) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
            }
        };
        serde_json::from_slice(&body).map_err(|e| ClientError::Protocol {
            url,
            status: None,
            what: format!("{e}; check whether the orchestrator has another version"),
        })
    }

    /// Sends a request and ignores the body of a successful response.
    pub(super) async fn done(&self, call: Call) -> Result<(), ClientError> {
        self.send(&call).await.map(|_| ())
    }

    /// Sends a request and returns a successful response.
    pub(super) async fn send(&self, call: &Call) -> Result<Response, ClientError> {
        success(self.answer(call).await?).await
    }

    /// Sends a request until an answer needs no repetition, and returns that answer whatever its status.
    pub(super) async fn answer(&self, call: &Call) -> Result<Response, ClientError> {
        self.answer_within(call, &mut self.patience.tries()).await
    }

    async fn answer_within(&self, call: &Call, tries: &mut Tries) -> Result<Response, ClientError> {
        let request_id = random_id()?;
        loop {
            let round = self.ask_all(call, &request_id).await?;
            let (again, asked) = match &round {
                Ok(response) => {
                    (is_repeated(response.status(), call.repeatable), retry_after(response.headers()))
                }
                Err(unanswered) => (unanswered.is_repeated, None),
            };
            match again.then(|| tries.pause(asked)).flatten() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return round.map_err(|Unanswered { tried, .. }| ClientError::Unreachable { tried }),
            }
        }
    }

    /// Sends a request to one orchestrator after another until one answers. The outer error aborts all tries.
    async fn ask_all(
        &self,
        call: &Call,
        request_id: &str,
    ) -> Result<Result<Response, Unanswered>, ClientError> {
        let count = self.addresses.len();
        let first = self.current.load(Ordering::Relaxed);
        let mut order: VecDeque<usize> = (first..first + count).map(|at| at % count).collect();
        let (mut tried, mut is_repeated) = (Vec::new(), true);
        let mut refused: Option<Response> = None;
        while let Some(at) = order.pop_front() {
            let address = &self.addresses[at];
            match self.try_one(call, address, request_id).await? {
                Ok(response) if count > 1 && is_away(response.status(), call) => {
                    let leader = self.leader(&response);
                    if let Some(next) = order.iter().position(|at| Some(*at) == leader) {
                        order.swap(0, next);
                    }
                    // Prefer the leader's refusal to a standby's "not the leader".
                    if leader.is_none() || refused.is_none() {
                        refused = Some(response);
                    }
                }
                Ok(response) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(Ok(response));
                }
                Err(failed) => {
                    // The request may have arrived, and repeating it would have a second effect.
                    let is_last = failed.sent && !call.repeatable;
                    is_repeated &= !(is_last || failed.untrusted || failed.is_late);
                    let (why, untrusted) = (failed.why, failed.untrusted);
                    tried.push(Tried { address: address.clone(), why, untrusted });
                    if is_last {
                        break;
                    }
                }
            }
        }
        Ok(refused.ok_or(Unanswered { tried, is_repeated }))
    }

    /// The index of the address that a standby names as the leader. `None` for unknown addresses: a
    /// credential is sent only to configured ones.
    fn leader(&self, response: &Response) -> Option<usize> {
        let named = response.headers().get("location")?.to_str().ok()?;
        let named = Url::parse(named).ok()?;
        self.addresses.iter().position(|address| *address == named)
    }

    /// Sends a request to one orchestrator. The outer error aborts all tries, the inner one moves on to the
    /// next address.
    async fn try_one(
        &self,
        call: &Call,
        address: &Url,
        request_id: &str,
    ) -> Result<Result<Response, Failed>, ClientError> {
        let mut request =
            self.http.request(call.method.clone(), url_of(call, address)?).header("x-request-id", request_id);
        if let Some(credential) = &self.credential {
            request = request.bearer_auth(credential.expose());
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        request = match &call.body {
            Body::Empty => request,
            Body::Json(bytes) => {
                let bytes = bytes.clone().map_err(ClientError::Local)?;
                request.header("content-type", "application/json").body(bytes)
            }
            Body::Bytes(bytes) => {
                request.header("content-type", "application/octet-stream").body(bytes.clone())
            }
            Body::File { path, offset } => {
                let (length, body) = file_body(path, *offset).await?;
                request
                    .header("content-type", "application/octet-stream")
                    .header("content-length", length)
                    .body(body)
            }
        };
        let limit = match call.wait {
            Wait::Whole(limit) => {
                request = request.timeout(limit);
                limit
            }
            Wait::Head(limit) => limit,
        };
        Ok(match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => Err(Failed::from_reqwest(&e, limit)),
            Err(_) => {
                let why = format!("no response within {} s", limit.as_secs());
                Err(Failed { sent: true, untrusted: false, is_late: true, why })
            }
        })
    }
}

/// Whether to try another address, because a standby answered, or a proxy whose orchestrator is unreachable
/// or timed out.
fn is_away(status: StatusCode, call: &Call) -> bool {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => true,
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => call.repeatable,
        _ => false,
    }
}

/// The result if no address answered.
struct Unanswered {
    tried: Vec<Tried>,
    /// Whether it is worth trying all addresses again.
    is_repeated: bool,
}

/// Why one address did not answer.
struct Failed {
    /// Whether the request may have arrived.
    sent: bool,
    untrusted: bool,
    /// Whether the time limit was reached.
    is_late: bool,
    why: String,
}

impl Failed {
    fn from_reqwest(error: &reqwest::Error, limit: Duration) -> Self {
        let refusal = tls::refusal(error);
        let untrusted = refusal.is_some();
        let why = if let Some(refusal) = refusal {
            refusal
        } else if error.is_connect() && error.is_timeout() {
            format!("no connection within {} s", CONNECT.as_secs())
        } else if error.is_timeout() {
            format!("no complete response within {} s", limit.as_secs())
        } else {
            // The innermost cause is the clearest, such as "Connection refused (os error 111)".
            let mut cause: &dyn std::error::Error = error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            cause.to_string()
        };
        Self { sent: !error.is_connect(), untrusted, is_late: error.is_timeout(), why }
    }
}

/// The complete URL of a request to `address`, with every segment percent-encoded.
fn url_of(call: &Call, address: &Url) -> Result<Url, ClientError> {
    let mut url = address.clone();
    if let Some(public) = &call.public {
        url.set_path(&format!("{}{public}", address.path().trim_end_matches('/')));
        return Ok(url);
    }
    match url.path_segments_mut() {
        Ok(mut path) => {
            path.pop_if_empty();
            path.extend(API_PREFIX.split('/').filter(|segment| !segment.is_empty()));
            path.extend(&call.path);
        }
        Err(()) => return Err(ClientError::Local(format!("{address} cannot have a path"))),
    }
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&call.query);
    }
    Ok(url)
}

/// A body that streams a file from `offset` on, and its length in bytes.
async fn file_body(path: &Path, offset: u64) -> Result<(u64, reqwest::Body), ClientError> {
    use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
    let open = async {
        let mut file = tokio::fs::File::open(path).await?;
        let size = file.metadata().await?.len();
        file.seek(std::io::SeekFrom::Start(offset)).await?;
        Ok::<_, std::io::Error>((size.saturating_sub(offset), file))
    };
    let (length, file) =
        open.await.map_err(|e| ClientError::Local(format!("cannot read {}: {e}", path.display())))?;
    // Send no more than announced, even if the file grows in the meantime.
    let pieces = futures_util::stream::try_unfold(file.take(length), |mut file| async move {
        let mut piece = bytes::BytesMut::with_capacity(512 * 1024);
        let read = file.read_buf(&mut piece).await?;
        Ok::<_, std::io::Error>((read > 0).then(|| (piece.freeze(), file)))
    });
    Ok((length, reqwest::Body::wrap_stream(pieces)))
}

#[cfg(test)]
mod tests;
