//! The answers to commands.

use serde::{Deserialize, Serialize};
use swarm_common::{
    id::{DroneId, PackageId, RunId},
    wire::drone::{ClaimReply, HeartbeatReply, ReportReply},
};

/// The answer to a command that was not refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, or nothing was to be done.
    Done,
    Drone(DroneId),
    Run(RunId),
    /// The packages that the command affects.
    Packages(Vec<PackageId>),
    Claim(Box<ClaimReply>),
    Heartbeat(HeartbeatReply),
    Report(ReportReply),
}
