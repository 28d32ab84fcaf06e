//! Wraps every request: gives it an id, logs it, catches panics, and writes errors as problems.
//!
//! Errors of the HTTP library (such as an invalid id in the path or an unsupported method) become
//! problems too, so that clients handle only one format.

use super::problem::{self, ApiError, Pending};
use axum::{
    body::to_bytes,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use std::{any::Any, panic::AssertUnwindSafe, time::Instant};
use swarm_common::wire::problem::Problem;
use tracing::Instrument as _;

/// The request id, in requests and answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes kept of a library's error message.
const KEPT_BYTES: usize = 4096;

/// Marks a response that does not belong to the API. It is sent unchanged, whatever its status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

pub(super) async fn wrap(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", id = %id, %method, %path);
    let began = Instant::now();
    async move {
        // Shared state is behind locks that survive a panic.
        let response = match check_host(&request) {
            Err(error) => error.into_response(),
            Ok(()) => {
                let run = AssertUnwindSafe(next.run(request)).catch_unwind();
                run.await.unwrap_or_else(|panic| broken_off(&*panic))
            }
        };
        let mut response = write_problem(response, &id).await;
        let (status, took_ms) = (response.status().as_u16(), began.elapsed().as_millis());
        if response.status().is_server_error() {
            tracing::warn!(status, took_ms, "answered");
        } else {
            tracing::debug!(status, took_ms, "answered");
        }
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
    .instrument(span)
    .await
}

/// Checks that the request has exactly one valid host (RFC 9112, section 3.2).
fn check_host(request: &Request) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    let wrong = |what: &str| Err(ApiError::BadRequest(format!("the request has {what}")));
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return wrong("more than one Host header"),
        (None, None) if request.version() >= Version::HTTP_11 => return wrong("no Host header"),
        (None, None) => return Ok(()),
        (Some(host), None) => host.to_str().unwrap_or("@"),
    };
    let is_host = host.is_empty() || host.parse::<Authority>().is_ok_and(|a| !a.as_str().contains('@'));
    if is_host { Ok(()) } else { wrong("an invalid Host header") }
}

/// The client's request ID if it is safe to log, otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    let fit = |id: &&str| {
        !id.is_empty()
            && id.len() <= 64
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(fit);
    given.map_or_else(crate::random::id, str::to_owned)
}

/// The answer after a panic.
fn broken_off(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let what = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
    tracing::error!(what, "internal error: a request handler panicked");
    ApiError::Internal("internal error; see the orchestrator's log".into()).into_response()
}

async fn write_problem(mut response: Response, id: &str) -> Response {
    let status = response.status();
    if let Some(Pending(mut problem)) = response.extensions_mut().remove::<Pending>() {
        match problem.kind.rsplit('/').next() {
            // Not an error: the client only asked whether something exists, or how much of an upload has
            // arrived.
            Some("not-found" | "wrong-offset") => {
                tracing::debug!(kind = %problem.kind, detail = %problem.detail, "answered");
            }
            _ => tracing::info!(kind = %problem.kind, detail = %problem.detail, "refused"),
        }
        problem.request_id = Some(id.to_owned());
        return problem::write(&problem, response);
    }
    // The binary package host answers in plain text, because its clients do not use the API.
    let foreign = status.is_client_error() || status.is_server_error();
    if !foreign || response.extensions().get::<Plain>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, KEPT_BYTES).await.unwrap_or_default();
    let detail = String::from_utf8_lossy(&text).trim().to_owned();
    let title = status.canonical_reason().unwrap_or("refused").to_lowercase();
    let problem = Problem {
        kind: format!("/problems/{}", kind_of(status)),
        detail: if detail.is_empty() { title.clone() } else { detail },
        title,
        status: status.as_u16(),
        request_id: Some(id.to_owned()),
        retry_after_s: None,
    };
    let mut response = Response::from_parts(parts, axum::body::Body::empty());
    response.headers_mut().remove(header::CONTENT_LENGTH);
    problem::write(&problem, response)
}

fn kind_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        status if status.is_server_error() => "internal",
        _ => "bad-request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware, routing::get};
    use tower::ServiceExt as _;

    #[tokio::test]
    #[allow(clippy::panic, reason = "it is what is tried")]
    async fn a_panic_in_a_handler_is_a_problem_like_any_other() {
        async fn clumsy() {
            panic!("the defect that a test asked for");
        }
        let router: Router = Router::new().route("/", get(clumsy)).layer(middleware::from_fn(wrap));
        let request = Request::builder()
            .uri("/")
            .header(header::HOST, "s")
            .header(REQUEST_ID, "mine")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[REQUEST_ID]),
            (500, &"mine".parse().unwrap())
        );
        let body = to_bytes(response.into_body(), KEPT_BYTES).await.unwrap();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.request_id.as_deref(), Some("mine"));
    }
}
