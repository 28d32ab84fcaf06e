//! The key that clients must trust. It is public, so everybody may have it; whether to
//! trust it is a question of the way it came, which `swarmctl client setup` speaks of.

use super::{
    problem::ApiError,
    route::{Role, Route},
};
use crate::app::App;
use axum::{Json, extract::State, http::Method};
use std::sync::Arc;
use swarm_common::wire::view::KeyView;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/key", Role::Anyone, "The key that signs the packages", key)
            .gives::<KeyView>(),
    ]
}

async fn key(State(app): State<Arc<App>>) -> Result<Json<KeyView>, ApiError> {
    let absent = || ApiError::Absent("signing is off: packages are published as drones made them".into());
    app.receiving.key_view().map(Json).ok_or_else(absent)
}
