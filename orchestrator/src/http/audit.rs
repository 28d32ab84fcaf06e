//! Whether everything that is kept is whole: the journal's chain of hashes, and every
//! artifact's bytes.

use super::{
    problem::ApiError,
    route::{Role, Route},
};
use crate::{
    app::App,
    artifact::store::{Store, StoreError},
};
use axum::{Json, extract::State, http::Method};
use std::{collections::BTreeMap, sync::Arc};
use swarm_common::{digest::Digest, wire::view::AuditView};
use swarm_core::view;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/audit", Role::Admin, "Check the journal and every artifact", audit)
            .gives::<AuditView>(),
    ]
}

async fn audit(State(app): State<Arc<App>>) -> Result<Json<AuditView>, ApiError> {
    let mut faults = Vec::new();
    let (events, head) = match app.engine.audit().await {
        Ok(whole) => (whole.events, whole.head),
        Err(error) => {
            faults.push(format!("the journal: {error}"));
            (0, Digest([0; 32]))
        }
    };
    let artifacts: BTreeMap<Digest, String> = app.engine.read(|swarm| {
        view::artifacts(swarm, None).into_iter().map(|a| (a.digest, a.target.path())).collect()
    });
    let count = artifacts.len() as u64;
    let store = app.store.clone();
    let found = tokio::task::spawn_blocking(move || damaged(&store, &artifacts))
        .await
        .map_err(|error| ApiError::Internal(format!("the audit broke off: {error}")))?;
    faults.extend(found);
    Ok(Json(AuditView { events, head, artifacts: count, faults }))
}

fn damaged(store: &Store, artifacts: &BTreeMap<Digest, String>) -> Vec<String> {
    let fault = |(digest, path): (&Digest, &String)| match store.verify(*digest) {
        Ok(_) => None,
        Err(error @ (StoreError::Damaged { .. } | StoreError::Absent(_) | StoreError::Disk(_))) => {
            Some(format!("{path}: {error}"))
        }
    };
    artifacts.iter().filter_map(fault).collect()
}
