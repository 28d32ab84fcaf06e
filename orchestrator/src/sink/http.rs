//! Posts JSON to an external HTTP server: one attempt, limited in time and response size. Errors
//! never contain the address, because its path may be secret.

use super::DeliveryError;
use reqwest::{Client, Url, header, redirect::Policy};
use serde_json::Value;
use std::{
    error::Error,
    time::{Duration, SystemTime},
};
use swarm_common::secret::Secret;

const CONNECT: Duration = Duration::from_secs(10);

/// Time limit for the whole request.
const WHOLE: Duration = Duration::from_secs(20);

/// Bytes to read of an error response's body, and characters of it to show.
const BODY: usize = 4096;
const SHOWN: usize = 120;

/// Posts a document.
///
/// # Errors
/// The server did not accept the document; the error says why, and when to retry.
pub(super) async fn post(url: &Url, secret: Option<&Secret>, document: &Value) -> Result<(), DeliveryError> {
    let mut request = client(url)?.post(url.clone()).json(document);
    if let Some(secret) = secret {
        let mut value = header::HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
            .map_err(|_| "the token has characters that are not allowed in an HTTP header".to_owned())?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let mut response = request.send().await.map_err(|e| causes(e.without_url()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let after_ms =
        response.headers().get(header::RETRY_AFTER).and_then(|value| retry_after_ms(value.to_str().ok()?));
    let mut body = Vec::new();
    while body.len() < BODY {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            // The body is only informative.
            Ok(None) | Err(_) => break,
        }
    }
    let detail: String = String::from_utf8_lossy(&body)
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let why = format!("HTTP {status}: {}", detail.trim()).trim_end_matches([':', ' ']).to_owned();
    Err(DeliveryError { why, after_ms })
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after_ms(value: &str) -> Option<u64> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let left = httpdate::parse_http_date(value.trim()).ok()?.duration_since(SystemTime::now());
    Some(left.map_or(0, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
}

fn client(url: &Url) -> Result<Client, String> {
    // A second installation is refused, which is harmless because it is the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("build-swarm/", env!("CARGO_PKG_VERSION")))
        // Send a token only to the configured address.
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .timeout(WHOLE);
    if url.scheme() == "http" {
        // A machine without root certificates must work as well if no TLS is used.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|e| format!("cannot set up the HTTP client: {}", causes(e)))
}

/// An error with its causes in one line.
pub(super) fn causes(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_say_seconds_or_a_date() {
        assert_eq!(retry_after_ms("120"), Some(120_000));
        assert_eq!(retry_after_ms("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!((90_000..=100_000).contains(&retry_after_ms(&soon).unwrap()), "{soon}");
        assert_eq!(retry_after_ms("tomorrow"), None);
    }
}
