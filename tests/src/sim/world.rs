//! The event loop, based on a heap of future events.

use super::{
    drone::{self, Context, Doings, Drone, Message},
    faults::Faults,
    nix,
    oracle::Oracle,
    orchestrator::{Caller, KillPoint, Orchestrator},
    rng::Rng,
    size::Size,
    summary::Summary,
    words::Telling,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};
use swarm_common::{digest::Digest, id::*, time::TimeMs, wire::drone::DroneFacts};
use swarm_core::{Command, Reply, invariants, state::Ending};
use swarm_drone::agent::Input;

#[derive(Debug)]
pub(super) enum What {
    Arrives(Caller, Message),
    Answer(Caller, Input),
    TimesOut(Caller, Input),
    DroneTick(usize, u64),
    BuildEnds(usize, u64, AttemptId),
    DroneDown(usize),
    DroneUp(usize),
    Kill,
    OrchestratorUp,
    JournalFails,
    Restore,
    ClockIsSet,
    Maintain,
    Pause,
    MoveChannel,
    StartByHand(u32),
}

pub(super) const BEGAN_AT: TimeMs = TimeMs(1_800_000_000_000);
const MAINTAIN_MS: u64 = 5_000;
/// Maximum virtual duration of a world.
const LIMIT_MS: u64 = 10 * 24 * 3_600_000;

/// A swarm in virtual time.
pub struct World {
    pub(super) rng: Rng,
    pub(super) now: TimeMs,
    next: BinaryHeap<Reverse<(TimeMs, u64)>>,
    what: BTreeMap<u64, What>,
    last_what: u64,
    pub(super) orchestrator: Orchestrator,
    drones: Vec<Drone>,
    pub(super) open: BTreeSet<(DroneId, u64)>,
    pub(super) last_request: u64,
    pub(super) context: Context,
    pub(super) size: Size,
    summary: Summary,
}

impl World {
    /// Runs the world of a seed to its end.
    ///
    /// # Errors
    /// The violation that the oracle found, and when.
    pub fn run(seed: u64, size: Size, faults: Option<Faults>) -> Result<Summary, String> {
        let mut rng = Rng::new(seed);
        let faults = faults.unwrap_or_else(|| Faults::from(&mut rng));
        let scripts = size.scripts(&mut rng);
        let mut world = Self {
            now: BEGAN_AT,
            next: BinaryHeap::new(),
            what: BTreeMap::new(),
            last_what: 0,
            orchestrator: Orchestrator::default(),
            drones: Vec::new(),
            open: BTreeSet::new(),
            last_request: 0,
            context: Context {
                scripts,
                versions: BTreeMap::new(),
                faults,
                began_at: BEGAN_AT,
                now: BEGAN_AT,
            },
            size,
            summary: Summary::default(),
            rng,
        };
        let outcome = world.begin().and_then(|()| world.go_on());
        outcome.map_err(|e| {
            format!("after {} ms and {} events: {e}", world.now.since(BEGAN_AT), world.summary.events)
        })?;
        Ok(world.summary)
    }

    fn begin(&mut self) -> Result<(), String> {
        self.orchestrator.telling = Telling::new(self.context.faults.words);
        self.orchestrator.start(self.now, &mut self.rng)?;
        self.put_profile()?;
        if self.size.both {
            self.put_tools()?;
        }
        self.set_schedule()?;
        for n in 0..self.size.drones {
            let (id, facts) = self.enrol(n)?;
            let speed = [250, 500, 1000, 1000, 2000, 4000][self.rng.below(6) as usize];
            self.drones.push(Drone::new(id, speed, facts));
            let start = self.rng.below(30_000);
            self.at(start, What::DroneUp(n as usize));
        }
        self.orchestrator.first_backup();
        self.at(0, What::Maintain);
        let faults = self.context.faults.clone();
        if faults.orchestrator_kill_ms > 0 {
            self.soon(faults.orchestrator_kill_ms, What::Kill);
        }
        if faults.journal_failure_ms > 0 {
            self.soon(faults.journal_failure_ms, What::JournalFails);
        }
        if faults.restore_ms > 0 {
            self.soon(faults.restore_ms, What::Restore);
        }
        if faults.clock_set_ms > 0 {
            self.soon(faults.clock_set_ms, What::ClockIsSet);
        }
        Ok(())
    }

