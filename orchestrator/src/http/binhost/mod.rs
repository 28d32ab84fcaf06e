//! The binary package hosts as Portage requests them: workstations install from `/binhost/PROFILE/…`, or from
//! `/binhost/PROFILE/staging/…` to try a generation that is not promoted yet; the drones of a run use
//! `/binhost/PROFILE/runs/RUN/…`. `/binhost/_nix/…` is the union of the caches of all Nix profiles.
//!
//! They need no credential, because workstations have none; published packages are signed. A file
//! that does not exist or is not public gives 404, never 403, because Portage continues only after
//! a 404.
//!
//! An [`answer`] is sent in one of two ways: by the [`lane`] for plain HTTP, or by the router for
//! TLS and for requests that the lane does not take.

mod answer;
pub(super) mod lane;

use super::{envelope::Plain, file, peer::Peer};
use crate::{
    app::App,
    connection_limits::ConnectionPermit,
    publish::{
        Binhosts,
        conditional::{Conditions, RequestHead},
        layout,
    },
};
use answer::{Answer, Content, Named};
use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, Method, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use std::sync::Arc;
use swarm_common::{
    id::RunId,
    name::Name,
    wire::{channel::ChannelName, nix::ALL_PROFILES},
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/binhost/{*path}", get(serve))
}

pub(super) fn path_of(profile: &Name) -> String {
    format!("/binhost/{profile}")
}

/// Path of the binary package host that the drones of a run use.
pub(super) fn path_of_run(profile: &Name, run: RunId) -> String {
    format!("/binhost/{profile}/runs/{run}")
}

/// Locates the file for a decoded path below `/binhost/`; `None` if the path is not public. May block.
fn locate<'b>(binhosts: &'b Binhosts, path: &str) -> Option<Named<'b>> {
    let (profile, path) = path.split_once('/')?;
    let root = binhosts.dir();
    if profile == ALL_PROFILES {
        let kind = layout::in_all_caches(path)?;
        return Some(Named { root, path: binhosts.in_any_cache(path)?, kind });
    }
    let profile: Name = profile.parse().ok()?;
    let (dir, path) = match path.split_once('/') {
        Some(("runs", rest)) => {
            let (run, path) = rest.split_once('/')?;
            (binhosts.run(&profile, run.parse::<RunId>().ok()?), path)
        }
        Some(("staging", rest)) => (binhosts.channel(&profile, ChannelName::Staging), rest),
        _ => (binhosts.channel(&profile, ChannelName::Stable), path),
    };
    Some(Named { root, path: dir.join(path), kind: layout::servable(path)? })
}

async fn serve(
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
        answer::to(locate(&app.binhosts, &path), &head, &app.small_files)
            .if_there_is_room(&permit, peer.origin())
    });
    let Answer { status, headers, content } = match answered.await {
        Ok(answer) => answer,
        Err(error) => answer::broken(&error),
    };
    let body = match content {
        Content::Nothing => Body::empty(),
        Content::Bytes(bytes) => Body::from(bytes),
        Content::File { file, first, length } => file::body(file, first, length),
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::*;

    #[test]
    fn paths_name_files_below_their_own_binhost_only() {
        let binhosts = Binhosts::new("/b");
        let found = |path: &str| locate(&binhosts, path).map(|named| named.path.to_str().unwrap().to_owned());
        assert_eq!(found("desk/Packages").as_deref(), Some("/b/desk/stable/Packages"));
        assert_eq!(found("desk/runs/r7/Packages.gz").as_deref(), Some("/b/desk/runs/r7/Packages.gz"));
        assert_eq!(found("desk/staging/Packages").as_deref(), Some("/b/desk/staging/Packages"));
        assert_eq!(found("desk/staging/a/b-1.xpak").as_deref(), Some("/b/desk/staging/a/b-1.xpak"));
        assert_eq!(found("desk/a/b/b-1.gpkg.tar").as_deref(), Some("/b/desk/stable/a/b/b-1.gpkg.tar"));
        for path in [
            "",
            "desk",
            "desk/",
            "desk/staging/",
            "desk/runs/r7",
            "desk/runs/7/Packages",
            "../Packages",
            "d//Packages",
            "_nix/nix-cache-info",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
