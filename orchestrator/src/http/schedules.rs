//! Schedules, and pausing the swarm.

use super::{
    auth::IdempotencyKey,
    body::{check_reason, read_json},
    bounds,
    list::List,
    problem::ApiError,
    route::{Role, Route},
};
use crate::{app::App, passes::calendar::due::DueTimes};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::Method,
};
use std::sync::Arc;
use swarm_common::{
    name::Name,
    wire::calendar::{PauseRequest, PauseView, ScheduleRequest, ScheduleView},
};
use swarm_core::{Command, Refusal, view};

/// Number of due times to show.
const SHOWN: usize = 3;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/schedules", Role::Admin, "List schedules", list)
            .gives_list::<ScheduleView>()
            .paged(),
        Route::new(Method::PUT, "/schedules/{name}", Role::Admin, "Set a schedule", put)
            .takes::<ScheduleRequest>()
            .gives::<ScheduleView>(),
        Route::new(Method::DELETE, "/schedules/{name}", Role::Admin, "Remove a schedule", remove),
        Route::new(Method::POST, "/pause", Role::Admin, "Pause the swarm for some time", pause)
            .takes::<PauseRequest>()
            .gives::<PauseView>(),
        Route::new(Method::DELETE, "/pause", Role::Admin, "End the pause", unpause),
    ]
}

/// All schedules, with their next due times.
fn schedules(app: &App) -> Vec<ScheduleView> {
    let mut all = app.engine.read(view::schedules);
    for schedule in &mut all {
        let (times, first) =
            (DueTimes::read(&schedule.cron, &schedule.zone), schedule.upcoming.first().copied());
        // The schedule pass reports a schedule that has no next due time.
        if let (Ok(times), Some(first)) = (times, first) {
            schedule.upcoming.extend(times.upcoming(first, SHOWN - 1));
        }
    }
    all
}

async fn list(State(app): State<Arc<App>>) -> List<ScheduleView, Name> {
    List(schedules(&app), |schedule| schedule.profile.clone())
}

async fn put(
    State(app): State<Arc<App>>,
    Path(profile): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<ScheduleView>, ApiError> {
    let request: ScheduleRequest = read_json(body, app.config.limits.body_idle()).await?;
    bounds::ZONE.check_text(&request.zone)?;
    let invalid = |error: crate::passes::calendar::due::DueError| ApiError::Unprocessable(error.to_string());
    let times = DueTimes::read(&request.cron, &request.zone).map_err(invalid)?;
    let forecast = times.forecast(app.engine.wall()).map_err(invalid)?;
    let request = ScheduleRequest { cron: times.text().to_owned(), zone: times.zone().to_owned(), ..request };
    app.engine.submit(Command::PutSchedule { profile: profile.clone(), request, forecast }, key).await?;
    let made = schedules(&app).into_iter().find(|s| s.profile == profile);
    Ok(Json(made.ok_or(Refusal::UnknownSchedule(profile))?))
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(profile): Path<Name>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(), ApiError> {
    app.engine.submit(Command::RemoveSchedule(profile), key).await?;
    Ok(())
}

async fn pause(
    State(app): State<Arc<App>>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body,
) -> Result<Json<PauseView>, ApiError> {
    let PauseRequest { for_ms, reason } = read_json(body, app.config.limits.body_idle()).await?;
    check_reason(&reason)?;
    app.engine.submit(Command::Pause { for_ms, reason }, key).await?;
    let now = app.engine.now();
    let pause = app.engine.read(|swarm| view::pause(swarm, now));
    Ok(Json(pause.ok_or_else(|| ApiError::Unavailable("the pause has already ended".into()))?))
}

async fn unpause(State(app): State<Arc<App>>, IdempotencyKey(key): IdempotencyKey) -> Result<(), ApiError> {
    app.engine.submit(Command::Unpause, key).await?;
    Ok(())
}
