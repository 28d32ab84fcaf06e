//! The answer to a request for a published file: status, headers and content, independent of how they are
//! sent.

use super::{
    conditional::{self, ByteRange, ConditionalOutcome, RequestHead, Version},
    layout::Servable,
    small::{Found, SmallFiles, Source},
};
use crate::connection_limits::{ConnectionPermit, Holder, Origin};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// Caching header for files whose content never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A published file, located from its URL path.
#[derive(Debug)]
pub(crate) struct Named<'b> {
    /// The directory of all binary package hosts; links that leave it are not followed.
    pub(crate) root: &'b Path,
    pub(crate) path: PathBuf,
    pub(crate) kind: Servable,
}

/// An answer, without the headers that concern the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    Nothing,
    Bytes(Bytes),
    /// `length` bytes of a file, starting at `first`.
    File {
        file: File,
        first: u64,
        length: u64,
    },
}

/// Answers a request. Reads from the disk, so it may block.
pub(crate) fn to(named: Option<Named>, head: &RequestHead, small: &SmallFiles) -> Answer {
    let Some(Named { root, path, kind }) = named else {
        return plainly(StatusCode::NOT_FOUND, "not found\n");
    };
    match small.find(root, &path) {
        Ok(Some(found)) => of(found, kind, head),
        Ok(None) => plainly(StatusCode::NOT_FOUND, "not found\n"),
        Err(error) => unreadable(&path, &error),
    }
}

/// The answer if a panic prevented the real one.
pub(crate) fn broken(error: &dyn std::fmt::Display) -> Answer {
    tracing::error!(%error, "the task serving a published file panicked");
    plainly(StatusCode::INTERNAL_SERVER_ERROR, "cannot read the file\n")
}

fn unreadable(path: &Path, error: &std::io::Error) -> Answer {
    tracing::error!(path = %path.display(), %error, "cannot read a published file");
    plainly(StatusCode::INTERNAL_SERVER_ERROR, "cannot read the file\n")
}

fn plainly(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Answer { status, headers: HeaderMap::new(), content: Content::Nothing };
    answer.set(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer.set(header::CONTENT_LENGTH, &text.len().to_string());
    answer.content = Content::Bytes(Bytes::from_static(text.as_bytes()));
    answer
}

impl Answer {
    /// Returns 503 instead if the answer has content and the budget of workstations is used up.
    pub(crate) fn if_there_is_room(self, permit: &ConnectionPermit, origin: Origin) -> Self {
        let given = self.status.is_success() || self.status == StatusCode::NOT_MODIFIED;
        if !given || permit.proved(Holder::Workstation(origin)).is_ok() {
            return self;
        }
        let mut answer =
            plainly(StatusCode::SERVICE_UNAVAILABLE, "too many downloads; try again in a moment\n");
        answer.set(header::RETRY_AFTER, "10");
        answer
    }

    fn set(&mut self, name: HeaderName, value: &str) {
        // Always valid: the value consists of digits, dates and constants.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

fn of(Found { source, size, modified }: Found, kind: Servable, head: &RequestHead) -> Answer {
    let headers = HeaderMap::with_capacity(8);
    let mut answer = Answer { status: StatusCode::OK, headers, content: Content::Nothing };
    answer.set(header::LAST_MODIFIED, &conditional::http_date(modified));
    answer.set(header::ACCEPT_RANGES, "bytes");
    let (media, caching, weak) = match kind {
        // Weak, because an index may change twice within one second, the resolution of its date.
        Servable::Index => ("text/plain; charset=utf-8", "no-cache", "W/"),
        Servable::CompressedIndex => ("application/gzip", "no-cache", "W/"),
        Servable::Package => ("application/octet-stream", FOR_EVER, ""),
        Servable::Nar => ("application/x-nix-nar", FOR_EVER, ""),
        Servable::NarInfo => ("text/x-nix-narinfo", "no-cache", "W/"),
        Servable::CacheInfo => ("text/x-nix-cache-info", "no-cache", "W/"),
        Servable::Json => ("application/json", "no-cache", "W/"),
        Servable::Log => ("text/plain; charset=utf-8", "no-cache", "W/"),
    };
    let version = Version { tag: format!("{weak}\"{modified:x}-{size:x}\""), modified };
    answer.set(header::CACHE_CONTROL, caching);
    answer.set(header::ETAG, &version.tag);
    match conditional::judge(&head.conditions, &version) {
        ConditionalOutcome::Send => {}
        ConditionalOutcome::NotModified => {
            answer.status = StatusCode::NOT_MODIFIED;
            return answer;
        }
        ConditionalOutcome::Failed => {
            answer.status = StatusCode::PRECONDITION_FAILED;
            answer.set(header::CONTENT_LENGTH, "0");
            return answer;
        }
    }
    answer.set(header::CONTENT_TYPE, media);
    // Ranges apply to GET only.
    let range = head.range.filter(|_| !head.is_head);
    let (first, length) = match conditional::range(range, head.conditions.if_range, size, Some(&version)) {
        ByteRange::All => (0, size),
        ByteRange::Part { first, last } => {
            answer.status = StatusCode::PARTIAL_CONTENT;
            answer.set(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
            (first, last - first + 1)
        }
        ByteRange::Unsatisfiable => {
            answer.status = StatusCode::RANGE_NOT_SATISFIABLE;
            answer.set(header::CONTENT_RANGE, &format!("bytes */{size}"));
            answer.set(header::CONTENT_LENGTH, "0");
            return answer;
        }
    };
    answer.set(header::CONTENT_LENGTH, &length.to_string());
    if head.is_head {
        return answer;
    }
    answer.content = match source {
        Source::Bytes(bytes) => {
            // Neither conversion fails, as the whole file is in memory.
            let first = usize::try_from(first).unwrap_or(usize::MAX).min(bytes.len());
            let end = first.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
            Content::Bytes(bytes.slice(first..end))
        }
        Source::File(file) => Content::File { file, first, length },
    };
    answer
}