    fn enrol(&mut self, n: u64) -> Result<(DroneId, DroneFacts), String> {
        let token_hash = Digest::of(format!("token {n}").as_bytes());
        let issue = Command::IssueEnrolToken { token_hash, valid_ms: 1000, approved: true };
        self.orchestrator.admin(self.now, &mut self.rng, issue, &format!("token {n}"))?;
        let mut facts = DroneFacts {
            machine_id: format!("machine {n}"),
            boot_id: "boot 0".into(),
            slots: drone::slots(&mut self.rng),
            ..crate::api::facts()
        };
        if self.size.both {
            nix::install(&mut self.rng, n, &mut facts);
        }
        let name = format!("drone{n}").parse().map_err(|e| format!("{e}"))?;
        let credential_hash = Digest::of(format!("credential {n}").as_bytes());
        let enrol = Command::EnrolDrone { token_hash, name, credential_hash, facts: facts.clone() };
        match self.orchestrator.admin(self.now, &mut self.rng, enrol, &format!("enrol {n}"))? {
            Some(Reply::Drone(id)) => Ok((id, facts)),
            other => Err(format!("enrolling ended in {other:?}")),
        }
    }

    pub(super) fn at(&mut self, in_ms: u64, what: What) {
        self.last_what += 1;
        self.next.push(Reverse((self.now + in_ms, self.last_what)));
        self.what.insert(self.last_what, what);
    }

    /// Schedules an event at a random time with this mean.
    pub(super) fn soon(&mut self, mean_ms: u64, what: What) {
        let in_ms = self.rng.below(2 * mean_ms);
        self.at(in_ms, what);
    }

    pub(super) fn faults_on(&self) -> bool {
        self.context.faults_on(self.now)
    }

    fn go_on(&mut self) -> Result<(), String> {
        while let Some(Reverse((time, id))) = self.next.pop() {
            let Some(what) = self.what.remove(&id) else { continue };
            (self.now, self.context.now) = (time, time);
            self.summary.events += 1;
            self.happen(what)?;
            if self.summary.events.is_multiple_of(self.size.check_every)
                && let Some(swarm) = &self.orchestrator.swarm
            {
                invariants::check(swarm)?;
            }
            if self.is_over() {
                return self.end();
            }
            if self.now.since(BEGAN_AT) > LIMIT_MS {
                let swarm = self.orchestrator.swarm.as_ref();
                let why = swarm.map_or(Ok(()), Oracle::at_rest);
                return Err(format!("it does not end: {why:?}"));
            }
        }
        Err("nothing more happens".into())
    }

    fn is_over(&self) -> bool {
        let Some(swarm) = &self.orchestrator.swarm else { return false };
        !self.faults_on()
            && swarm.runs.len() as u64 == u64::from(self.size.runs) * self.size.profiles().len() as u64
            && swarm.runs.values().all(|r| r.state.is_over())
            && swarm.bases.values().all(|base| base.following.is_none())
    }

