//! Decides whose fault a failure is and what follows: a retry, quarantine or a strike.
//!
//! A failure is judged by its class and by other failures. The same error on two drones is the package's
//! fault. Network failures and lost leases are nobody's fault. A drone's own fault, or different packages
//! failing on it in a row, is a [`strike`]. A package that was killed for its [`memory`] use, or whose
//! sources cannot be fetched ([`fetch`]), is retried differently.

pub mod fetch;
pub mod memory;
pub mod strike;

use crate::{
    event::Event,
    follow, legacy, quarantine,
    reason::{
        BaseFailed, BaseUnusable, BuildFailures, FailedBuild, Limit, PlanFailed, Reason, SameError,
        SameErrorAgain, TriesUsedUp,
    },
    state::{Attempt, Broken, Ending, Job, Run, Swarm, blames_package},
};
use swarm_common::{id::*, state::*, time::TimeMs, wire::drone::Failure};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after a delay.
    Retry {
        /// Delay before the next attempt, in milliseconds.
        after_ms: u64,
        reason: Reason,
    },
    /// Do not try again unless an admin asks for it.
    GiveUp {
        reason: Reason,
        /// Whether it is the package's own fault, so that later runs do not retry it until one of its inputs
        /// changes.
        lasting: bool,
    },
}

/// Judges a package after `attempt` failed.
#[must_use]
pub fn package(
    swarm: &Swarm,
    now: TimeMs,
    id: PackageId,
    attempt: AttemptId,
    failure: &Failure,
    entropy: u64,
) -> Verdict {
    let passing = |reason| Verdict::GiveUp { reason, lasting: false };
    let lasting = |reason| Verdict::GiveUp { reason, lasting: true };
    let Some(current) = swarm.attempts.get(&attempt) else {
        return passing(Reason::RecordsGone);
    };
    let error = || failure.headline();
    let drone = || current.drone_name.clone();
    let failed = FailedBuild { phase: failure.phase, drone: drone(), error: error() };
    if failure.cause == Some(FailureCause::OutOfMemory) {
        if let Some(reason) = memory::unrecoverable(swarm, id, current) {
            return passing(reason);
        }
    } else if failure.cause == Some(FailureCause::SourceMissing) {
        if let Some(verdict) = fetch::missing(swarm, now, id, attempt, (entropy, error())) {
            return verdict;
        }
    } else if blames_package(failure) {
        let only_drone = drones_for(swarm, id).all(|d| d == current.drone);
        let before = quarantine::of(swarm, id).filter(|q| q.signature == failure.signature);
        // Another failure on the same drone adds no evidence while another drone can be asked.
        if let Some(before) = before.filter(|q| only_drone || !is_witness(swarm, id, q, current.drone)) {
            let same = SameErrorAgain { drone: drone(), ago_ms: now.since(before.since), error: error() };
            return lasting(Reason::SameErrorAgain(Box::new(same)));
        }
        let signature = |a: &Attempt| own_signature(a).or_else(|| mismatch(a)).map(str::to_owned);
        let past: Vec<&Attempt> = past(swarm, id, attempt).filter(|a| a.blames_package()).collect();
        let alike = past.iter().find(|a| signature(a).is_some_and(|s| s == failure.signature));
        if let Some(other) = alike.filter(|other| other.drone != current.drone || only_drone) {
            let other = (other.drone != current.drone).then(|| other.drone_name.clone());
            let same = SameError { drone: drone(), other, error: error() };
            return lasting(Reason::SameError(Box::new(same)));
        }
        let own = 1 + past.len();
        let is_shared = past.iter().any(|a| a.drone != current.drone);
        let most = swarm.policy.package_failures as usize;
        let too_often = |only_on| {
            let count = own as u64;
            Reason::BuildFailures(Box::new(BuildFailures { count, only_on, last: failed.clone() }))
        };
        // A limit of one means that the admin wants no second opinion.
        if own >= most && (is_shared || only_drone || most == 1) {
            return lasting(too_often(None));
        }
        // In all that time no other drone took it.
        if own >= 2 * most {
            return passing(too_often(Some(drone())));
        }
    }
    let last = Reason::Failed(Box::new(failed));
    match spent(swarm, id, &[attempt]) {
        Some(limit) => passing(Reason::TriesUsedUp(Box::new(TriesUsedUp { limit, last }))),
        None => {
            let failures = past(swarm, id, attempt).count() + 1;
            Verdict::Retry { after_ms: backoff_ms(swarm, failures, entropy), reason: last }
        }
    }
}

/// Why a package gets no further attempt after the attempts in `ended` have failed: the package or its run
/// has used up its attempts. `None` if it gets another.
#[must_use]
pub fn spent(swarm: &Swarm, id: PackageId, ended: &[AttemptId]) -> Option<Limit> {
    let run = swarm.packages.get(&id).and_then(|p| swarm.runs.get(&p.run));
    let Some(run) = run else { return Some(Limit::RecordsGone) };
    let now = ended
        .iter()
        .filter(|e| swarm.attempts.get(e).is_some_and(|a| a.is_live() && a.job == Job::Build(id)));
    let failures = failures(swarm, id) + now.count();
    if failures >= swarm.policy.failures_in_all as usize {
        return Some(Limit::Package(failures as u64));
    }
    let most = most_failures(swarm, run);
    (run.failures >= most).then_some(Limit::Run(most))
}

