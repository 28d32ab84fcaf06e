//! One healing step, from login to outcome.
//!
//! Before anything is done, the machine's id must match the one at enrolment. If the address was reassigned
//! or the port is forwarded elsewhere, the machine has another ID and is left alone.

use super::remote::{Ended, Fault, NO_SERVICE, Remote, Script, Session};
use crate::config::Host;
use std::time::Duration;
use swarm_common::state::{HealOutcome, HealStep};
use tokio::time::{Instant, sleep, timeout};

/// Interval between checks for a rebooting machine.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Order {
    pub step: HealStep,
    pub host: Host,
    /// The machine's id at enrolment.
    pub machine_id: String,
    /// Time limit for the step.
    pub step_limit: Duration,
    /// Time limit for a reboot.
    pub reboot_limit: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The outcome for the journal.
    pub outcome: HealOutcome,
    /// What was observed, in one line.
    pub detail: String,
    /// The machine's boot id, if its identity was verified.
    pub boot_id: Option<String>,
}

impl From<Fault> for Report {
    fn from(fault: Fault) -> Self {
        Self { outcome: fault.outcome, detail: fault.detail, boot_id: None }
    }
}

/// Carries out a step. Does nothing if `still_due` returns false, which is checked right before the
/// machine is touched, because the drone may start reporting during the login.
pub async fn take<R: Remote>(
    remote: &R,
    order: &Order,
    still_due: impl Fn() -> bool + Send,
) -> Option<Report> {
    let acted = match timeout(order.step_limit, act(remote, order, &still_due)).await {
        Ok(acted) => acted?,
        Err(_) => {
            let within = order.step_limit.as_secs_f32();
            Fault::new(HealOutcome::Hung, format!("the step did not finish within {within} s")).into()
        }
    };
    let may_have_worked =
        matches!(acted.outcome, HealOutcome::Done | HealOutcome::CutOff | HealOutcome::Hung);
    match (&acted.boot_id, order.step) {
        (Some(before), HealStep::Reboot) if may_have_worked => {
            await_boot(remote, order, before, &still_due).await
        }
        _ => Some(acted),
    }
}

async fn act<R: Remote>(remote: &R, order: &Order, still_due: &(impl Fn() -> bool + Send)) -> Option<Report> {
    let mut session = match remote.open(&order.host).await {
        Ok(session) => session,
        Err(fault) => return Some(fault.into()),
    };
    let boot_id = match prove(&mut session, order).await {
        Ok(boot_id) => Some(boot_id),
        Err(fault) => return Some(fault.into()),
    };
    let script = match order.step {
        HealStep::Probe => {
            let detail = "its machine answers over SSH".into();
            return Some(Report { outcome: HealOutcome::Done, detail, boot_id });
        }
        HealStep::Restart => Script::Restart(order.host.service),
        HealStep::Kill => Script::KillAndStart(order.host.service),
        HealStep::Reboot => Script::Reboot,
    };
    if !still_due() {
        return None;
    }
    let (outcome, detail) = match session.run(script).await {
        Ok(ended) => judge(order.step, &ended),
        Err(fault) => (fault.outcome, fault.detail),
    };
    Some(Report { outcome, detail, boot_id })
}

/// Verifies the machine's identity and returns its boot id.
async fn prove<S: Session>(session: &mut S, order: &Order) -> Result<String, Fault> {
    let output = session.run(Script::WhoAreYou).await?.output;
    let value =
        |name: &str| output.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let place = format!("{}:{}", order.host.address, order.host.port);
    if order.machine_id.is_empty() || value("machine=") != order.machine_id {
        return Err(Fault::new(
            HealOutcome::OtherMachine,
            format!("{place} is not the machine that enrolled; nothing was done there"),
        ));
    }
    match value("boot=") {
        "" => Err(Fault::new(HealOutcome::Failed, format!("{place} has no boot ID"))),
        boot_id => Ok(boot_id.to_owned()),
    }
}

fn judge(step: HealStep, ended: &Ended) -> (HealOutcome, String) {
    let last = ended.errors.lines().chain(ended.output.lines()).find(|line| !line.trim().is_empty());
    let why = last.map(|line| format!(": {}", line.trim())).unwrap_or_default();
    let what = match step {
        HealStep::Probe => "the probe",
        HealStep::Restart => "the restart of its service",
        HealStep::Kill => "killing and starting its service",
        HealStep::Reboot => "the reboot of its machine",
    };
    match ended.code {
        0 => (HealOutcome::Done, format!("{what} succeeded")),
        NO_SERVICE => (HealOutcome::NoService, format!("{what} failed{why}")),
        code => (HealOutcome::Failed, format!("{what} failed with exit code {code}{why}")),
    }
}

/// Waits for the machine's boot id to change. A broken connection does not prove a reboot.
async fn await_boot<R: Remote>(
    remote: &R,
    order: &Order,
    before: &str,
    still_due: &(impl Fn() -> bool + Send),
) -> Option<Report> {
    let end = Instant::now() + order.reboot_limit;
    loop {
        sleep(LOOK_EVERY.min(order.reboot_limit / 10)).await;
        if !still_due() {
            return None;
        }
        let look = async { prove(&mut remote.open(&order.host).await?, order).await };
        let seen = match timeout(order.step_limit, look).await {
            Ok(Ok(boot_id)) if boot_id != before => {
                let detail = "its machine has rebooted".into();
                return Some(Report { outcome: HealOutcome::Done, detail, boot_id: Some(boot_id) });
            }
            Ok(Ok(boot_id)) => Report {
                outcome: HealOutcome::SameBoot,
                detail: "its machine did not reboot".into(),
                boot_id: Some(boot_id),
            },
            Ok(Err(fault)) if fault.outcome.is_hands_off() => return Some(fault.into()),
            Ok(Err(fault)) => absent(&fault.detail),
            Err(_) => absent("it hangs"),
        };
        if Instant::now() >= end {
            return Some(seen);
        }
    }
}

fn absent(why: &str) -> Report {
    let detail = format!("its machine is unreachable after the reboot: {why}");
    Report { outcome: HealOutcome::TimedOut, detail, boot_id: None }
}
