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
    /// The drone that was enrolled.
    Drone(DroneId),
    /// The run that was started.
    Run(RunId),
    /// The packages affected.
    Packages(Vec<PackageId>),
    Claim(Box<ClaimReply>),
    Heartbeat(HeartbeatReply),
    Report(ReportReply),
}
