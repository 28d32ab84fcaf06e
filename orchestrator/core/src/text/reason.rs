//! Sentences for reasons.

use super::{missing_capability, span};
use crate::{
    reason::{Exhausted, FailedBuild, LastStep, Limit, Reason, Shortfall},
    refusal::Refusal,
    state::Ending,
};
use swarm_common::wire::concern::Action;

/// A reason in one line, as a phrase without a full stop.
#[must_use]
pub fn reason(why: &Reason) -> String {
    use Reason::*;
    match why {
        Text(text) | Admin { text } | Drone { text } | Observed { text } => text.to_string(),
        DroneFault { error } | NoCandidate { error } => error.to_string(),
        DrainedByAdmin => "drained by an admin".into(),
        CancelledByAdmin => "cancelled by an admin".into(),
        EndedByAdmin => "ended by an admin".into(),
        RetryRequested => "retry requested".into(),
        Expired => "expired".into(),
        LeaseExpired => "its lease expired".into(),
        TimeExceeded => "it exceeded its time limit".into(),
        HandedBack { text } => format!("handed back: {text}"),
        SignedOff(off) => format!("{} signed off: {}", off.drone, off.text),
        Silent { ms } => format!("silent for {} s", ms / 1000),
        DroneRemoved => "its drone was removed".into(),
        DroneGrounded { drone } => format!("{drone} was grounded"),
        AttemptLost(lost) => format!("{} on {} was lost: {}", lost.attempt, lost.drone, reason(&lost.why)),
        Rejected(rejected) => rejected.text.clone(),
        DifferentPackages(two) => format!(
            "different packages fail on it: {} ({}), previously {}",
            two.package, two.error, two.before
        ),
        BuiltElsewhere(built) => {
            let by = built.by.as_ref().map_or("another drone", |by| by.as_str());
            format!("{} failed on it and was built by {by}", built.package)
        }
        PackageAtFault { package } => format!("the fault is in {package} itself"),
        Strikes { count, last } => format!("{count} strikes in a row, the last: {}", reason(last)),
        Failed(failed) => failure(failed),
        SameError(same) => {
            let on = match &same.other {
                Some(other) => format!("on {other} and {}", same.drone),
                None => format!("twice on {} (only drone)", same.drone),
            };
            format!("same error {on}: {}", same.error)
        }
        SameErrorAgain(same) => {
            format!("same error on {} as {} ago: {}", same.drone, span(same.ago_ms), same.error)
        }
        BuildFailures(failures) => {
            let on = failures.only_on.as_ref().map_or_else(String::new, |drone| format!(" on {drone}"));
            format!("{} build failures{on}, the last: {}", failures.count, failure(&failures.last))
        }
        TriesUsedUp(used) => format!("{}, the last: {}", limit(used.limit), reason(&used.last)),
        RecordsGone => limit(Limit::RecordsGone),
        OutOfMemory(killed) => format!(
            "out of memory with one job on {}, and no drone has more than {:.1} GiB for a build",
            killed.drone,
            killed.had_bytes as f64 / f64::from(1 << 30)
        ),
        SourcesMissing(missing) => {
            let tried = missing.attempts.map_or_else(String::new, |n| format!(" in {n} attempts"));
            format!("no drone could fetch its sources{tried}: {}", missing.error)
        }
        MissingCapability(lacks) => missing_capability(&lacks.profile, &lacks.system, &lacks.features),
        Unchanged(held) => {
            let before = reason(&held.before);
            format!("not retried, as none of its inputs has changed since {}: {before}", held.since)
        }
        PlanFailed(failed) => {
            let tried = failed.attempts.map_or_else(String::new, |n| format!(" ({n} attempts)"));
            format!("the plan failed ({}): {}{tried}", failed.class, failed.error)
        }
        Incomplete(shortfall) => incomplete(shortfall),
        ToolchainGone(gone) => format!(
            "no drone has its toolchain any more: the {} was {} and is now {}; received packages are published, \
             and the next run plans the others",
            gone.part, gone.planned, gone.now
        ),
        BaseFailed(failed) => format!("it failed ({}): {}", failed.class, failed.error),
        BaseUnusable(base) => {
            let show = Action::ShowAttempt { run: base.run, attempt: base.attempt }.command();
            format!("{}; see `{show}`", base.error)
        }
        BaseGivenUp { attempts, last } => format!("{attempts} attempts failed, the last: {}", reason(last)),
        NotEvaluated(at) => format!("{} cannot be evaluated: {}", at.attribute, at.error),
        NotBuilt(at) => {
            let why = optional_reason(at.why.as_ref());
            let first = why.lines().next().map_or_else(String::new, |line| format!(": {line}"));
            format!("{} cannot be built: {}{first}", at.attribute, at.package)
        }
        StillRunning { run, age_ms } => {
            format!("run {run}, started {} earlier, is still running", span(*age_ms))
        }
        NoBase { base } => Refusal::UnknownBase((**base).clone()).to_string(),
        NotStarted => "no run was started".into(),
        ReportedAgain => "it reported again".into(),
        NotReported { step } => format!("the result of its {step} is unknown"),
        HandsOff(last) => observed(last),
        Unreachable(machine) => {
            format!("its machine was unreachable {} times: {}", machine.times, observed(&machine.last))
        }
        StillSilent(silent) => format!("{}: {}", exhausted(silent.after), observed(&silent.last)),
    }
}