    /// Checks the final state of the world.
    fn end(&mut self) -> Result<(), String> {
        let Some(swarm) = &self.orchestrator.swarm else { return Err("the orchestrator is down".into()) };
        invariants::check(swarm)?;
        Oracle::at_rest(swarm)?;
        for (package, attempt) in &self.orchestrator.acknowledged {
            let accepted = swarm.attempts.get(attempt).and_then(|a| a.ending.clone());
            if accepted != Some(Ending::Accepted) {
                return Err(format!("{attempt} at {package} was acknowledged, but ended {accepted:?}"));
            }
        }
        self.summary.count(swarm);
        self.summary.clocks_set = self.orchestrator.oracle.clocks_set;
        self.summary.kept = self.orchestrator.oracle.kept_and_taken;
        self.summary.urgent = self.orchestrator.oracle.urgent;
        self.summary.shared = self.orchestrator.oracle.shared;
        self.summary.virtual_ms = self.now.since(BEGAN_AT);
        self.summary.facts = self.orchestrator.telling.facts();
        Ok(())
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Arrives(caller, message) => {
                if self.orchestrator.swarm.is_some() {
                    self.orchestrator.reject = if self.faults_on() { self.context.faults.reject } else { 0 };
                    let answers = self.orchestrator.receive(self.now, &mut self.rng, caller, message)?;
                    self.answer(answers);
                }
            }
            What::Answer(caller, input) | What::TimesOut(caller, input) => {
                let n = self.index(caller.drone);
                let current = self.drones[n].incarnation == caller.incarnation;
                if self.open.remove(&(caller.drone, caller.request)) && current {
                    self.feed(n, input);
                }
            }
            What::DroneTick(n, incarnation) => {
                let drone = &mut self.drones[n];
                // An earlier tick replaced this one unless it is still the awaited one.
                if drone.incarnation == incarnation && drone.tick_at.take_if(|at| *at == self.now).is_some() {
                    self.feed(n, Input::Tick);
                }
            }
            What::BuildEnds(n, incarnation, attempt) => {
                let current = self.drones[n].incarnation == incarnation;
                if current && let Some(report) = self.drones[n].building.remove(&attempt) {
                    self.feed(n, Input::BuildEnded(attempt, Some(report)));
                }
            }
            What::DroneDown(n) => self.drone_down(n),
            What::DroneUp(n) => {
                if self.drones[n].agent.is_none() {
                    let doings = self.drones[n].start(self.now, &mut self.rng, &self.context);
                    self.follow(n, doings);
                    if self.context.faults.drone_crash_ms > 0 {
                        self.soon(self.context.faults.drone_crash_ms, What::DroneDown(n));
                    }
                }
            }
            What::Kill => {
                if self.faults_on() {
                    self.kill();
                    self.soon(self.context.faults.orchestrator_kill_ms, What::Kill);
                }
            }
            What::OrchestratorUp => {
                if self.orchestrator.swarm.is_none() {
                    if self.rng.chance(self.context.faults.clock_jump) {
                        self.orchestrator.clock.set(&mut self.rng);
                    }
                    self.orchestrator.start(self.now, &mut self.rng)?;
                }
            }
            What::JournalFails => {
                if self.faults_on() {
                    self.orchestrator.stalled_until = self.now + self.rng.below(120_000);
                    self.soon(self.context.faults.journal_failure_ms, What::JournalFails);
                }
            }
            What::Restore => {
                if self.faults_on() {
                    self.orchestrator.restore(&mut self.rng);
                    self.summary.restores += 1;
                    self.soon(self.context.faults.restore_ms, What::Restore);
                }
            }
            What::ClockIsSet => {
                if self.faults_on() {
                    self.orchestrator.clock.set(&mut self.rng);
                    self.soon(self.context.faults.clock_set_ms, What::ClockIsSet);
                }
            }
            What::Maintain => self.maintain()?,
            What::Pause => self.pause()?,
            What::MoveChannel => self.move_channel()?,
            What::StartByHand(n) => self.start_by_hand(n)?,
        }
        if self.context.versions.len() != self.orchestrator.versions.len() {
            self.context.versions.clone_from(&self.orchestrator.versions);
        }
        if self.orchestrator.swarm.is_none() && !self.what.values().any(|w| matches!(w, What::OrchestratorUp))
        {
            self.summary.kills += 1;
            let downtime = self.rng.below(180_000);
            self.at(downtime, What::OrchestratorUp);
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), String> {
        self.at(MAINTAIN_MS, What::Maintain);
        if self.orchestrator.swarm.is_none() {
            return Ok(());
        }
        let answers = self.orchestrator.tick(self.now, &mut self.rng)?;
        self.answer(answers);
        self.start_due_runs()
    }

    /// Kills the orchestrator now, or before or after its next append.
    fn kill(&mut self) {
        match self.rng.below(3) {
            0 => self.orchestrator.kill_at = Some(KillPoint::BeforeAppend),
            1 => self.orchestrator.kill_at = Some(KillPoint::AfterAppend),
            _ => self.orchestrator.die(),
        }
    }

    fn drone_down(&mut self, n: usize) {
        if !self.faults_on() || self.drones[n].agent.is_none() {
            return;
        }
        if self.rng.chance(self.context.faults.polite_stop) {
            self.feed(n, Input::StopRequested);
            if self.rng.chance(500) {
                self.feed(n, Input::StopRequested);
            }
        } else {
            self.drones[n].crash();
            let downtime = self.rng.below(600_000);
            self.at(downtime, What::DroneUp(n));
        }
    }

    fn index(&self, id: DroneId) -> usize {
        (id.0 - 1) as usize
    }

    fn feed(&mut self, n: usize, input: Input) {
        let doings = self.drones[n].step(self.now, &mut self.rng, &self.context, input);
        self.follow(n, doings);
    }

    fn follow(&mut self, n: usize, doings: Doings) {
        let (id, incarnation) = (self.drones[n].id, self.drones[n].incarnation);
        for message in doings.messages {
            self.send(Caller { drone: id, incarnation, request: 0 }, message);
        }
        for (attempt, ends_at) in doings.build_ends_at {
            self.at(ends_at.since(self.now), What::BuildEnds(n, incarnation, attempt));
        }
        for attempt in doings.killed {
            self.feed(n, Input::BuildEnded(attempt, None));
        }
        if doings.exited {
            let downtime = self.rng.below(600_000);
            self.at(downtime, What::DroneUp(n));
        }
        if let Some(agent) = &self.drones[n].agent {
            let tick = agent.next_tick().max(self.now + 1);
            if tick < TimeMs(u64::MAX) && self.drones[n].tick_at != Some(tick) {
                self.drones[n].tick_at = Some(tick);
                self.at(tick.since(self.now), What::DroneTick(n, incarnation));
            }
        }
    }
}
