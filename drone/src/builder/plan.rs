//! Running the resolver: a script inside Portage's own Python, its answer as a report.
//!
//! The script uses Portage's resolver from within, because `emerge --pretend` prints
//! neither the kinds of dependencies nor what breaks a cycle. It is part of this program,
//! is written into the attempt's directory, and says everything in one JSON file; what it
//! prints is for the log only.

use super::{
    Stop,
    steps::{Step, Steps},
};
use crate::buildroot::Root;
use std::fs;
use swarm_common::{
    state::{FailureClass, Phase},
    wire::plan::PlanReport,
};

/// The script: a directory that Python runs as a program.
const SCRIPT: [(&str, &str); 11] = [
    ("__main__.py", include_str!("plan/__main__.py")),
    ("cycles.py", include_str!("plan/cycles.py")),
    ("digests.py", include_str!("plan/digests.py")),
    ("fields.py", include_str!("plan/fields.py")),
    ("flags.py", include_str!("plan/flags.py")),
    ("live.py", include_str!("plan/live.py")),
    ("planning.py", include_str!("plan/planning.py")),
    ("proof.py", include_str!("plan/proof.py")),
    ("refusals.py", include_str!("plan/refusals.py")),
    ("report.py", include_str!("plan/report.py")),
    ("resolver.py", include_str!("plan/resolver.py")),
];
/// The file that it writes.
const REPORT: &str = "report.json";
/// A plan of a whole desktop takes some 2 MB; this is far more.
const MAX_REPORT_BYTES: u64 = 256 << 20;

/// Makes the plan of the snapshot's world.
pub(super) async fn plan(root: &Root, steps: &mut Steps) -> Result<PlanReport, Stop> {
    let disk = |what: &str, e: std::io::Error| {
        Stop::failed(FailureClass::Drone, Phase::Preparing, format!("{what}: {e}"))
    };
    let (script, seen) = (&root.outside().plan, root.inside());
    let written = SCRIPT.iter().try_for_each(|(name, text)| fs::write(script.join(name), text));
    written.map_err(|e| disk("the resolver's script cannot be written", e))?;
    steps.phase(Phase::Building).await;
    let step = Step {
        program: root.python(),
        args: vec![
            seen.plan.clone().into(),
            seen.snapshot.join("world").into(),
            seen.plan.join(REPORT).into(),
        ],
        env: Vec::new(),
        root,
    };
    let succeeded = steps.run(step).await?;
    if !succeeded {
        // The snapshot is what a plan is made of: another drone would say the same.
        return Err(steps.failed(FailureClass::Package));
    }
    let report = script.join(REPORT);
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
