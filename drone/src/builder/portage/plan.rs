//! Makes a plan by running Portage's resolver in a Python script.
//!
//! The script imports Portage's resolver, because `emerge --pretend` prints neither the kinds of dependencies
//! nor how a cycle is broken. The script is embedded in this program and written to the attempt's directory.
//! It writes its result to a JSON file; its output goes only to the log.

use super::{root::Root, step::Step};
use crate::builder::{Stop, steps::Steps};
use std::fs;
use swarm_common::{
    state::{FailureClass, Phase},
    wire::plan::PlanReport,
};

/// The script: a directory with a `__main__.py`.
const SCRIPT: [(&str, &str); 12] = [
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
    ("sourced.py", include_str!("plan/sourced.py")),
];
/// The file that the script writes.
const REPORT: &str = "report.json";
/// Maximum size of the report. The plan of a full desktop takes about 2 MB.
const MAX_REPORT_BYTES: u64 = 256 << 20;

/// Makes the plan for the world set of the snapshot.
pub(super) async fn plan(root: &Root, steps: &mut Steps) -> Result<PlanReport, Stop> {
    let disk = |what: &str, e: std::io::Error| {
        Stop::failed(FailureClass::Drone, Phase::Preparing, format!("{what}: {e}"))
    };
    let (script, seen) = (&root.outside().plan, root.inside());
    let written = SCRIPT.iter().try_for_each(|(name, text)| fs::write(script.join(name), text));
    written.map_err(|e| disk("cannot write the resolver's script", e))?;
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
    let succeeded = step.run(steps).await?;
    if !succeeded {
        // The plan depends only on the snapshot, so another drone would fail the same way.
        return Err(steps.failed(FailureClass::Package));
    }
    let report = script.join(REPORT);
    let size = fs::metadata(&report).map_err(|e| disk("the resolver wrote no report", e))?.len();
    if size > MAX_REPORT_BYTES {
        let message = format!("the plan has {size} bytes; the limit is {MAX_REPORT_BYTES}");
        return Err(Stop::failed(FailureClass::Package, Phase::Building, message));
    }
    let text = fs::read(&report).map_err(|e| disk("cannot read the resolver's report", e))?;
    serde_json::from_slice(&text).map_err(|e| {
        Stop::failed(
            FailureClass::Drone,
            Phase::Building,
            format!("the resolver's report is not a valid plan: {e}"),
        )
    })
}
