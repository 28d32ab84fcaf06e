//! Sending JSON to somebody else's HTTP server: one attempt, bounded in time and in what
//! is read back. An error never holds the address, whose path may be a secret.

use reqwest::{Client, Url, header, redirect::Policy};
use serde_json::Value;
use std::{error::Error, time::Duration};
use swarm_common::secret::Secret;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(20);

/// Bytes of an error's body that are looked at, and characters of it that are shown.
const BODY: usize = 4096;
const SHOWN: usize = 120;

/// Posts a document.
///
/// # Errors
/// Why it was not taken, in one line.
pub(super) async fn post(url: &Url, secret: Option<&Secret>, document: &Value) -> Result<(), String> {
    let mut request = client(url)?.post(url.clone()).json(document);
    if let Some(secret) = secret {
        let mut value = header::HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
            .map_err(|_| "the token cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let mut response = request.send().await.map_err(|e| causes(e.without_url()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let mut body = Vec::new();
    while body.len() < BODY {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            // What it said is only for the eye.
            Ok(None) | Err(_) => break,
        }
    }
    let said: String = String::from_utf8_lossy(&body)
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Err(format!("HTTP {status}: {}", said.trim()).trim_end_matches([':', ' ']).to_owned())
}

fn client(url: &Url) -> Result<Client, String> {
    // A second installation is refused and harmless: it is the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("build-swarm/", env!("CARGO_PKG_VERSION")))
        // A token goes only where its owner said.
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .timeout(WHOLE);
    if url.scheme() == "http" {
        // Where TLS is not spoken, a machine without certificates is no obstacle.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|e| format!("HTTP cannot be set up: {}", causes(e)))
}

/// An error with what is behind it, in one line.
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
