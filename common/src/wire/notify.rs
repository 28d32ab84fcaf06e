//! Notification sinks as shown to an administrator. The displayed addresses contain no secrets.

use crate::{state::Severity, time::TimeMs};
use serde::{Deserialize, Serialize};

/// `GET /notify`: a sink and how it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SinkView {
    /// What it is called: kind and host.
    pub name: String,
    /// What matters less is not sent to it.
    pub minimum: Severity,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Messages that gave way to later ones since it was last reached.
    pub dropped: u64,
    /// When something was last delivered since the orchestrator started.
    pub delivered_at: Option<TimeMs>,
    /// Why the last delivery failed, if it did.
    pub failing: Option<String>,
    /// Since when deliveries fail.
    pub failing_since: Option<TimeMs>,
    /// When it is tried again.
    pub next_try: Option<TimeMs>,
    /// It has failed more than once in a row, which is a concern.
    pub troubled: bool,
}

/// `POST /notify/test`: whether a sink took a test message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SinkTestView {
    /// What the sink is called.
    pub name: String,
    /// Why it did not; nothing if it did.
    pub failure: Option<String>,
    /// How long that took.
    pub took_ms: u64,
}
