//! The binary package hosts, as Portage asks for them: `/binhost/PROFILE/…` is what
//! workstations install from, `/binhost/PROFILE/runs/RUN/…` what the drones of a run do.
//!
//! Open to everybody, as a workstation has no credential; what is published is signed.
//! Whatever is absent or not for clients is 404 and never 403, because Portage goes on
//! only after a 404.
//!
//! There is one [`answer`] and two ways out: the [`lane`], which plain HTTP takes, and the
//! router, for TLS and for requests that the lane does not take.

mod answer;
pub(super) mod lane;

use super::{envelope::Plain, file, peer::Peer, places::Place};
use crate::{
    app::App,
    publish::layout::{self, Servable},
    publisher::Binhosts,
};
use answer::{Answer, Ask, Content};
use axum::{
    Router,
    body::Body,
    Extension,
    extract::{Path, State},
    http::{HeaderMap, Method, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use std::{path::PathBuf, sync::Arc};
use swarm_common::{id::RunId, name::Name};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/binhost/{*path}", get(serve))
}

/// The file that a decoded path below `/binhost/` names, if clients may have it.
fn locate(binhosts: &Binhosts, path: &str) -> Option<(PathBuf, Servable)> {
    let (profile, path) = path.split_once('/')?;
    let profile: Name = profile.parse().ok()?;
    let (dir, path) = match path.strip_prefix("runs/") {
        Some(rest) => {
            let (run, path) = rest.split_once('/')?;
            (binhosts.run(&profile, run.parse::<RunId>().ok()?), path)
        }
        None => (binhosts.stable(&profile), path),
    };
    Some((dir.join(path), layout::servable(path)?))
}

async fn serve(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Extension(place): Extension<Arc<Place>>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let answered = tokio::task::spawn_blocking(move || {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let ask = Ask {
            head: method == Method::HEAD,
            range: text(header::RANGE),
            if_range: text(header::IF_RANGE),
            if_modified_since: text(header::IF_MODIFIED_SINCE),
            user_agent: text(header::USER_AGENT),
        };
        answer::to(locate(&app.binhosts, &path), &ask, &app.small_files).if_there_is_room(&place, peer.origin())
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::*;

    #[test]
    fn paths_name_files_below_their_own_binhost_only() {
        let binhosts = Binhosts::new("/b");
        let found = |path: &str| locate(&binhosts, path).map(|(path, _)| path.to_str().unwrap().to_owned());
        assert_eq!(found("desk/Packages").as_deref(), Some("/b/desk/stable/Packages"));
        assert_eq!(found("desk/runs/r7/Packages.gz").as_deref(), Some("/b/desk/runs/r7/Packages.gz"));
        assert_eq!(found("desk/a/b/b-1.gpkg.tar").as_deref(), Some("/b/desk/stable/a/b/b-1.gpkg.tar"));
        for path in
            ["", "desk", "desk/", "desk/runs/r7", "desk/runs/7/Packages", "../Packages", "d//Packages"]
        {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
