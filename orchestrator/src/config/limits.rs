//! The `[limits]` section.

use serde::Deserialize;
use std::time::Duration;
use swarm_common::state::Caller;
use swarm_daemon::config::{Size, Span};

/// `[limits]`: limits for input from the network.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Simultaneous connections: a quarter for callers without a credential, a quarter for
    /// workstations, three eighths for drones, an eighth for admins. Default 1024.
    pub connections: usize,
    /// Simultaneous connections of one drone, or, without a credential, of one address (for IPv6,
    /// one /64). Default 64.
    pub connections_per_address: usize,
    /// How long a request's header may take, and a connection may be idle. Default 15 s.
    pub header_timeout: Span,
    /// How long a request's body may pause. Default 15 s.
    pub body_idle_timeout: Span,
    /// Largest report. Plans are the largest: 16 MiB, the default, is enough for about 6,000
    /// packages. Processing one takes up to eight times its size in memory.
    pub plan_size: Size,
    /// Largest piece of a log. Default 1 MiB.
    pub log_piece_size: Size,
    /// Largest package file. Default 8 GiB.
    pub upload_size: Size,
    /// Size of all files of one attempt together. Default 16 GiB.
    pub attempt_size: Size,
    /// Largest index of a profile, including what a run adds. A package that would exceed it is
    /// rejected. Default 64 MiB, enough for 40,000 packages.
    pub index_size: Size,
    /// Largest compressed snapshot. Default 2 GiB.
    pub snapshot_size: Size,
    /// Largest compressed image of a base. Default 4 GiB.
    pub image_size: Size,
    /// How long an assignment waits for the index to catch up. Default 10 s. A drone abandons a claim
    /// 15 s after its wait time.
    pub publish_wait: Span,
    /// How long open requests get to finish when the orchestrator stops. Default 10 s.
    pub drain_timeout: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 64,
            header_timeout: Span::from_secs(15),
            body_idle_timeout: Span::from_secs(15),
            plan_size: Size::from_mib(16),
            log_piece_size: Size::from_mib(1),
            upload_size: Size::from_gib(8),
            attempt_size: Size::from_gib(16),
            index_size: Size::from_mib(64),
            snapshot_size: Size::from_gib(2),
            image_size: Size::from_gib(4),
            publish_wait: Span::from_secs(10),
            drain_timeout: Span::from_secs(10),
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, time) in
            [("body_idle_timeout", self.body_idle_timeout), ("header_timeout", self.header_timeout)]
        {
            if time == Span::default() {
                return Err(format!("`{name}` of `[limits]` must be more than 0"));
            }
        }
        if self.connections_per_address == 0 {
            return Err("`connections_per_address` of `[limits]` must be at least 1".into());
        }
        if self.connections < 8 {
            return Err("`connections` of `[limits]` must be at least 8".into());
        }
        Ok(())
    }

    /// The most connections of callers of this kind.
    #[must_use]
    pub fn share(&self, caller: Caller) -> usize {
        let eighth = self.connections / 8;
        match caller {
            Caller::Stranger | Caller::Workstation => eighth * 2,
            Caller::Drone => eighth * 3,
            Caller::Admin => eighth,
        }
    }

    /// [`Limits::body_idle_timeout`] as a duration.
    #[must_use]
    pub fn body_idle(&self) -> Duration {
        self.body_idle_timeout.duration()
    }

    /// [`Limits::header_timeout`] as a duration.
    #[must_use]
    pub fn header(&self) -> Duration {
        self.header_timeout.duration()
    }

    /// [`Limits::publish_wait`] as a duration.
    #[must_use]
    pub fn publish_wait(&self) -> Duration {
        self.publish_wait.duration()
    }

    /// [`Limits::drain_timeout`] as a duration.
    #[must_use]
    pub fn drain(&self) -> Duration {
        self.drain_timeout.duration()
    }
}
