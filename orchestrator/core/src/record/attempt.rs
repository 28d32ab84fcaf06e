//! How attempts ended.

use super::structs;
use swarm_common::{
    state::{FailureCause, FailureClass, Phase},
    wire::drone,
};

structs! {
    /// Time and memory that an attempt used.
    Usage of drone::Usage {
        wall_ms: u64,
        cpu_ms: u64,
        peak_memory_bytes: u64,
    }

    /// Why an attempt failed, as its drone reported it.
    Failure of drone::Failure {
        class: FailureClass,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<FailureCause>,
        phase: Phase,
        signature: String,
        message: String,
    }

    /// Why a delivery was rejected. Versions before 0.2 recorded no kind.
    Rejection of drone::Rejection {
        #[serde(default)]
        kind: String,
        reason: String,
    }
}
