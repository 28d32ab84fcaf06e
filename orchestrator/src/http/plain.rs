//! What is allowed over plain HTTP: everything from this machine; from other machines only what is public and
//! signed: packages, public keys and health. Anyone on the network can read an unencrypted credential, so
//! routes that need one are refused there, unless the admin declares the network trusted (`plain_api`).

use super::{
    peer::{Peer, Way},
    problem::ApiError,
    role::Role,
};
use crate::app::App;
use axum::{
    extract::Request,
    http::{Method, header, uri::Authority},
};

/// Error for a proxy that is not in `trusted_proxies`.
const NOT_NAMED: &str = "over plain HTTP other machines get packages only, and this request came through a \
    proxy: if clients reach the proxy over TLS, add its address to `trusted_proxies` \
    of the orchestrator's configuration and make it send X-Forwarded-Proto";

/// Error for a trusted proxy that was not reached over TLS.
const NOT_OVER_TLS: &str = "over plain HTTP other machines get packages only, and the proxy did not send \
    `X-Forwarded-Proto: https`: use its https address and make it send that header";

/// Refuses an API request that must use TLS.
pub(super) fn check(app: &App, role: Role, request: &Request) -> Result<(), ApiError> {
    let peer = request.extensions().get::<Peer>();
    let private = peer.is_some_and(|peer| peer.tls || peer.is_this_machine());
    // Enrolment needs no credential, but carries a token and returns a credential.
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
            "over plain HTTP other machines get packages only: use https://{}:{} for the API (certificate \
             fingerprint {})",
            asked_for(request).unwrap_or_else(|| tls.name.clone()),
            tls.address.port(),
            tls.shown.fingerprint()
        ),
        None => "over plain HTTP other machines get packages only: set `listen` of `[tls]` in the \
             orchestrator's configuration, or `plain_api = true` in a trusted network"
            .into(),
    }))
}

/// The host name that the client used. It evidently resolves to this orchestrator.
fn asked_for(request: &Request) -> Option<String> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    Some(host.parse::<Authority>().ok()?.host().to_owned())
}
