//! Published files as the router serves them: over TLS, and for requests that the [lane](crate::serve::lane) does
//! not take.

use super::{envelope::Plain, file::body, peer::Peer};
use crate::{
    app::App,
    connection_limits::ConnectionPermit,
    serve::{
        self,
        answer::{self, Answer, Content},
        conditional::{Conditions, RequestHead},
    },
};
use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, Method, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use std::sync::Arc;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/binhost/{*path}", get(file))
}

async fn file(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Extension(permit): Extension<Arc<ConnectionPermit>>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let answered = tokio::task::spawn_blocking(move || {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let (all_match, all_none_match) =
            (joined(&headers, header::IF_MATCH), joined(&headers, header::IF_NONE_MATCH));
        let conditions = Conditions {
            if_match: all_match.as_deref(),
            if_none_match: all_none_match.as_deref(),
            if_modified_since: text(header::IF_MODIFIED_SINCE),
            if_unmodified_since: text(header::IF_UNMODIFIED_SINCE),
            if_range: text(header::IF_RANGE),
            user_agent: text(header::USER_AGENT),
        };
        let head = RequestHead { is_head: method == Method::HEAD, range: text(header::RANGE), conditions };
        answer::to(serve::locate(&app.binhosts, &path), &head, &app.small_files)
            .if_there_is_room(&permit, peer.origin())
    });
    let Answer { status, headers, content } = match answered.await {
        Ok(answer) => answer,
        Err(error) => answer::broken(&error),
    };
    let body = match content {
        Content::Nothing => Body::empty(),
        Content::Bytes(bytes) => Body::from(bytes),
        Content::File { file, first, length } => body(file, first, length),
    };
    let mut response = (status, headers, body).into_response();
    response.extensions_mut().insert(Plain);
    response
}

/// Joins a list header that may have several lines. A line that is not text becomes an empty
/// element.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default());
    lines.map(str::to_owned).reduce(|all, line| format!("{all}, {line}"))
}
