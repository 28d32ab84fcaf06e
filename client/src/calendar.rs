//! Schedules, timers of other machines, and the pause.

use super::{Client, ClientError, IdempotencyKey, call::Call};
use reqwest::Method;
use swarm_common::{name::Name, wire::calendar::*};

impl Client {
    /// Every schedule, by profile.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, ClientError> {
        self.json(Call::get(&["schedules"])).await
    }

    /// Creates or replaces the schedule that starts runs of a profile.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the cron expression or the time zone is invalid.
    pub async fn put_schedule(
        &self,
        profile: &Name,
        request: &ScheduleRequest,
        key: &IdempotencyKey,
    ) -> Result<ScheduleView, ClientError> {
        let call = Call::new(Method::PUT, &["schedules", profile.as_str()]);
        self.json(call.json(request).once(key)).await
    }

    /// Deletes a profile's schedule.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if there is no schedule.
    pub async fn remove_schedule(&self, profile: &Name, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["schedules", profile.as_str()]).once(key)).await
    }

    /// Reports that a timer has updated a profile and will do so again.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the interval is out of range.
    pub async fn put_timer(
        &self,
        profile: &Name,
        request: &TimerRequest,
        key: &IdempotencyKey,
    ) -> Result<(), ClientError> {
        let call = Call::new(Method::PUT, &["profiles", profile.as_str(), "timer"]);
        self.done(call.json(request).once(key)).await
    }

    /// Reports that no timer updates a profile any more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_timer(&self, profile: &Name, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["profiles", profile.as_str(), "timer"]).once(key)).await
    }

    /// Pauses the swarm: it assigns no work until the pause ends.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the pause is too long.
    pub async fn pause(
        &self,
        request: &PauseRequest,
        key: &IdempotencyKey,
    ) -> Result<PauseView, ClientError> {
        self.json(Call::post(&["pause"]).json(request).once(key)).await
    }

    /// Ends the pause.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unpause(&self, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["pause"]).once(key)).await
    }
}
