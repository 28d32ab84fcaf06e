//! Describes one request: what to send and how long to wait. A call owns its data, so that the request can be
//! sent again to another orchestrator.

use super::IdempotencyKey;
use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Time limit for an ordinary request.
const PLAIN: Duration = Duration::from_secs(30);
/// Time limit for processing a large body at both ends, in addition to its transfer.
const BODY_GRACE: Duration = Duration::from_secs(60);
/// Transfers slower than this count as stalled.
const SLOWEST_BYTES_PER_S: u64 = 32 * 1024;

pub(super) struct Call {
    pub(super) method: Method,
    /// Path segments below the API's prefix, not yet percent-encoded.
    pub(super) path: Vec<String>,
    /// An absolute, percent-encoded path outside the API, used instead of `path`.
    pub(super) public: Option<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    pub(super) wait: Wait,
    /// Whether sending the request twice is harmless.
    pub(super) repeatable: bool,
}

pub(super) enum Body {
    Empty,
    Json(Result<Bytes, String>),
    Bytes(Bytes),
    /// The content of a file from a byte offset on, read while it is sent.
    File {
        path: PathBuf,
        offset: u64,
    },
}

/// The part of the response that the time limit covers.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// The whole response, including its body.
    Whole(Duration),
    /// The response headers only; the body may take any time.
    Head(Duration),
}

impl Call {
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            public: None,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            wait: Wait::Whole(PLAIN),
            repeatable: true,
        }
    }

    pub(super) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn json(mut self, value: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(value).map(Bytes::from).map_err(|e| e.to_string());
        self.body = Body::Json(bytes);
        self
    }

    pub(super) fn bytes(mut self, bytes: Bytes) -> Self {
        self.wait = Wait::Whole(transfer_time(bytes.len() as u64));
        self.body = Body::Bytes(bytes);
        self
    }

    /// Sends a file from `offset` on; `size` is the size of the whole file.
    pub(super) fn file(mut self, path: PathBuf, offset: u64, size: u64) -> Self {
        self.wait = Wait::Whole(transfer_time(size.saturating_sub(offset)));
        self.body = Body::File { path, offset };
        self
    }

    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.query.push((name, value.to_string()));
        }
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn once(self, key: &IdempotencyKey) -> Self {
        self.header("idempotency-key", key)
    }

    pub(super) fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Marks a request that must not be sent twice, because that has another effect.
    pub(super) fn unrepeatable(mut self) -> Self {
        self.repeatable = false;
        self
    }
}

/// Time limit for a body of this size.
fn transfer_time(bytes: u64) -> Duration {
    BODY_GRACE + Duration::from_secs(bytes / SLOWEST_BYTES_PER_S)
}
