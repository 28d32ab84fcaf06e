//! What plain HTTP is good for. To this machine itself, everything; to others, what is
//! public and signed: packages, the public key, health. A credential that crosses a
//! network in the clear is everybody's, so routes that take one are refused there, unless
//! the admin says that the network is trusted (`plain_api`).

use super::{
    peer::{Peer, Way},
    problem::ApiError,
    route::Role,
};
use crate::app::App;
use axum::{
    extract::Request,
    http::{Method, header, uri::Authority},
};

/// What is wrong with a proxy that the configuration does not name.
const NOT_NAMED: &str = "over plain HTTP other machines get packages only, and this came through a proxy: if it was \
    asked over TLS, name its address in `trusted_proxies` of the orchestrator's configuration and have it send \
    X-Forwarded-Proto";

/// What is wrong with a request of one that it names.
const NOT_OVER_TLS: &str = "over plain HTTP other machines get packages only, and the proxy does not say that it was \
    asked over TLS: ask it by https, and have it send `X-Forwarded-Proto: https` then";

/// Refuses a request of the API that should have come over TLS.
pub(super) fn check(app: &App, role: Role, request: &Request) -> Result<(), ApiError> {
    let peer = request.extensions().get::<Peer>();
    let private = peer.is_some_and(|peer| peer.tls || peer.is_this_machine());
    // Enrolment is open to anyone, but brings a token and takes a credential away.
    let public = role == Role::Anyone && request.method() == Method::GET;
    if private || public || app.config.plain_api {
        return Ok(());
    }
    match peer.map(|peer| peer.way) {
        Some(Way::Unknown) => return Err(ApiError::PlainHttp(NOT_NAMED.into())),
        Some(Way::Trusted) => return Err(ApiError::PlainHttp(NOT_OVER_TLS.into())),
        Some(Way::Direct) | None => {}
    }
    Err(ApiError::PlainHttp(match &app.tls {
        Some(tls) => format!(
            "over plain HTTP other machines get packages only: use https://{}:{} for the API, whose certificate is {}",
            asked_for(request).unwrap_or_else(|| tls.name.clone()),
            tls.address.port(),
            tls.shown.fingerprint()
        ),
        None => {
            "over plain HTTP other machines get packages only: set `listen` of `[tls]` in the orchestrator's \
                 configuration, or `plain_api = true` in a network that you trust"
                .into()
        }
    }))
}

/// What the client calls us, which it surely can reach.
fn asked_for(request: &Request) -> Option<String> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    Some(host.parse::<Authority>().ok()?.host().to_owned())
}
