//! Bases and their images: an admin uploads an image, drones download it.

use super::{
    archive::{self, KIND},
    auth::IdempotencyKey,
    body::read_json,
    bounds,
    list::List,
    problem::ApiError,
    route::{Limit, Role, Route},
};
use crate::{
    app::App,
    store::{
        disk::DiskError,
        images::{NewImage, TakeError},
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Method, header},
    response::Response,
};
use std::sync::Arc;
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::base::{BaseRequest, BaseView, FollowRequest},
};
use swarm_core::{Command, Refusal, view};
use swarm_formats::image::ImageError;
use tokio::task::{JoinError, spawn_blocking};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/bases", Role::Admin, "List bases", list).gives_list::<BaseView>().paged(),
        Route::new(Method::GET, "/bases/{name}", Role::Admin, "Show a base", show).gives::<BaseView>(),
        Route::new(Method::PUT, "/bases/{name}", Role::Admin, "Create a base or a new generation of it", put)
            .takes::<BaseRequest>()
            .gives::<BaseView>(),
        Route::new(
            Method::POST,
            "/bases/{name}/rollback",
            Role::Admin,
            "Roll back to the previous generation",
            roll_back,
        )
        .gives::<BaseView>(),
        Route::new(
            Method::PUT,
            "/bases/{name}/follow",
            Role::Admin,
            "Set whether a base follows the tree",
            follow,
        )
        .takes::<FollowRequest>()
        .gives::<BaseView>(),
        Route::new(Method::DELETE, "/bases/{name}", Role::Admin, "Remove a base", remove),
        Route::new(Method::PUT, "/images/{digest}", Role::Admin, "Upload the image of a base", put_image)
            .takes_bytes(KIND, Limit::Image),
        Route::new(Method::GET, "/images/{digest}", Role::AdminOrDrone, "Download an image", get_image)
            .gives_bytes(KIND),
    ]
}

async fn list(State(app): State<Arc<App>>) -> List<BaseView, Name> {
    let bases = app.engine.read(|s| s.bases.iter().map(|(name, b)| view::base(s, name, b)).collect());
    List(bases, |base| base.name.clone())
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<Name>) -> Result<Json<BaseView>, ApiError> {
    let found = app.engine.read(|s| s.bases.get(&name).map(|b| view::base(s, &name, b)));
    Ok(Json(found.ok_or(Refusal::UnknownBase(name))?))
}

async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<BaseView>, ApiError> {
    let request: BaseRequest = read_json(body, app.config.limits.body_idle()).await?;
    [Some(&request.source), request.signed_by.as_ref()]
        .into_iter()
        .flatten()
        .try_for_each(|text| bounds::SOURCE.check_text(text))?;
    let digest = request.image;
    let images = app.images.clone();
    let Some(image) = spawn_blocking(move || images.find(digest)).await.map_err(broken)?? else {
        let text = format!("image {digest} is not stored: upload it first with PUT /api/v1/images/{digest}");
        return Err(ApiError::Unprocessable(text));
    };
    app.engine.submit(Command::PutBase { name: name.clone(), image, request }, key).await?;
    show(State(app), Path(name)).await
}

async fn roll_back(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Json<BaseView>, ApiError> {
    app.engine.submit(Command::RollBackBase(name.clone()), key).await?;
    show(State(app), Path(name)).await
}

async fn follow(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<BaseView>, ApiError> {
    let FollowRequest { follow } = read_json(body, app.config.limits.body_idle()).await?;
    app.engine.submit(Command::FollowBase { name: name.clone(), follow }, key).await?;
    show(State(app), Path(name)).await
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::RemoveBase(name), key).await?;
    Ok(())
}

async fn put_image(
    State(app): State<Arc<App>>,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let images = app.images.clone();
    let size = headers.get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
    let new = spawn_blocking(move || images.create(digest, size)).await.map_err(broken)??;
    archive::take(body, app.config.limits.body_idle(), new).await
}

fn broken(error: JoinError) -> ApiError {
    ApiError::Internal(error.to_string())
}

impl archive::Sink for NewImage {
    type Error = TakeError;

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        Self::write(self, bytes)
    }

    fn commit(self) -> Result<(), TakeError> {
        Self::commit(self)
    }
}

impl From<TakeError> for ApiError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Disk(error) => Self::Disk(error),
            TakeError::TooLarge { .. } => Self::NoSpace(error.to_string()),
            TakeError::Unsound(error @ (ImageError::Io { .. } | ImageError::Archive(_))) => {
                Self::Unprocessable(format!("cannot read the image: {error}"))
            }
            TakeError::Unsound(error) => Self::Unprocessable(format!("the image was rejected: {error}")),
        }
    }
}

async fn get_image(
    State(app): State<Arc<App>>,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let images = app.images.clone();
    archive::give(move || images.locate(digest), &format!("image {digest}"), &headers).await
}
