//! The answers to commands with an idempotency key.

use super::Recorded;
use crate::reply;
use serde::{Deserialize, Serialize};
use swarm_common::id::{DroneId, PackageId, RunId};

/// The answer to an admin's command.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Done,
    Drone(DroneId),
    Run(RunId),
    Packages(Vec<PackageId>),
}

impl Recorded for reply::Reply {
    type As = Reply;

    fn record(&self) -> Reply {
        match self {
            // Drones repeat requests without idempotency keys.
            Self::Done | Self::Claim(_) | Self::Heartbeat(_) | Self::Report(_) => Reply::Done,
            Self::Drone(drone) => Reply::Drone(*drone),
            Self::Run(run) => Reply::Run(*run),
            Self::Packages(packages) => Reply::Packages(packages.clone()),
        }
    }

    fn restore(written: Reply) -> Self {
        match written {
            Reply::Done => Self::Done,
            Reply::Drone(drone) => Self::Drone(drone),
            Reply::Run(run) => Self::Run(run),
            Reply::Packages(packages) => Self::Packages(packages),
        }
    }
}
