//! The channels of profiles: list, show, promote, roll back, pin generations.

use super::{
    auth::IdempotencyKey,
    body::{read_json, read_json_if_any},
    list::List,
    problem::ApiError,
    route::{Role, Route},
};
use crate::app::App;
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::Method,
};
use std::sync::Arc;
use swarm_common::{
    name::Name,
    wire::channel::{ChannelView, GenerationContents, PinRequest, PromoteRequest, RollbackRequest},
};
use swarm_core::{Command, Refusal, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/channels", Role::Admin, "List the channels", list)
            .gives_list::<ChannelView>()
            .paged(),
        Route::new(Method::GET, "/channels/{name}", Role::Admin, "Show the channels of a profile", show)
            .gives::<ChannelView>(),
        Route::new(
            Method::GET,
            "/channels/{name}/generations/{number}",
            Role::Admin,
            "List the packages of a kept generation",
            contents,
        )
        .gives::<GenerationContents>(),
        Route::new(
            Method::PUT,
            "/channels/{name}/generations/{number}/pin",
            Role::Admin,
            "Keep a generation of the stable channel until it is unpinned",
            pin,
        )
        .takes::<PinRequest>()
        .gives::<ChannelView>(),
        Route::new(
            Method::DELETE,
            "/channels/{name}/generations/{number}/pin",
            Role::Admin,
            "Keep a generation no longer than others",
            unpin,
        )
        .gives::<ChannelView>(),
        Route::new(
            Method::POST,
            "/channels/{name}/promote",
            Role::Admin,
            "Publish what the newest runs built, or a staged generation, in the stable channel",
            promote,
        )
        .takes::<PromoteRequest>()
        .gives::<ChannelView>(),
        Route::new(
            Method::POST,
            "/channels/{name}/rollback",
            Role::Admin,
            "Publish the content of an earlier generation, and stay there until a promotion",
            roll_back,
        )
        .takes::<RollbackRequest>()
        .gives::<ChannelView>(),
    ]
}

async fn list(State(app): State<Arc<App>>) -> List<ChannelView, Name> {
    let channels = app.engine.read(|s| s.profiles.iter().map(|(name, p)| view::channel(name, p)).collect());
    List(channels, |channel| channel.profile.clone())
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<Name>) -> Result<Json<ChannelView>, ApiError> {
    let found = app.engine.read(|s| s.profiles.get(&name).map(|p| view::channel(&name, p)));
    Ok(Json(found.ok_or(Refusal::UnknownProfile(name))?))
}

async fn contents(
    State(app): State<Arc<App>>,
    Path((profile, number)): Path<(Name, u64)>,
) -> Result<Json<GenerationContents>, ApiError> {
    let found = app.engine.read(|swarm| {
        let known = swarm.profiles.get(&profile).ok_or_else(|| Refusal::UnknownProfile(profile.clone()))?;
        view::generation(&profile, known, number).ok_or_else(|| {
            let kept = known.generations().map(|generation| generation.number).collect();
            Refusal::UnknownGeneration { profile: profile.clone(), generation: Some(number), kept }
        })
    });
    Ok(Json(found?))
}

async fn pin(
    State(app): State<Arc<App>>,
    Path((profile, generation)): Path<(Name, u64)>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<ChannelView>, ApiError> {
    let PinRequest { note } = read_json_if_any(body, app.config.limits.body_idle()).await?;
    app.engine.submit(Command::PinGeneration { profile: profile.clone(), generation, note }, key).await?;
    show(State(app), Path(profile)).await
}

async fn unpin(
    State(app): State<Arc<App>>,
    Path((profile, generation)): Path<(Name, u64)>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Json<ChannelView>, ApiError> {
    app.engine.submit(Command::UnpinGeneration { profile: profile.clone(), generation }, key).await?;
    show(State(app), Path(profile)).await
}

async fn promote(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<ChannelView>, ApiError> {
    let PromoteRequest { generation } = read_json_if_any(body, app.config.limits.body_idle()).await?;
    app.engine.submit(Command::Promote { profile: name.clone(), generation }, key).await?;
    show(State(app), Path(name)).await
}

async fn roll_back(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<ChannelView>, ApiError> {
    let RollbackRequest { generation } = read_json(body, app.config.limits.body_idle()).await?;
    app.engine.submit(Command::RollBack { profile: name.clone(), generation }, key).await?;
    show(State(app), Path(name)).await
}
