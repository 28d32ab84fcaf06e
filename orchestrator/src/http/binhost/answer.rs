//! What is answered to a request for a published file: status, headers and which bytes.
//! How they reach the client is not known here.

use super::super::places::{Holder, Origin, Place};
use crate::publish::{
    conditional::{self, Bytes as Wanted, Conditions, Verdict, Version},
    layout::Servable,
    small::{Found, SmallFiles, Source},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A file that a path names.
#[derive(Debug)]
pub(super) struct Named<'b> {
    /// The directory of all binary package hosts, which nothing leads out of.
    pub(super) root: &'b Path,
    pub(super) path: PathBuf,
    pub(super) kind: Servable,
}

/// What counts of a request: a GET or HEAD and some of its headers, as they came.
#[derive(Debug, Default)]
pub(super) struct Ask<'r> {
    /// HEAD.
    pub(super) head: bool,
    pub(super) range: Option<&'r str>,
    pub(super) conditions: Conditions<'r>,
}

/// An answer without the headers of the connection.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

/// The bytes of an answer.
#[derive(Debug)]
pub(super) enum Content {
    Nothing,
    Bytes(Bytes),
    /// `length` bytes of a file from `first`.
    File {
        file: File,
        first: u64,
        length: u64,
    },
}

/// Answers. Looks at the disk, so it may block.
pub(super) fn to(named: Option<Named>, ask: &Ask, small: &SmallFiles) -> Answer {
    let Some(Named { root, path, kind }) = named else {
        return plainly(StatusCode::NOT_FOUND, "not found\n");
    };
    match small.find(root, &path) {
        Ok(Some(found)) => of(found, kind, ask),
        Ok(None) => plainly(StatusCode::NOT_FOUND, "not found\n"),
        Err(error) => unreadable(&path, &error),
    }
}

/// The answer when making one broke off.
pub(super) fn broken(error: &dyn std::fmt::Display) -> Answer {
    tracing::error!(%error, "answering for a published file broke off");
    plainly(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n")
}

fn unreadable(path: &Path, error: &std::io::Error) -> Answer {
    tracing::error!(path = %path.display(), %error, "a published file cannot be read");
    plainly(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n")
}

fn plainly(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Answer { status, headers: HeaderMap::new(), content: Content::Nothing };
    answer.set(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer.set(header::CONTENT_LENGTH, &text.len().to_string());
    answer.content = Content::Bytes(Bytes::from_static(text.as_bytes()));
    answer
}

impl Answer {
    /// The same, if it gives nothing or the connection has or gets a workstation's place.
    pub(super) fn if_there_is_room(self, place: &Place, origin: Origin) -> Self {
        let given = self.status.is_success() || self.status == StatusCode::NOT_MODIFIED;
        if !given || place.proved(Holder::Workstation(origin)).is_ok() {
            return self;
        }
        let mut answer = plainly(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many downloads are under way; try again in a moment\n",
        );
        answer.set(header::RETRY_AFTER, "10");
        answer
    }

    fn set(&mut self, name: HeaderName, value: &str) {
        // Made of digits, dates and constants, so it always is one.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

fn of(Found { source, size, modified }: Found, kind: Servable, ask: &Ask) -> Answer {
    let headers = HeaderMap::with_capacity(8);
    let mut answer = Answer { status: StatusCode::OK, headers, content: Content::Nothing };
    answer.set(header::LAST_MODIFIED, &conditional::http_date(modified));
    answer.set(header::ACCEPT_RANGES, "bytes");
    let (media, caching, weak) = match kind {
        // An index may change twice in the second that its date tells.
        Servable::Index => ("text/plain; charset=utf-8", "no-cache", "W/"),
        Servable::CompressedIndex => ("application/gzip", "no-cache", "W/"),
        Servable::Package => ("application/octet-stream", "public, max-age=31536000, immutable", ""),
    };
    let version = Version { tag: format!("{weak}\"{modified:x}-{size:x}\""), modified };
    answer.set(header::CACHE_CONTROL, caching);
    answer.set(header::ETAG, &version.tag);
    match conditional::judge(&ask.conditions, &version) {
        Verdict::Send => {}
        Verdict::NotModified => {
            answer.status = StatusCode::NOT_MODIFIED;
            return answer;
        }
        Verdict::Failed => {
            answer.status = StatusCode::PRECONDITION_FAILED;
            answer.set(header::CONTENT_LENGTH, "0");
            return answer;
        }
    }
    answer.set(header::CONTENT_TYPE, media);
    // A range is a GET's.
    let range = ask.range.filter(|_| !ask.head);
    let (first, length) = match conditional::range(range, ask.conditions.if_range, size, Some(&version)) {
        Wanted::All => (0, size),
        Wanted::Part { first, last } => {
            answer.status = StatusCode::PARTIAL_CONTENT;
            answer.set(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
            (first, last - first + 1)
        }
        Wanted::Unsatisfiable => {
            answer.status = StatusCode::RANGE_NOT_SATISFIABLE;
            answer.set(header::CONTENT_RANGE, &format!("bytes */{size}"));
            answer.set(header::CONTENT_LENGTH, "0");
            return answer;
        }
    };
    answer.set(header::CONTENT_LENGTH, &length.to_string());
    if ask.head {
        return answer;
    }
    answer.content = match source {
        Source::Bytes(bytes) => {
            // Both fit into memory, as the whole file does.
            let first = usize::try_from(first).unwrap_or(usize::MAX).min(bytes.len());
            let end = first.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
            Content::Bytes(bytes.slice(first..end))
        }
        Source::File(file) => Content::File { file, first, length },
    };
    answer
}
