//! Profiles: create, list, show and remove them, what they can switch to, and the timers that update them.

use super::{
    auth::IdempotencyKey,
    body::{check_reason, read_json},
    bounds,
    list::List,
    problem::ApiError,
    route::{Role, Route},
};
use crate::{app::App, serve};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::Method,
};
use std::sync::Arc;
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::{
        admin::{BuilderKind, CandidateFailure, CandidateRequest, ProfileRequest},
        calendar::TimerRequest,
        nix::NixCache,
        view::ProfileView,
    },
};
use swarm_core::{Command, Refusal, state::Profile, view};
use swarm_formats::snapshot::NixUpstream;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/profiles", Role::Admin, "List profiles", list)
            .gives_list::<ProfileView>()
            .paged(),
        Route::new(Method::GET, "/profiles/{name}", Role::Admin, "Show a profile", show)
            .gives::<ProfileView>(),
        Route::new(
            Method::PUT,
            "/profiles/{name}",
            Role::Admin,
            "Create a profile or pin it to a new \
             snapshot",
            put,
        )
        .takes::<ProfileRequest>()
        .gives::<ProfileView>(),
        Route::new(
            Method::PUT,
            "/profiles/{name}/candidate",
            Role::Admin,
            "Have the next run of a Nix profile try a snapshot",
            offer,
        )
        .takes::<CandidateRequest>()
        .gives::<ProfileView>(),
        Route::new(
            Method::POST,
            "/profiles/{name}/candidate/failure",
            Role::Admin,
            "Say that no snapshot could be made to try",
            fail,
        )
        .takes::<CandidateFailure>(),
        Route::new(
            Method::PUT,
            "/profiles/{name}/timer",
            Role::Admin,
            "Say that a timer updates a profile, and has just run",
            note_timer,
        )
        .takes::<TimerRequest>(),
        Route::new(
            Method::DELETE,
            "/profiles/{name}/timer",
            Role::Admin,
            "Say that no timer updates a profile any more",
            remove_timer,
        ),
        Route::new(Method::DELETE, "/profiles/{name}", Role::Admin, "Remove a profile", remove),
    ]
}

async fn list(State(app): State<Arc<App>>) -> List<ProfileView, Name> {
    let profiles = app.engine.read(|s| s.profiles.iter().map(|(name, p)| view(name, p)).collect());
    List(profiles, |profile| profile.name.clone())
}

fn view(name: &Name, profile: &Profile) -> ProfileView {
    ProfileView { binhost: serve::path_of(name), ..view::profile(name, profile) }
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<Name>) -> Result<Json<ProfileView>, ApiError> {
    let found = app.engine.read(|s| s.profiles.get(&name).map(|p| view(&name, p)));
    let mut found = found.ok_or(Refusal::UnknownProfile(name))?;
    if found.builder == BuilderKind::Nix {
        found.upstreams = upstreams(&app, found.snapshot).await;
    }
    Ok(Json(found))
}

/// The upstream caches of a snapshot.
async fn upstreams(app: &App, snapshot: Digest) -> Vec<NixCache> {
    let all = app.upstreams.clone();
    let source = tokio::task::spawn_blocking(move || all.source(snapshot)).await;
    match source.map_err(std::io::Error::other).flatten() {
        Ok(source) => {
            let cache =
                |upstream: &NixUpstream| NixCache { url: upstream.url.clone(), keys: upstream.keys.clone() };
            source.upstreams.iter().map(cache).collect()
        }
        Err(error) => {
            tracing::warn!(%snapshot, %error, "the upstream caches of a profile are not known");
            Vec::new()
        }
    }
}

async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<ProfileView>, ApiError> {
    let request: ProfileRequest = read_json(body, app.config.limits.body_idle()).await?;
    bounds::SOURCE.check_text(&request.source)?;
    if !request.cpu.is_bounded() {
        return Err(bounds::CPU.broken());
    }
    check_stored(&app, request.snapshot).await?;
    app.engine.submit(Command::PutProfile { name: name.clone(), request }, key).await?;
    show(State(app), Path(name)).await
}

async fn offer(
    State(app): State<Arc<App>>,
    Path(profile): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<ProfileView>, ApiError> {
    let candidate: CandidateRequest = read_json(body, app.config.limits.body_idle()).await?;
    bounds::SOURCE.check_text(&candidate.source)?;
    check_stored(&app, candidate.snapshot).await?;
    app.engine.submit(Command::OfferCandidate { profile: profile.clone(), candidate }, key).await?;
    show(State(app), Path(profile)).await
}

async fn fail(
    State(app): State<Arc<App>>,
    Path(profile): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<(), ApiError> {
    let CandidateFailure { source, why } = read_json(body, app.config.limits.body_idle()).await?;
    bounds::SOURCE.check_text(&source)?;
    check_reason(&why)?;
    app.engine.submit(Command::ReportNoCandidate { profile, source, why }, key).await?;
    Ok(())
}

async fn note_timer(
    State(app): State<Arc<App>>,
    Path(profile): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<(), ApiError> {
    let timer: TimerRequest = read_json(body, app.config.limits.body_idle()).await?;
    app.engine.submit(Command::NoteTimer { profile, timer }, key).await?;
    Ok(())
}

async fn remove_timer(
    State(app): State<Arc<App>>,
    Path(profile): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::RemoveTimer(profile), key).await?;
    Ok(())
}

async fn check_stored(app: &App, digest: Digest) -> Result<(), ApiError> {
    if app.snapshots.has(digest).await? {
        return Ok(());
    }
    Err(ApiError::Unprocessable(format!(
        "snapshot {digest} is not stored: upload it first with PUT /api/v1/snapshots/{digest}"
    )))
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::RemoveProfile(name), key).await?;
    Ok(())
}
