//! Running the resolver: `plan.py` inside Portage's own Python, its answer as a report.
//!
//! The script uses Portage's resolver from within, because `emerge --pretend` prints
//! neither the kinds of dependencies nor what breaks a cycle. It is part of this program,
//! is written into the attempt's directory, and says everything in one JSON file; what it
//! prints is for the log only.

use super::{
    Stop,
    steps::{Step, Steps},
};
use crate::buildroot::Scratch;
use std::fs;
use swarm_common::{
    state::{FailureClass, Phase},
    wire::plan::PlanReport,
};

const SCRIPT: &str = include_str!("plan.py");
/// A plan of a whole desktop takes some 2 MB; this is far more.
const MAX_REPORT_BYTES: u64 = 256 << 20;

/// Makes the plan of the snapshot's world.
pub(super) async fn plan(root: &Scratch, steps: &mut Steps) -> Result<PlanReport, Stop> {
    let disk = |what: &str, e: std::io::Error| {
        Stop::failed(FailureClass::Drone, Phase::Preparing, format!("{what}: {e}"))
    };
    let paths = root.paths();
    let (script, report) = (paths.attempt.join("plan.py"), paths.attempt.join("plan.json"));
    fs::write(&script, SCRIPT).map_err(|e| disk("the resolver's script cannot be written", e))?;
    steps.phase(Phase::Building).await;
    let step = Step {
        program: root.python(),
        args: vec![script.into(), paths.snapshot.join("world").into(), report.clone().into()],
        env: Vec::new(),
        dependencies_of: None,
        root,
    };
    let succeeded = steps.run(step).await?;
    if !succeeded {
        // The snapshot is what a plan is made of: another drone would say the same.
        return Err(steps.failed(FailureClass::Package));
    }
    let size = fs::metadata(&report).map_err(|e| disk("the resolver left no report", e))?.len();
    if size > MAX_REPORT_BYTES {
        let message = format!("the plan has {size} bytes, more than {MAX_REPORT_BYTES}");
        return Err(Stop::failed(FailureClass::Package, Phase::Building, message));
    }
    let text = fs::read(&report).map_err(|e| disk("the resolver's report cannot be read", e))?;
    serde_json::from_slice(&text).map_err(|e| {
        Stop::failed(
            FailureClass::Drone,
            Phase::Building,
            format!("the resolver's report is not a plan: {e}"),
        )
    })
}
