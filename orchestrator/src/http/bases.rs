//! Bases, and the images that they are made of: an admin sends them, drones fetch images.

use super::{
    auth::Once,
    body::{Pieces, read_json},
    problem::ApiError,
    route::{Limit, Role, Route},
};
use crate::{
    app::App,
    artifact::disk::DiskError,
    images::{NewImage, TakeError},
    publish::conditional::{self, Bytes as Wanted},
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use std::{io::ErrorKind, sync::Arc};
use swarm_common::{
    digest::Digest,
    format::image::ImageError,
    name::Name,
    wire::base::{BaseRequest, BaseView},
};
use swarm_core::{Command, Refusal, base};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, spawn_blocking},
};

/// Pieces between the connection and the disk.
const IN_FLIGHT: usize = 8;

/// Characters that say where a base came from.
const LONGEST_SOURCE: usize = 500;

/// Media type of a compressed archive.
const KIND: &str = "application/zstd";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/bases", Role::Admin, "Every base", list).gives_list::<BaseView>(),
        Route::new(Method::GET, "/bases/{name}", Role::Admin, "One base", show).gives::<BaseView>(),
        Route::new(Method::PUT, "/bases/{name}", Role::Admin, "Make a base, or a new generation of it", put)
            .takes::<BaseRequest>()
            .gives::<BaseView>(),
        Route::new(
            Method::POST,
            "/bases/{name}/rollback",
            Role::Admin,
            "Use the generation before the last one again",
            roll_back,
        )
        .gives::<BaseView>(),
        Route::new(Method::DELETE, "/bases/{name}", Role::Admin, "Forget a base", remove),
        Route::new(Method::PUT, "/images/{digest}", Role::Admin, "Send the image of a base", put_image)
            .takes_bytes(KIND, Limit::Image),
        Route::new(Method::GET, "/images/{digest}", Role::AdminOrDrone, "Fetch an image", get_image)
            .gives_bytes(KIND),
    ]
}

async fn list(State(app): State<Arc<App>>) -> Json<Vec<BaseView>> {
    Json(app.engine.read(|s| s.bases.iter().map(|(name, b)| base::view(s, name, b)).collect()))
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<Name>) -> Result<Json<BaseView>, ApiError> {
    let found = app.engine.read(|s| s.bases.get(&name).map(|b| base::view(s, &name, b)));
    Ok(Json(found.ok_or(Refusal::UnknownBase(name))?))
}

async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    Once(key): Once,
    body: Body,
) -> Result<Json<BaseView>, ApiError> {
    let request: BaseRequest = read_json(body, app.config.limits.body_idle()).await?;
    let texts = [Some(&request.source), request.signed_by.as_ref()];
    if texts.into_iter().flatten().any(|text| text.chars().count() > LONGEST_SOURCE) {
        return Err(ApiError::Unprocessable(format!(
            "source and signed_by have at most {LONGEST_SOURCE} characters"
        )));
    }
    let digest = request.image;
    let images = app.images.clone();
    let Some(image) = spawn_blocking(move || images.find(digest)).await.map_err(broken)?? else {
        let text = format!("image {digest} is not here: send it first as PUT /api/v1/images/{digest}");
        return Err(ApiError::Unprocessable(text));
    };
    app.engine.submit(Command::PutBase { name: name.clone(), image, request }, key).await?;
    show(State(app), Path(name)).await
}

async fn roll_back(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    Once(key): Once,
) -> Result<Json<BaseView>, ApiError> {
    app.engine.submit(Command::RollBackBase(name.clone()), key).await?;
    show(State(app), Path(name)).await
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<Name>,
    Once(key): Once,
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
    let new = spawn_blocking(move || images.create(digest, size)).await.map_err(broken)?;
    let new = new.map_err(refuse)?;
    let (sender, receiver) = mpsc::channel::<Bytes>(IN_FLIGHT);
    let (whole_sender, whole) = oneshot::channel::<()>();
    let writer = spawn_blocking(move || write(new, receiver, whole));
    let mut pieces = Pieces::new(body, app.config.limits.body_idle());
    let broken_off = loop {
        match pieces.next().await {
            Ok(Some(piece)) => {
                if sender.send(piece).await.is_err() {
                    break None;
                }
            }
            Ok(None) => {
                // Without this word the writer drops what has come.
                let _told = whole_sender.send(());
                break None;
            }
            Err(error) => break Some(error),
        }
    };
    drop(sender);
    let written = writer.await.map_err(broken)?;
    match broken_off {
        Some(error) => Err(error),
        None => written.map_err(refuse),
    }
}

fn broken(error: JoinError) -> ApiError {
    ApiError::Internal(format!("taking the image broke off: {error}"))
}

fn refuse(error: TakeError) -> ApiError {
    match error {
        TakeError::Disk(error) => ApiError::Disk(error),
        TakeError::TooLarge { .. } => ApiError::NoSpace(error.to_string()),
        TakeError::Unsound(error @ (ImageError::Io { .. } | ImageError::Archive(_))) => {
            ApiError::Unprocessable(format!("the image cannot be read: {error}"))
        }
        TakeError::Unsound(error) => ApiError::Unprocessable(format!("the image is refused: {error}")),
    }
}

fn write(
    mut new: NewImage,
    mut pieces: mpsc::Receiver<Bytes>,
    mut whole: oneshot::Receiver<()>,
) -> Result<(), TakeError> {
    while let Some(piece) = pieces.blocking_recv() {
        new.write(&piece)?;
    }
    match whole.try_recv() {
        Ok(()) => new.commit(),
        // The body broke off; the sender says so.
        Err(_) => Ok(()),
    }
}

async fn get_image(
    State(app): State<Arc<App>>,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = app.images.path(digest);
    let file = match tokio::fs::File::open(&path).await {
        Ok(file) => file.into_std().await,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ApiError::Absent(format!("image {digest} is not here")));
        }
        Err(error) => return Err(DiskError::new("open", &path, error).into()),
    };
    let size = file.metadata().map_err(DiskError::at("look at", &path))?.len();
    // A download that broke off goes on where it stood.
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, first, length, part) = match conditional::range(asked, None, size, 0) {
        Wanted::All => (StatusCode::OK, 0, size, None),
        Wanted::Part { first, last } => {
            let part = format!("bytes {first}-{last}/{size}");
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1, Some(part))
        }
        Wanted::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0, Some(format!("bytes */{size}"))),
    };
    let headers = [(header::CONTENT_TYPE, KIND.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    let part = part.map(|part| [(header::CONTENT_RANGE, part)]);
    Ok((status, headers, part, super::file::body(file, first, length)).into_response())
}