/// Number of failed attempts after which a run retries nothing.
#[must_use]
pub fn most_failures(swarm: &Swarm, run: &Run) -> u64 {
    u64::from(swarm.policy.failures_per_run) + run.packages.len() as u64
}

/// The number of failed attempts at a package that are not forgiven.
#[must_use]
pub fn failures(swarm: &Swarm, id: PackageId) -> usize {
    past(swarm, id, AttemptId(0)).count()
}

/// The failed attempts that count against a package, except `current`.
pub(crate) fn past(swarm: &Swarm, id: PackageId, current: AttemptId) -> impl Iterator<Item = &Attempt> {
    let unforgiven = swarm.packages.get(&id).into_iter().flat_map(|p| p.attempts.iter().skip(p.forgiven));
    unforgiven
        .filter(move |&&a| a != current)
        .filter_map(|a| swarm.attempts.get(a).map(|attempt| &**attempt))
        .filter(|a| a.has_failed())
}

/// Judges a plan after an attempt at it failed.
#[must_use]
pub fn plan(swarm: &Swarm, run: RunId, failure: &Failure, entropy: u64) -> Verdict {
    let attempts = swarm.runs.get(&run).map_or(0, |r| r.plan_attempts.len());
    let failed = |attempts| {
        let failed = PlanFailed { class: failure.class, error: failure.headline(), attempts };
        Reason::PlanFailed(Box::new(failed))
    };
    if attempts >= swarm.policy.plan_attempts as usize {
        return Verdict::GiveUp { reason: failed(Some(attempts as u64)), lasting: false };
    }
    Verdict::Retry { after_ms: backoff_ms(swarm, attempts, entropy), reason: failed(None) }
}

/// Judges a base after an attempt at it failed. A base that was made but does not work would not work on
/// another drone either. [`follow`] limits the number of attempts.
#[must_use]
pub fn base(swarm: &Swarm, run: RunId, attempt: AttemptId, failure: &Failure, entropy: u64) -> Verdict {
    let error = failure.headline();
    if matches!(failure.class, FailureClass::Package | FailureClass::Timeout) {
        let unusable = BaseUnusable { run, attempt, error };
        return Verdict::GiveUp { reason: Reason::BaseUnusable(Box::new(unusable)), lasting: false };
    }
    let attempts = swarm.runs.get(&run).map_or(0, |r| r.base_attempts.len());
    let reason = Reason::BaseFailed(Box::new(BaseFailed { class: failure.class, error }));
    Verdict::Retry { after_ms: backoff_ms(swarm, attempts, entropy), reason }
}

/// Returns a job to the queue, unless another attempt is still working on it. The attempts in `ended` end in
/// the current decision.
#[must_use]
pub fn return_job(
    swarm: &Swarm,
    not_before: TimeMs,
    job: Job,
    ended: &[AttemptId],
    reason: Reason,
) -> Option<Event> {
    if swarm.attempts_at(job).any(|(other, _)| !ended.contains(&other)) {
        return None;
    }
    match job {
        Job::Plan(run) => Some(Event::PlanNeeded { run, not_before, reason }),
        Job::Build(package) => {
            let delegated = swarm.packages.get(&package)?.state == PackageState::Delegated;
            delegated.then_some(Event::PackageNeeded { package, not_before, reason })
        }
        Job::Base(run) => follow::again(swarm, run, not_before, reason),
    }
}

/// Whether an earlier judgement about a package rests only on failures on this drone.
fn is_witness(swarm: &Swarm, id: PackageId, broken: &Broken, drone: DroneId) -> bool {
    let key = swarm.packages.get(&id).map(|package| quarantine::key(package));
    key.is_some_and(|key| quarantine::witnesses(swarm, &key, broken).into_iter().eq([drone]))
}

/// The drones that may ever be given the package.
fn drones_for(swarm: &Swarm, package: PackageId) -> impl Iterator<Item = DroneId> {
    let package = swarm.packages.get(&package).and_then(|p| Some((p, swarm.runs.get(&p.run)?)));
    swarm
        .drones
        .iter()
        .filter(move |(_, d)| d.is_at_hand() && package.is_some_and(|(package, run)| d.builds(run, package)))
        .map(|(id, _)| *id)
}

/// The signature of the mismatch, if the attempt failed because a source file differs from the Manifest.
fn mismatch(attempt: &Attempt) -> Option<&str> {
    match &attempt.ending {
        Some(Ending::Failed(f)) if f.cause == Some(FailureCause::SourceMismatch) => Some(&f.signature),
        _ => None,
    }
}

/// The signature of an attempt that failed by the package's own fault or whose result was rejected. `None` for
/// any other.
pub(crate) fn own_signature(attempt: &Attempt) -> Option<&str> {
    match attempt.ending.as_ref()? {
        Ending::Failed(f) if matches!(f.class, FailureClass::Package | FailureClass::Timeout) => {
            Some(&f.signature)
        }
        Ending::Rejected(rejection) => Some(legacy::rejection_signature(rejection)),
        _ => None,
    }
}

/// Delay after the `n`-th failure in milliseconds. It doubles up to a limit and varies by a quarter in either
/// direction, so that jobs that failed together are not retried together.
fn backoff_ms(swarm: &Swarm, n: usize, entropy: u64) -> u64 {
    let doublings = n.saturating_sub(1).min(20) as u32;
    let base = swarm.policy.backoff_ms.saturating_mul(1 << doublings).min(swarm.policy.backoff_max_ms);
    base - base / 4 + entropy % (base / 2 + 1)
}
