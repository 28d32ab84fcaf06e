//! Notification sinks as shown to an admin. The displayed addresses contain no secrets.

use crate::{state::Severity, time::TimeMs};
use serde::{Deserialize, Serialize};

/// `GET /notify`: state of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SinkView {
    /// Its name: kind and host.
    pub name: String,
    /// Messages of lower severity are not sent to it.
    pub minimum: Severity,
    /// Number of queued messages.
    pub waiting: u64,
    /// Number of messages dropped for later ones since the last delivery.
    pub dropped: u64,
    /// When something was last delivered since the orchestrator started.
    pub delivered_at: Option<TimeMs>,
    /// Error of the last delivery, if it failed.
    pub failing: Option<String>,
    /// Since when deliveries fail.
    pub failing_since: Option<TimeMs>,
    /// Time of the next retry.
    pub next_try: Option<TimeMs>,
    /// Whether it failed more than once in a row, which raises a concern.
    pub troubled: bool,
}

/// `POST /notify/test`: result of a test message to a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SinkTestView {
    /// Name of the sink.
    pub name: String,
    /// The error, if the delivery failed.
    pub failure: Option<String>,
    /// Duration of the delivery, in milliseconds.
    pub took_ms: u64,
}