/// A reason in one line; empty if there is none.
#[must_use]
pub fn optional_reason(why: Option<&Reason>) -> String {
    why.map(reason).unwrap_or_default()
}

/// How an attempt ended, as a phrase.
#[must_use]
pub fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Accepted => "its result was accepted".into(),
        Ending::Failed(failure) => format!("it failed ({})", failure.class),
        Ending::Rejected(rejection) => format!("its result was rejected: {}", rejection.reason),
        Ending::HandedBack(why) => format!("it was handed back: {}", reason(why)),
        Ending::Lost(why) => format!("it was lost: {}", reason(why)),
        Ending::Superseded => "another attempt delivered first".into(),
        Ending::Cancelled => "its run was cancelled".into(),
    }
}

fn failure(failed: &FailedBuild) -> String {
    format!("{} failed on {}: {}", failed.phase, failed.drone, failed.error)
}

fn limit(limit: Limit) -> String {
    match limit {
        Limit::Package(failures) => format!("{failures} failed attempts"),
        Limit::Run(most) => format!("its run reached the limit of {most} failed attempts"),
        Limit::RecordsGone => "its records no longer exist".into(),
    }
}

fn incomplete(shortfall: &Shortfall) -> String {
    let Shortfall { quarantined, blocked, refused, not_evaluated, colliding, outdated } = *shortfall;
    let parts = [
        (quarantined, "quarantined"),
        (blocked, "blocked"),
        (refused, "refused by the resolver"),
        (not_evaluated, "not evaluated"),
        (colliding, "not published (file collisions)"),
        (outdated, "not published (libraries of packages to rebuild)"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

fn exhausted(after: Exhausted) -> &'static str {
    match after {
        Exhausted::AllSteps => "it is still silent after the maximum number of steps",
        Exhausted::Reboot => "it is still silent after restarts and a reboot",
        Exhausted::Protected => "it is still silent after restarts and is protected from reboots",
        Exhausted::RebootForbidden => {
            "it is still silent after restarts and its machine must not be rebooted"
        }
        Exhausted::RebootUnconfirmed => "it is still silent after restarts",
    }
}

/// What the last step of healing observed.
fn observed(last: &LastStep) -> String {
    match &last.detail {
        None => format!("the last {} ended {}", last.step, last.outcome),
        Some(detail) => reason(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::{LostAttempt, NotBuilt, SourcesMissing, TriesUsedUp, Unreachable};
    use swarm_common::{
        id::AttemptId,
        state::{HealOutcome, HealStep},
    };

    #[test]
    fn a_reason_within_another_is_said_as_part_of_it_and_what_is_missing_is_left_out() {
        let lost = LostAttempt {
            attempt: AttemptId(3),
            drone: "oak".parse().unwrap(),
            why: Reason::Silent { ms: 75_000 },
        };
        let last = Reason::AttemptLost(Box::new(lost));
        let used = TriesUsedUp { limit: Limit::Package(8), last };
        assert_eq!(
            reason(&Reason::TriesUsedUp(Box::new(used))),
            "8 failed attempts, the last: a3 on oak was lost: silent for 75 s"
        );
        for (attempts, tried) in [(None, ""), (Some(2), " in 2 attempts")] {
            let missing = SourcesMissing { error: "404".into(), attempts };
            let said = reason(&Reason::SourcesMissing(Box::new(missing)));
            assert_eq!(said, format!("no drone could fetch its sources{tried}: 404"));
        }
        for (why, end) in [(None, ""), (Some(Reason::Text("a\nb".into())), ": a")] {
            let at = NotBuilt { attribute: "desk".into(), package: "linux-7".into(), why };
            let said = reason(&Reason::NotBuilt(Box::new(at)));
            assert_eq!(said, format!("desk cannot be built: linux-7{end}"));
        }
        let last = LastStep { step: HealStep::Probe, outcome: HealOutcome::Refused, detail: None };
        assert_eq!(
            reason(&Reason::Unreachable(Box::new(Unreachable { times: 6, last }))),
            "its machine was unreachable 6 times: the last probe ended refused"
        );
    }
}
