//! Lists of the API: pages with a cursor, and entity tags of all JSON answers.
//!
//! A cursor is the key of the last row of a page, not a number of rows: rows that appear or vanish
//! before it move no other row to another page.

use super::problem::ApiError;
use crate::serve::conditional::{ConditionalOutcome, Conditions, Version, judge};
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use swarm_common::digest::Digest;

/// The query parameters of every list, with their meaning.
pub(super) const QUERIES: [(&str, &str); 2] = [
    ("limit", "at most so many rows; the header Link has the address of the next page"),
    ("cursor", "only rows after this one, from the address of the next page"),
];

/// Rows of a list, with a key that stays the same while a row exists and needs no escapes in an address.
pub(super) struct List<T, K>(pub(super) Vec<T>, pub(super) fn(&T) -> K);

/// The rows of a response that becomes a page.
#[derive(Debug, Clone)]
struct Rows(Vec<(String, String)>);

impl<T: Serialize, K: ToString> IntoResponse for List<T, K> {
    fn into_response(self) -> Response {
        let row = |row: &T| Ok((self.1(row).to_string(), serde_json::to_string(row)?));
        let rows: Result<Vec<_>, serde_json::Error> = self.0.iter().map(row).collect();
        match rows {
            Ok(rows) => {
                let mut response = StatusCode::OK.into_response();
                response.extensions_mut().insert(Rows(rows));
                response
            }
            Err(error) => ApiError::Internal(format!("cannot write a list: {error}")).into_response(),
        }
    }
}

/// What a request says about the page that it wants, and the rest of its query.
#[derive(Debug, Default)]
pub(super) struct Page {
    limit: Option<usize>,
    cursor: Option<String>,
    /// The address without both.
    rest: String,
}

impl Page {
    /// Takes the parameters out of the address, so that a handler sees only its own.
    pub(super) fn take(uri: &mut Uri) -> Result<Self, ApiError> {
        let mut page = Self::default();
        let wrong = |what: &str| ApiError::BadRequest(what.to_owned());
        let mut rest = Vec::new();
        for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("limit", number)) => {
                    let number = number.parse().ok().filter(|number| *number > 0);
                    page.limit = Some(number.ok_or_else(|| wrong("`limit` must be a number from 1"))?);
                }
                Some(("cursor", key)) => page.cursor = Some(key.to_owned()),
                _ => rest.push(part),
            }
        }
        let path = uri.path();
        page.rest = if rest.is_empty() { format!("{path}?") } else { format!("{path}?{}&", rest.join("&")) };
        let target = page.rest.trim_end_matches(['?', '&']);
        *uri = target.parse().map_err(|_| wrong("the address is invalid"))?;
        Ok(page)
    }

    /// Turns the rows of a list into the page that was asked for.
    pub(super) fn of(self, mut response: Response) -> Response {
        let Some(Rows(mut rows)) = response.extensions_mut().remove::<Rows>() else { return response };
        if let Some(cursor) = &self.cursor {
            let Some(at) = rows.iter().position(|(key, _)| key == cursor) else {
                let what = "the row of this cursor is gone; list again from the start";
                return ApiError::BadRequest(what.to_owned()).into_response();
            };
            rows.drain(..=at);
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let next = (rows.len() > limit).then(|| rows.get(limit - 1).map(|(key, _)| key.clone())).flatten();
        rows.truncate(limit);
        let mut list = String::with_capacity(rows.iter().map(|(_, text)| text.len() + 1).sum::<usize>() + 2);
        list.push('[');
        for (n, (_, text)) in rows.into_iter().enumerate() {
            list.push_str(if n == 0 { "" } else { "," });
            list.push_str(&text);
        }
        list.push(']');
        *response.body_mut() = Body::from(list);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(key) = next {
            // A query reference is relative to the request's own address, so a proxy's path does not matter.
            let query = self.rest.split_once('?').map_or("", |(_, query)| query);
            let link = format!("<?{query}limit={limit}&cursor={key}>; rel=\"next\"");
            match HeaderValue::from_str(&link) {
                Ok(link) => drop(response.headers_mut().insert(header::LINK, link)),
                Err(error) => return ApiError::Internal(format!("no link: {error}")).into_response(),
            }
        }
        response
    }
}

/// Adds the entity tag of a JSON response, and answers 304 if the client has this version.
pub(super) async fn tagged(asked: &HeaderMap, response: Response) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The handler has made all of it already.
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return ApiError::Internal(format!("cannot write: {error}")).into_response(),
    };
    let version = Version { tag: format!("\"{}\"", Digest::of(&bytes)), modified: u64::MAX };
    let conditions = Conditions {
        if_none_match: asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()),
        ..Conditions::default()
    };
    let body = match judge(&conditions, &version) {
        ConditionalOutcome::Send | ConditionalOutcome::Failed => Body::from(bytes),
        ConditionalOutcome::NotModified => {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers.remove(header::CONTENT_TYPE);
            Body::empty()
        }
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Ok(tag) = HeaderValue::from_str(&version.tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Response::from_parts(parts, body)
}
