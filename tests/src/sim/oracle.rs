//! The watcher: keeps its own account of what happened, from events alone, and compares.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{digest::Digest, id::*, state::*, time::TimeMs};
use swarm_core::{Event, Record, Swarm};

/// What the oracle has seen.
#[derive(Debug, Default)]
pub struct Oracle {
    accepted: BTreeMap<PackageId, AttemptId>,
    paused_until: TimeMs,
    seq: u64,
}

impl Oracle {
    /// Checks a batch of records that the journal has taken, against the state after it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn committed(
        &mut self,
        swarm: &Swarm,
        records: &[Record],
        store: &BTreeSet<Digest>,
    ) -> Result<(), String> {
        for record in records.iter().filter(|r| r.event.is_durable()) {
            if record.seq != self.seq + 1 {
                return Err(format!("event {} follows event {}", record.seq, self.seq));
            }
            self.seq = record.seq;
            self.pauses(record)?;
            match &record.event {
                Event::PackageReceived { package, attempt, artifacts, .. } => {
                    if let Some(first) = self.accepted.insert(*package, *attempt) {
                        return Err(format!("{package} was accepted twice: from {first} and from {attempt}"));
                    }
                    if let Some(missing) = artifacts.iter().find(|a| !store.contains(&a.digest)) {
                        return Err(format!(
                            "{package} was received but {} is not stored",
                            missing.target.path()
                        ));
                    }
                }
                Event::PackageDelegated { package, drone, .. } => self.delegated(swarm, *package, *drone)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Nothing is handed out in a pause.
    fn pauses(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::PauseBegun { until, .. } => self.paused_until = *until,
            Event::PauseEnded { .. } => self.paused_until = TimeMs(0),
            Event::PackageDelegated { attempt, .. }
            | Event::PlanDelegated { attempt, .. }
            | Event::BaseDelegated { attempt, .. }
                if record.at < self.paused_until =>
            {
                return Err(format!("{attempt} was handed out in a pause"));
            }
            _ => {}
        }
        Ok(())
    }

    /// A delegated package must have everything its build needs, and all that needs at
    /// run time, received. Walks the edges; does not trust the counters.
    fn delegated(&self, swarm: &Swarm, id: PackageId, drone: DroneId) -> Result<(), String> {
        let Some(package) = swarm.packages.get(&id) else { return Ok(()) };
        let mut open = package.build_deps.clone();
        let mut seen = BTreeSet::new();
        while let Some(dep) = open.pop() {
            if !seen.insert(dep) {
                continue;
            }
            let Some(record) = swarm.packages.get(&dep) else { return Err(format!("{dep} is gone")) };
            if record.state != PackageState::Received {
                return Err(format!("{id} was delegated while {dep}, which it needs, is {}", record.state));
            }
            open.extend(&record.runtime_deps);
        }
        match swarm.drones.get(&drone).map(|d| d.state()) {
            Some(DroneState::Online) => Ok(()),
            state => Err(format!("{id} was delegated to {drone}, which is {state:?}")),
        }
    }

    /// At the end every package is received, or quarantined with a reason, or blocked by
    /// one that is.
    ///
    /// # Errors
    /// What is not at rest.
    pub fn at_rest(swarm: &Swarm) -> Result<(), String> {
        for (id, run) in &swarm.runs {
            if !run.state.is_over() {
                return Err(format!("{id} is still {}: {:?}", run.state, run.counts));
            }
        }
        for (id, package) in &swarm.packages {
            let fine = match package.state {
                PackageState::Received | PackageState::Cancelled => true,
                PackageState::Quarantined => !package.reason.is_empty(),
                PackageState::Blocked => !swarm_core::explain::stuck_on(swarm, *id).is_empty(),
                PackageState::Needed | PackageState::Delegated => false,
            };
            if !fine {
                return Err(format!("{id} ends {} ({})", package.state, package.reason));
            }
        }
        Ok(())
    }
}
