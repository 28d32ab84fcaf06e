//! The audit of everything that is stored.

use super::{
    problem::ApiError,
    route::{Role, Route},
};
use crate::{
    app::App,
    audit::{self, Pace},
};
use axum::{Json, extract::State, http::Method};
use std::sync::Arc;
use swarm_common::wire::view::AuditView;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/audit", Role::Admin, "Check the journal and every artifact", audit)
            .gives::<AuditView>(),
    ]
}

async fn audit(State(app): State<Arc<App>>) -> Result<Json<AuditView>, ApiError> {
    let found = audit::audit(&app.auditor, Pace::Fast).await;
    found.map(Json).map_err(|error| ApiError::Internal(format!("the audit panicked: {error}")))
}
