//! Schedules and the pause.

use super::{Client, ClientError, IdempotencyKey, call::Call};
use crate::{name::Name, wire::calendar::*};
use reqwest::Method;

impl Client {
    /// Every schedule, by profile.
    ///
    /// # Errors
    /// As every request.
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, ClientError> {
        self.json(Call::get(&["schedules"])).await
    }

    /// Has runs of a profile start by themselves.
    ///
    /// # Errors
    /// As every request; text or zone may be none.
    pub async fn put_schedule(
        &self,
        profile: &Name,
        request: &ScheduleRequest,
        key: &IdempotencyKey,
    ) -> Result<ScheduleView, ClientError> {
        let call = Call::new(Method::PUT, &["schedules", profile.as_str()]);
        self.json(call.json(request).once(key)).await
    }

    /// Has runs of a profile start by themselves no more.
    ///
    /// # Errors
    /// As every request; there may be no schedule.
    pub async fn remove_schedule(&self, profile: &Name, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["schedules", profile.as_str()]).once(key)).await
    }

    /// Hands out no work for a while.
    ///
    /// # Errors
    /// As every request; the pause may be too long.
    pub async fn pause(
        &self,
        request: &PauseRequest,
        key: &IdempotencyKey,
    ) -> Result<PauseView, ClientError> {
        self.json(Call::post(&["pause"]).json(request).once(key)).await
    }

    /// Hands out work again.
    ///
    /// # Errors
    /// As every request.
    pub async fn unpause(&self, key: &IdempotencyKey) -> Result<(), ClientError> {
        self.done(Call::new(Method::DELETE, &["pause"]).once(key)).await
    }
}
