//! The binary package hosts, as Portage asks for them: `/binhost/PROFILE/…` is what
//! workstations install from, `/binhost/PROFILE/runs/RUN/…` what the drones of a run do.
//!
//! Open to everybody, as a workstation has no credential; what is published is signed.
//! Whatever is absent or not for clients is 404 and never 403, because Portage goes on
//! only after a 404.

use super::{envelope::Plain, file};
use crate::{
    publish::{
        conditional::{self, Bytes},
        layout::{self, Servable},
    },
    server::App,
};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    io::{Read as _, SeekFrom},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};
use swarm_common::{id::RunId, name::Name};
use tokio::{fs::File, io::AsyncSeekExt as _};

/// Files up to this many bytes are read whole.
const SMALL: u64 = 256 * 1024;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/binhost/{profile}/{*path}", get(stable))
        .route("/binhost/{profile}/runs/{run}/{*path}", get(of_run))
}

async fn stable(
    State(app): State<Arc<App>>,
    Path((profile, path)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let found = profile.parse::<Name>().ok().map(|name| app.binhosts.stable(&name));
    answer(found, &path, &method, &headers).await
}

async fn of_run(
    State(app): State<Arc<App>>,
    Path((profile, run, path)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let name = profile.parse::<Name>().ok();
    let found = name.zip(run.parse::<RunId>().ok()).map(|(name, run)| app.binhosts.run(&name, run));
    answer(found, &path, &method, &headers).await
}

async fn answer(dir: Option<PathBuf>, path: &str, method: &Method, headers: &HeaderMap) -> Response {
    let mut response = match dir.zip(layout::servable(path)) {
        Some((dir, kind)) => serve(&dir.join(path), kind, method, headers).await,
        None => absent(),
    };
    response.extensions_mut().insert(Plain);
    response
}

fn absent() -> Response {
    (StatusCode::NOT_FOUND, "not found\n").into_response()
}

async fn serve(path: &FilePath, kind: Servable, method: &Method, headers: &HeaderMap) -> Response {
    let file = match open(path).await {
        Ok(Some(file)) => file,
        Ok(None) => return absent(),
        Err(error) => return unreadable(path, &error),
    };
    let Opened { content, size, modified } = file;
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let mut out = HeaderMap::new();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            out.insert(name, value);
        }
    };
    set(header::LAST_MODIFIED, conditional::http_date(modified));
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    let (media, caching) = match kind {
        Servable::Index => ("text/plain; charset=utf-8", "no-cache"),
        Servable::CompressedIndex => ("application/gzip", "no-cache"),
        Servable::Package => ("application/octet-stream", "public, max-age=31536000, immutable"),
    };
    set(header::CACHE_CONTROL, caching.to_owned());
    if conditional::not_modified(text(header::IF_MODIFIED_SINCE), text(header::USER_AGENT), modified) {
        return (StatusCode::NOT_MODIFIED, out).into_response();
    }
    set(header::CONTENT_TYPE, media.to_owned());
    let wanted = conditional::range(text(header::RANGE), text(header::IF_RANGE), size, modified);
    let (status, first, length) = match wanted {
        Bytes::All => (StatusCode::OK, 0, size),
        Bytes::Part { first, last } => {
            set(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Bytes::Unsatisfiable => {
            set(header::CONTENT_RANGE, format!("bytes */{size}"));
            return (StatusCode::RANGE_NOT_SATISFIABLE, out).into_response();
        }
    };
    set(header::CONTENT_LENGTH, length.to_string());
    if method == Method::HEAD {
        return (status, out).into_response();
    }
    let body = match content {
        Content::Whole(bytes) => {
            // Both fit into memory, as the whole file does.
            let first = usize::try_from(first).unwrap_or(usize::MAX).min(bytes.len());
            let end = first.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
            Body::from(bytes.slice(first..end))
        }
        Content::File(mut file) => match file.seek(SeekFrom::Start(first)).await {
            Ok(_) => file::body(file, length),
            Err(error) => return unreadable(path, &error),
        },
    };
    (status, out, body).into_response()
}

fn unreadable(path: &FilePath, error: &std::io::Error) -> Response {
    tracing::error!(path = %path.display(), %error, "a published file cannot be read");
    (StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n").into_response()
}

/// A file and what its answer says of it, all from one opening, so that they agree even if
/// the name is switched to another file meanwhile.
struct Opened {
    content: Content,
    size: u64,
    /// Seconds since the epoch.
    modified: u64,
}

/// A file's bytes, or the way to them.
enum Content {
    Whole(axum::body::Bytes),
    File(File),
}

/// Opens a file, and reads it at once if it is small: one trip to where blocking is
/// allowed instead of four, which is most of the time of a small answer.
async fn open(path: &FilePath) -> std::io::Result<Option<Opened>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || open_now(&path)).await?
}

fn open_now(path: &FilePath) -> std::io::Result<Option<Opened>> {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    let mut file = match std::fs::File::open(path) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | IsADirectory) => return Ok(None),
        other => other?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(None);
    }
    let modified = meta.modified()?.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let size = meta.len();
    let content = if size <= SMALL {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        // What is published is never changed in place, so it has the size that it had.
        file.read_exact(&mut bytes)?;
        Content::Whole(bytes.into())
    } else {
        Content::File(File::from_std(file))
    };
    Ok(Some(Opened { content, size, modified }))
}
