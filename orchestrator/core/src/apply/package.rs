//! Applies the events of packages, from planned to received or quarantined.

use crate::{
    event::Event,
    judge,
    package::{Step, next},
    quarantine::{self, broken},
    reason::Reason,
    state::{Ending, Job, RequestedRebuild, Swarm},
};
use std::cmp::Reverse;
use swarm_common::{id::*, state::*, time::TimeMs};

impl Swarm {
    pub(super) fn package(&mut self, at: TimeMs, event: &Event) {
        match event {
            Event::PackageReused { package, artifacts } => {
                self.receive(at, *package, artifacts, true);
            }
            Event::PackageDelegated { package, attempt, drone, key, build_ids, duplicate_of, returned } => {
                let step = if duplicate_of.is_some() { Step::Duplicate } else { Step::Delegate };
                if self.step(*package, step) {
                    self.note_build_ids(*package, build_ids);
                    if let Some(package) = self.packages.get_mut(package) {
                        package.attempts.push(*attempt);
                    }
                    let (build_ids, last) = (build_ids.clone(), self.last.attempt);
                    if let Some(record) = self.delegate(at, *attempt, Job::Build(*package), *drone, key) {
                        (record.build_ids, record.duplicate_of) = (build_ids, *duplicate_of);
                        record.returned = *returned;
                    }
                    if *returned {
                        self.last.attempt = last;
                    }
                }
            }
            Event::PackageNeeded { package, not_before, reason } => {
                self.step(*package, Step::Return);
                if let Some(package) = self.packages.get_mut(package) {
                    package.not_before = *not_before;
                    package.reason = Some(reason.clone());
                }
            }
            Event::PackageReceived { package, attempt, artifacts, usage } => {
                self.learn(at, *package, *attempt, *usage);
                self.end(at, *attempt, Ending::Accepted, Some(*usage));
                self.learn_of_rivals(at, *package);
                self.supersede(at, Job::Build(*package));
                self.receive(at, *package, artifacts, false);
                for artifact in artifacts {
                    let Some(target) = artifact.target.portage() else { continue };
                    let last = self.received_at.entry(target.cpv.clone()).or_default();
                    *last = artifact.received_at.max(*last);
                }
                self.guess_again();
            }
            Event::PackageQuarantined { package, reason, lasting } => {
                self.supersede(at, Job::Build(*package));
                if !self.step(*package, Step::Quarantine) {
                    return;
                }
                if let Some(record) = self.packages.get(package).filter(|_| *lasting) {
                    let (key, broken) = (quarantine::key(record), broken(self, at, record, reason));
                    self.quarantine.note(key, broken);
                }
                if let Some(package) = self.packages.get_mut(package) {
                    package.reason = Some(reason.clone());
                }
            }
            Event::PackageHeld { package, reason } => {
                if self.step(*package, Step::Hold)
                    && let Some(package) = self.packages.get_mut(package)
                {
                    package.reason = Some(reason.clone());
                    package.held = true;
                }
            }
            Event::PackageReleased { package } => {
                let forgiven = judge::failures(self, *package) as u64;
                let mut step = Step::Release;
                if let Some(p) = self.packages.get_mut(package) {
                    self.quarantine.lift(&quarantine::key(p));
                    p.held = false;
                    if p.unmet > 0 {
                        step = Step::Wait;
                    }
                    p.forgiven = p.attempts.len();
                    p.not_before = at;
                    p.reason = Some(Reason::RetryRequested);
                    if let Some(run) = self.runs.get_mut(&p.run) {
                        run.failures = run.failures.saturating_sub(forgiven);
                    }
                }
                self.step(*package, step);
            }
            Event::RebuildWanted { packages, reason } => self.want_rebuilt(packages, reason.as_ref()),
            _ => {}
        }
    }

    /// Makes later plans rebuild these packages.
    fn want_rebuilt(&mut self, packages: &[PackageId], reason: Option<&Reason>) {
        let after = PackageId(self.last.package);
        for package in packages.iter().filter_map(|id| self.packages.get(id)) {
            self.rebuilds.insert(package.build_key, RequestedRebuild { after, reason: reason.cloned() });
            self.quarantine.lift(&quarantine::key(package));
        }
    }

    /// Moves a package to another state according to the state table. False if the table does not
    /// allow the step.
    pub(super) fn step(&mut self, id: PackageId, step: Step) -> bool {
        let Some(package) = self.packages.get_mut(&id) else { return false };
        let Some(state) = next(package.state, step) else { return false };
        if let Some(run) = self.runs.get_mut(&package.run) {
            let place = (Reverse(package.rank_ms), id);
            run.ready.remove(&place);
            if run.open.remove(&place) {
                run.open_ms = run.open_ms.saturating_sub(package.predicted_ms);
            }
            if let Some(count) = run.counts.get_mut(&package.state) {
                *count = count.saturating_sub(1);
            }
            *run.counts.entry(state).or_default() += 1;
            if state == PackageState::Needed {
                run.ready.insert(place);
            }
            if matches!(state, PackageState::Needed | PackageState::Blocked) {
                run.open.insert(place);
                run.open_ms += package.predicted_ms;
            }
        }
        if state == PackageState::Needed {
            package.needed_since = self.at;
        }
        package.state = state;
        true
    }
}
