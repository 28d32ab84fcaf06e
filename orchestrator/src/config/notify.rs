//! The `[notify]` section.

use crate::sink::Sink;
use serde::Deserialize;
use swarm_daemon::config::Span;

/// `[notify]`: what is sent, and where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// How long concerns are collected into one message. Default: 10 min.
    pub window: Span,
    /// The destinations of messages. Default: none.
    pub sink: Vec<Sink>,
}

impl Default for Notify {
    fn default() -> Self {
        Self { window: Span::from_secs(600), sink: Vec::new() }
    }
}
