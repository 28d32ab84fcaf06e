//! The public keys that clients must trust. Anyone may fetch them; whether to trust them depends on
//! how they were obtained, which `swarmctl client setup` explains.

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
        Route::new(Method::GET, "/key", Role::Anyone, "Show the public signing keys", key).gives::<KeyView>(),
    ]
}

async fn key(State(app): State<Arc<App>>) -> Result<Json<KeyView>, ApiError> {
    let absent = || ApiError::Absent("signing is off: packages are published unsigned".into());
    app.keys.clone().map(Json).ok_or_else(absent)
}
