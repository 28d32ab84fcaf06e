//! The oracle: it keeps its own records of what happened, from events alone, and compares them with the
//! state.

mod order;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use swarm_common::{digest::Digest, id::*, name::Name, state::*, time::TimeMs};
use swarm_core::{
    Event, Reason, Record, Swarm,
    state::{ChannelArtifact, ChannelRoot, Profile},
};

/// What the oracle has recorded.
#[derive(Debug, Default)]
pub struct Oracle {
    accepted: BTreeMap<PackageId, AttemptId>,
    paused_until: TimeMs,
    /// In true time, whatever the orchestrator's clock shows.
    leased_at: BTreeMap<AttemptId, TimeMs>,
    seq: u64,
    /// Every attempt that was ever assigned, including those lost by a restore of the journal.
    assigned: BTreeSet<AttemptId>,
    /// Attempts that a restored journal did not know, which their drones kept while there was no run.
    pub kept: BTreeSet<AttemptId>,
    /// How many of these a later run received.
    pub kept_and_taken: u64,
    /// The content of every file that was ever received, including those lost by a restore.
    files: BTreeMap<String, Digest>,
    /// How many times the engine's time followed the machine's clock.
    pub clocks_set: u64,
    /// How many times a less urgent run with a smaller id had to wait.
    pub urgent: u64,
    /// How many packages were reused when another run received the same one.
    pub shared: u64,
}

impl Oracle {
    /// Records that a heartbeat listing these attempts was answered.
    pub fn renewed(&mut self, now: TimeMs, attempts: &[AttemptId]) {
        for attempt in attempts {
            self.leased_at.entry(*attempt).and_modify(|at| *at = now);
        }
    }

    /// Checks a record against the state before it: nothing more urgent may be left out.
    ///
    /// # Errors
    /// What should have been assigned instead.
    pub fn assigned(&mut self, before: &Swarm, record: &Record) -> Result<(), String> {
        self.urgent += u64::from(order::check(before, record)?);
        Ok(())
    }

