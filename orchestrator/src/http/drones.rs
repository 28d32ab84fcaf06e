//! Drones, as an admin sees and manages them.

use super::{
    auth::IdempotencyKey,
    list::List,
    problem::ApiError,
    route::{Role, Route},
};
use crate::app::App;
use axum::{
    extract::{Path, State},
    http::Method,
};
use std::sync::Arc;
use swarm_common::{id::DroneId, wire::view::DroneView};
use swarm_core::{Command, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/drones", Role::Admin, "List drones", list)
            .gives_list::<DroneView>()
            .paged(),
        Route::new(Method::POST, "/drones/{drone}/approve", Role::Admin, "Approve a pending drone", approve),
        Route::new(Method::POST, "/drones/{drone}/drain", Role::Admin, "Drain a drone", drain),
        Route::new(Method::POST, "/drones/{drone}/resume", Role::Admin, "Resume a drone", resume),
        Route::new(
            Method::POST,
            "/drones/{drone}/protect",
            Role::Admin,
            "Protect a drone's machine from reboots",
            protect,
        ),
        Route::new(
            Method::POST,
            "/drones/{drone}/unprotect",
            Role::Admin,
            "Allow healing to reboot a drone's machine again",
            unprotect,
        ),
        Route::new(
            Method::POST,
            "/drones/{drone}/confirm-reboot",
            Role::Admin,
            "Confirm the reboot of a silent drone's machine",
            confirm_reboot,
        ),
        Route::new(
            Method::DELETE,
            "/drones/{drone}",
            Role::Admin,
            "Remove a drone and revoke its credential",
            remove,
        ),
    ]
}

async fn list(State(app): State<Arc<App>>) -> List<DroneView, DroneId> {
    let now = app.engine.now();
    List(app.engine.read(|swarm| view::drones(swarm, now)), |drone| drone.id)
}

async fn approve(
    State(app): State<Arc<App>>,
    Path(drone): Path<DroneId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::ApproveDrone(drone), key).await?;
    Ok(())
}

async fn drain(
    State(app): State<Arc<App>>,
    Path(drone): Path<DroneId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::DrainDrone(drone), key).await?;
    Ok(())
}

async fn resume(
    State(app): State<Arc<App>>,
    Path(drone): Path<DroneId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::ResumeDrone(drone), key).await?;
    Ok(())
}

async fn protect(
    State(app): State<Arc<App>>,
    Path(drone): Path<DroneId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::ProtectDrone { drone, protected: true }, key).await?;
    Ok(())
}

async fn unprotect(
    State(app): State<Arc<App>>,
    Path(drone): Path<DroneId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::ProtectDrone { drone, protected: false }, key).await?;
    Ok(())
}

async fn confirm_reboot(
    State(app): State<Arc<App>>,
    Path(drone): Path<DroneId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::ConfirmReboot(drone), key).await?;
    Ok(())
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(drone): Path<DroneId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::RemoveDrone(drone), key).await?;
    Ok(())
}
