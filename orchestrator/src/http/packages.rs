//! Packages: list, retry, release, rebuild. Their logs are in [`super::log`].

use super::{
    auth::IdempotencyKey,
    body::{check_reason, read_json},
    list::List,
    problem::ApiError,
    route::{Role, Route},
};
use crate::app::App;
use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::Method,
};
use serde::Deserialize;
use std::sync::Arc;
use swarm_common::{
    id::{PackageId, RunId},
    state::PackageState,
    wire::{
        admin::{RebuildReply, RebuildRequest, ReleaseRequest, Verdict},
        view::{PackageRow, PackageView},
    },
};
use swarm_core::{Command, Refusal, Reply, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/packages", Role::Admin, "List packages of kept runs", list)
            .queries(&[
                ("run", "only packages of this run"),
                ("state", "only packages in this state"),
                ("name", "only packages whose title contains this text"),
            ])
            .gives_list::<PackageRow>()
            .paged(),
        Route::new(Method::GET, "/packages/{package}", Role::Admin, "Show a package", show)
            .gives::<PackageView>(),
        Route::new(Method::POST, "/packages/{package}/retry", Role::Admin, "Retry a package", retry),
        Route::new(
            Method::POST,
            "/packages/{package}/release",
            Role::Admin,
            "Release a package from quarantine",
            release,
        )
        .takes::<ReleaseRequest>(),
        Route::new(
            Method::POST,
            "/packages/{package}/rebuild",
            Role::Admin,
            "Rebuild a package in the next run",
            rebuild,
        )
        .takes::<RebuildRequest>()
        .gives::<RebuildReply>(),
    ]
}

/// Query parameters that select packages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    run: Option<RunId>,
    state: Option<PackageState>,
    name: Option<String>,
}

async fn list(State(app): State<Arc<App>>, Query(filter): Query<Filter>) -> List<PackageRow, PackageId> {
    let now = app.engine.now();
    let name = filter.name.as_deref();
    List(app.engine.read(|swarm| view::packages(swarm, now, filter.run, filter.state, name)), |row| row.id)
}

async fn show(
    State(app): State<Arc<App>>,
    Path(package): Path<PackageId>,
) -> Result<Json<PackageView>, ApiError> {
    let now = app.engine.now();
    let view = app.engine.read(|swarm| view::package(swarm, now, package));
    Ok(Json(view.ok_or(Refusal::UnknownPackage(package))?))
}

async fn retry(
    State(app): State<Arc<App>>,
    Path(package): Path<PackageId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::RetryPackage(package), key).await?;
    Ok(())
}

async fn release(
    State(app): State<Arc<App>>,
    Path(package): Path<PackageId>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<(), ApiError> {
    let ReleaseRequest { verdict: Verdict::Retry } = read_json(body, app.config.limits.body_idle()).await?;
    let answered = key.as_ref().is_some_and(|key| app.engine.read(|swarm| swarm.answers.contains_key(key)));
    let found = app.engine.read(|swarm| swarm.packages.get(&package).map(|p| (p.title(), p.state)));
    let (title, state) = found.ok_or(Refusal::UnknownPackage(package))?;
    if state != PackageState::Quarantined && !answered {
        let hint = format!("only a quarantined package can be released; see `swarmctl why {package}`");
        return Err(Refusal::WrongState { what: title, state: state.word().into(), hint }.into());
    }
    app.engine.submit(Command::RetryPackage(package), key).await?;
    Ok(())
}

async fn rebuild(
    State(app): State<Arc<App>>,
    Path(package): Path<PackageId>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<RebuildReply>, ApiError> {
    let RebuildRequest { dependants, reason } = read_json(body, app.config.limits.body_idle()).await?;
    check_reason(&reason)?;
    match app.engine.submit(Command::Rebuild { package, dependants, reason }, key).await? {
        Reply::Packages(packages) => {
            let titles = app.engine.read(|swarm| {
                let title = |id| swarm.packages.get(id).map(|p| p.title()).unwrap_or_default();
                packages.iter().map(title).collect()
            });
            Ok(Json(RebuildReply { packages, titles }))
        }
        other => Err(ApiError::Internal(format!("unexpected reply to a rebuild: {other:?}"))),
    }
}