    /// Checks a batch of journaled records against the state after it. It was decided at `now` in true time.
    ///
    /// # Errors
    /// A rule was violated; the error says which.
    pub fn committed(
        &mut self,
        now: TimeMs,
        swarm: &Swarm,
        records: &[Record],
        store: &BTreeSet<Digest>,
    ) -> Result<(), String> {
        let received = records.iter().any(|r| matches!(r.event, Event::PackageReceived { .. }));
        for record in records.iter().filter(|r| r.event.is_durable()) {
            self.shared += u64::from(received && matches!(record.event, Event::PackageReused { .. }));
            if record.seq != self.seq + 1 {
                return Err(format!("event {} follows event {}", record.seq, self.seq));
            }
            self.seq = record.seq;
            self.pauses(record)?;
            self.leases(now, swarm, record)?;
            self.once(record)?;
            match &record.event {
                Event::PackageReceived { package, attempt, artifacts, .. } => {
                    if let Some(first) = self.accepted.insert(*package, *attempt) {
                        return Err(format!("{package} was accepted twice: from {first} and from {attempt}"));
                    }
                    if let Some(missing) = artifacts.iter().find(|a| !store.contains(&a.digest)) {
                        return Err(format!("{package} was received but {} is not stored", missing.path()));
                    }
                }
                Event::PackageDelegated { package, drone, .. } => Self::delegated(swarm, *package, *drone)?,
                Event::ClockSet { .. } => {
                    self.clocks_set += 1;
                    dated(swarm)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts again with these records after the journal was restored from a backup.
    pub fn restored(&mut self, journal: &[Record]) {
        self.seq = journal.last().map_or(0, |record| record.seq);
        (self.accepted, self.paused_until) = Default::default();
        for record in journal {
            if let Event::PackageReceived { package, attempt, .. } = &record.event {
                self.accepted.insert(*package, *attempt);
            }
            // Violations in these records were reported earlier.
            let _ = self.pauses(record);
        }
    }

    /// Checks that no attempt ID is assigned twice and that no published path gets other content, whatever
    /// the journal has forgotten.
    fn once(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::PackageDelegated { attempt, returned: false, .. }
            | Event::PlanDelegated { attempt, .. }
            | Event::BaseDelegated { attempt, .. }
                if !self.assigned.insert(*attempt) =>
            {
                Err(format!("{attempt} was assigned twice"))
            }
            Event::PackageReceived { attempt, artifacts, .. } => {
                self.kept_and_taken += u64::from(self.kept.remove(attempt));
                // A store path keeps its first content.
                for artifact in artifacts.iter().filter(|artifact| artifact.target.portage().is_some()) {
                    let first = *self.files.entry(artifact.path()).or_insert(artifact.digest);
                    if first != artifact.digest {
                        return Err(format!("{} was published with other content before", artifact.path()));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Checks that nothing is assigned during a pause.
    fn pauses(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::PauseBegun { until, .. } => self.paused_until = *until,
            Event::PauseEnded { .. } => self.paused_until = TimeMs(0),
            Event::ClockSet { by_ms, .. } if record.at < self.paused_until => {
                self.paused_until = TimeMs(self.paused_until.0.saturating_add_signed(*by_ms));
            }
            Event::PackageDelegated { attempt, returned: false, .. }
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

    /// Checks that no attempt is lost before its drone was silent about it for the length of a lease.
    fn leases(&mut self, now: TimeMs, swarm: &Swarm, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::PackageDelegated { attempt, .. }
            | Event::PlanDelegated { attempt, .. }
            | Event::BaseDelegated { attempt, .. } => {
                self.leased_at.insert(*attempt, now);
            }
            Event::AttemptLost { attempt, reason }
                if matches!(reason, Reason::LeaseExpired | Reason::Silent { .. }) =>
            {
                let held = self.leased_at.get(attempt).map_or(0, |&since| now.since(since));
                if held < swarm.policy.lease_ms {
                    return Err(format!("{attempt} was lost {held} ms after it was heard of: {reason:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks that everything a delegated package's build needs, and everything that needs at run time, has
    /// been received. Follows the edges instead of trusting the counters.
    ///
    /// # Errors
    /// What is missing, or why the drone may not work.
    pub fn delegated(swarm: &Swarm, id: PackageId, drone: DroneId) -> Result<(), String> {
        let Some(package) = swarm.packages.get(&id) else { return Ok(()) };
        let mut open = package.build_deps.to_vec();
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
        let is_nix = package.targets.iter().any(|target| target.nix().is_some());
        if is_nix && swarm.drones.get(&drone).is_none_or(|drone| drone.facts.nix.is_none()) {
            return Err(format!("{id} was delegated to {drone}, which has no Nix"));
        }
        match swarm.drones.get(&drone).map(|d| d.state()) {
            Some(DroneState::Online) => Ok(()),
            state => Err(format!("{id} was delegated to {drone}, which is {state:?}")),
        }
    }

    /// Checks that at the end every package is received, quarantined with a reason, or blocked by a
    /// quarantined one.
    ///
    /// # Errors
    /// Which package is not.
    pub fn at_rest(swarm: &Swarm) -> Result<(), String> {
        dated(swarm)?;
        for (id, run) in &swarm.runs {
            if !run.state.is_over() {
                return Err(format!("{id} is still {}: {:?}", run.state, run.counts));
            }
        }
        swarm.profiles.iter().try_for_each(|(name, profile)| whole(name, profile))?;
        for (id, package) in &swarm.packages {
            let fine = match package.state {
                PackageState::Received | PackageState::Cancelled => true,
                PackageState::Quarantined => package.reason.is_some(),
                PackageState::Blocked => !swarm_core::explain::stuck_on(swarm, *id).is_empty(),
                PackageState::Needed | PackageState::Delegated => false,
            };
            if !fine {
                return Err(format!("{id} ends {} ({:?})", package.state, package.reason));
            }
        }
        Ok(())
    }
}

/// Checks that a Nix channel contains the path of each attribute with everything it refers to.
fn whole(name: &Name, profile: &Profile) -> Result<(), String> {
    let channel = &profile.channel;
    for ChannelRoot { root, .. } in &channel.roots {
        let is_it = |held: &&ChannelArtifact| {
            held.artifact.target.nix().is_some_and(|target| target.path == root.path)
        };
        let mut open: Vec<&ChannelArtifact> = channel.held.values().filter(is_it).collect();
        if open.is_empty() {
            return Err(format!("{name} offers {} without its path", root.attribute));
        }
        let mut seen = BTreeSet::new();
        while let Some(held) = open.pop() {
            let references = held.artifact.nar.iter().flat_map(|nar| &nar.references);
            for reference in references.filter(|reference| seen.insert((*reference).clone())) {
                let is_it = |held: &&ChannelArtifact| {
                    held.artifact.target.nix().is_some_and(|t| t.base_name() == reference)
                };
                let found = channel.held.values().find(is_it);
                open.push(
                    found.ok_or_else(|| format!("{name} offers {} without {reference}", root.attribute))?,
                );
            }
        }
    }
    Ok(())
}

/// Checks that nothing has a time in the future, or ended before it began.
fn dated(swarm: &Swarm) -> Result<(), String> {
    let in_order = |what: &dyn fmt::Display, from: TimeMs, to: Option<TimeMs>| {
        let to = to.unwrap_or(swarm.at);
        let fine = from <= to && to <= swarm.at;
        if fine {
            Ok(())
        } else {
            Err(format!("{what} went from {from:?} to {to:?}, and it is {:?}", swarm.at))
        }
    };
    for (id, run) in &swarm.runs {
        in_order(id, run.started_at, run.ended_at)?;
    }
    for generation in swarm.profiles.values().flat_map(Profile::generations) {
        in_order(&format_args!("generation {}", generation.number), generation.at, None)?;
    }
    for (id, attempt) in &swarm.attempts {
        in_order(id, attempt.started_at, attempt.ended_at)?;
    }
    for (id, package) in &swarm.packages {
        in_order(id, package.needed_since, None)?;
    }
    Ok(())
}
