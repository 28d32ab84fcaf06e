//! The journal as server-sent events. Events are read from the journal, not from memory, so a stream has no
//! gaps, however slow its reader, and can be resumed.

use super::{
    UNBUFFERED,
    problem::ApiError,
    route::{Role, Route},
};
use crate::{app::App, engine::Engine};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use std::{sync::Arc, time::Duration};
use swarm_common::wire::event::EventView;
use swarm_core::{Record, view};
use tokio::sync::watch;

/// Largest number of events per read.
const BATCH: usize = 256;

/// How long a stream may be silent before a keep-alive, which detects dead readers.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            Method::GET,
            "/events",
            Role::Admin,
            "Stream the events of the journal, as JSON in `data`; `Last-Event-ID` resumes after that event",
            events,
        )
        .gives_events::<EventView>(),
    ]
}

struct Reader {
    app: Arc<App>,
    after: u64,
    committed: watch::Receiver<u64>,
    greeted: bool,
}

async fn events(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let after = match headers.get("last-event-id") {
        None => app.engine.read(|swarm| swarm.seq),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ApiError::BadRequest("Last-Event-ID must be the number of an event".into()))?,
    };
    let committed = app.engine.committed();
    let reader = Reader { app, after, committed, greeted: false };
    let body = Body::from_stream(stream::unfold(reader, |mut reader| async move {
        let piece = next(&mut reader).await?;
        Some((Ok::<_, std::convert::Infallible>(piece), reader))
    }));
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((kind, [UNBUFFERED], body).into_response())
}

/// The next part of the stream; `None` at its end.
async fn next(reader: &mut Reader) -> Option<Bytes> {
    if !std::mem::replace(&mut reader.greeted, true) {
        // Tells the reader at once that it is connected.
        return Some(Bytes::from_static(b": connected\n\n"));
    }
    loop {
        reader.committed.mark_unchanged();
        let records = read(&reader.app.engine, reader.after).await?;
        if let Some(last) = records.last() {
            reader.after = last.seq;
            return Some(write(&records));
        }
        tokio::select! {
            biased;
            () = reader.app.stopping.cancelled() => return None,
            changed = reader.committed.changed() => changed.ok()?,
            () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
        }
    }
}

async fn read(engine: &Engine, after: u64) -> Option<Vec<Record>> {
    match engine.records(after, BATCH).await {
        Ok(records) => Some(records),
        Err(error) => {
            // The reader reconnects and resumes.
            tracing::warn!(%error, "closing an event stream: cannot read the journal");
            None
        }
    }
}

fn write(records: &[Record]) -> Bytes {
    let mut text = String::new();
    for event in records.iter().filter_map(view::event) {
        // A view is plain data, so conversion to JSON never fails.
        let data = serde_json::to_string(&event).unwrap_or_default();
        text.push_str(&format!("id: {}\ndata: {data}\n\n", event.seq));
    }
    text.into()
}
