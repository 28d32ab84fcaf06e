//! A night through the real core in virtual time: enrol, plan, claim, heartbeat, receive. Only the drones'
//! work is simulated.

use super::{case::Night, workload::Workload};
use crate::api::{pebble, plan_of};
use anyhow::{Result, bail};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    time::TimeMs,
    wire::{
        admin::{BuilderKind, ProfileRequest},
        artifact::Artifact,
        drone::*,
        plan::*,
    },
};
use swarm_core::{Command, Policy, Reply, Request, Swarm};

/// Interval at which the passage of time is handled. The engine does this every second, which makes a
/// difference of less than a thousandth of a night.
const TICK_MS: u64 = 5_000;
/// Interval between heartbeats, the drone's default.
const HEARTBEAT_MS: u64 = 10_000;
/// A night that takes this many times the lower bound counts as endless.
const HOPELESS: f64 = 1_000.0;

/// An interval in which a drone worked on a package.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    pub drone: usize,
    /// Index of the package in the workload.
    pub item: usize,
    /// Start in milliseconds since the beginning of the night.
    pub start_ms: f64,
    /// End in milliseconds since the beginning of the night.
    pub end_ms: f64,
    /// Whether this result was accepted.
    pub counted: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Time from the plan to the last package, in milliseconds.
    pub makespan_ms: f64,
    /// Work done divided by work needed.
    pub work_ratio: f64,
    /// The work of all drones.
    pub bars: Vec<Bar>,
    /// Time that the core needed for each claim.
    pub decisions: Vec<Duration>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Ends(usize, u64),
    Builds(usize, u64),
    Beat(usize),
    Tick,
}

struct Job {
    attempt: AttemptId,
    item: usize,
    start_ms: u64,
    number: u64,
    phase: Phase,
    order: BuildOrder,
}

struct Farm<'a> {
    workload: &'a Workload,
    night: &'a Night,
    work_ms: Vec<f64>,
    swarm: Swarm,
    now: u64,
    began: u64,
    next: BinaryHeap<Reverse<(u64, u64, What)>>,
    count: u64,
    claims: BTreeMap<DroneId, u64>,
    drones: Vec<DroneId>,
    jobs: Vec<Option<Job>>,
    first: u64,
    bars: Vec<Bar>,
    decisions: Vec<Duration>,
}

/// Runs a night with the core.
///
/// # Errors
/// The core refuses a valid command, or the night does not end.
pub fn play(workload: &Workload, night: &Night) -> Result<Outcome> {
    let mut farm = Farm {
        workload,
        night,
        work_ms: workload.work_ms(),
        swarm: Swarm::new(Policy::default()),
        now: 1_000_000,
        began: 0,
        next: BinaryHeap::new(),
        count: 0,
        claims: BTreeMap::new(),
        drones: Vec::new(),
        jobs: night.machines.iter().map(|_| None).collect(),
        first: 0,
        bars: Vec::new(),
        decisions: Vec::new(),
    };
    farm.begin()?;
    farm.go_on()?;
    swarm_core::invariants::check(&farm.swarm).map_err(anyhow::Error::msg)?;
    let done: f64 = farm
        .bars
        .iter()
        .map(|b| work_done(&night.machines[b.drone], b.start_ms + night.setup_ms, b.end_ms))
        .sum();
    Ok(Outcome {
        makespan_ms: (farm.now - farm.began) as f64,
        work_ratio: done / farm.work_ms.iter().sum::<f64>().max(1.0),
        bars: farm.bars,
        decisions: farm.decisions,
    })
}

fn work_done(machine: &super::fleet::Machine, start_ms: f64, end_ms: f64) -> f64 {
    let length = |from: f64, to: f64| (to - from).max(0.0);
    match machine.turn {
        None => length(start_ms, end_ms) * machine.speed,
        Some((turn, factor)) => {
            length(start_ms, end_ms.min(turn)) * machine.speed
                + length(start_ms.max(turn), end_ms) * machine.speed * factor
        }
    }
}

impl Farm<'_> {
    fn send(&mut self, command: Command) -> Result<Reply> {
        let request = Request { now: TimeMs(self.now), entropy: self.count, key: None, command };
        let (_, reply) = self.swarm.handle(&request).map_err(|r| anyhow::anyhow!("the core refused: {r}"))?;
        Ok(reply)
    }

    fn at(&mut self, time: u64, what: What) {
        self.count += 1;
        self.next.push(Reverse((time, self.count, what)));
    }

    fn begin(&mut self) -> Result<()> {
        self.send(Command::StartOrchestrator)?;
        let desk: swarm_common::name::Name = "desk".parse()?;
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: Digest::of(b"replay"),
            source: "a replay".into(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        self.send(Command::PutProfile { name: desk.clone(), request })?;
        for (n, &cores) in self.night.cores.iter().enumerate() {
            let drone = self.enrol(n, cores)?;
            self.drones.push(drone);
            if self.night.history_ms.is_some()
                && let Some(record) = self.swarm.drones.get_mut(&drone)
            {
                record.speed_permille = (self.night.machines[n].speed * 1000.0) as u64;
                (record.setup_ms, record.upload_ms) = (self.night.setup_ms as u64, 0);
            }
        }
        if let Some(history) = &self.night.history_ms {
            for (n, ms) in history.iter().enumerate() {
                self.swarm.history.note(&format!("replay/p{n}"), "1", *ms as u64, (0, 1));
            }
        }
        self.send(Command::StartRun { profile: desk, class: RunClass::Nightly })?;
        let planner = self.drones[0];
        let Some(plan) = self.claim_reply(planner)?.assignment else { bail!("nobody may plan") };
        let usage = Usage::default();
        let report = report(self.workload).into();
        self.send(Command::ReceivePlan { drone: planner, attempt: plan.attempt, plan: report, usage })?;
        self.first = self.swarm.runs.values().next().and_then(|r| r.packages.first()).map_or(0, |p| p.0);
        self.began = self.now;
        self.at(self.now, What::Tick);
        for n in 0..self.drones.len() {
            // Heartbeats do not all come at the same time.
            self.at(self.now + 1 + n as u64 * 137, What::Beat(n));
        }
        // Every drone has claimed work before the plan arrives, so all are waiting then.
        for n in (0..self.drones.len()).rev() {
            let until = TimeMs(self.now + 1);
            self.swarm.live.waiting.insert(self.drones[n], until);
        }
        self.claims()
    }

    fn enrol(&mut self, n: usize, cores: u32) -> Result<DroneId> {
        let token_hash = Digest::of(format!("token {n}").as_bytes());
        self.send(Command::IssueEnrolToken { token_hash, valid_ms: 1000, approved: true })?;
        let facts = DroneFacts {
            machine_id: format!("machine {n}"),
            cores,
            memory_bytes: 64 << 30,
            version: "0".into(),
            ..DroneFacts::default()
        };
        let credential_hash = Digest::of(format!("credential {n}").as_bytes());
        let name = format!("drone{n}").parse()?;
        match self.send(Command::EnrolDrone { token_hash, name, credential_hash, facts })? {
            Reply::Drone(id) => Ok(id),
            other => bail!("enrolling was answered with {other:?}"),
        }
    }

    fn is_gone(&self, n: usize) -> bool {
        (self.now - self.began.min(self.now)) as f64 >= self.night.machines[n].gone_at
    }

    fn go_on(&mut self) -> Result<()> {
        let limit = self.began + (self.night.bound_ms * HOPELESS) as u64;
        while let Some(Reverse((time, _, what))) = self.next.pop() {
            self.now = self.now.max(time);
            if self.now > limit {
                let reason = self.claim_reply(self.drones[0])?.reason;
                let counts = self.swarm.runs.values().next().map(|r| &r.counts);
                bail!("the night does not end: {counts:?}; drone0 is told {reason:?}");
            }
            match what {
                What::Tick => {
                    self.at(self.now + TICK_MS, What::Tick);
                    self.send(Command::Maintain)?;
                    self.claims()?;
                }
                What::Beat(n) => {
                    if !self.is_gone(n) {
                        self.at(self.now + HEARTBEAT_MS, What::Beat(n));
                        if self.beat(n)? {
                            self.claims()?;
                        }
                    }
                }
                What::Builds(n, number) => {
                    if let Some(job) = self.jobs[n].as_mut().filter(|j| j.number == number) {
                        job.phase = Phase::Building;
                        self.beat(n)?;
                    }
                }
                What::Ends(n, number) => {
                    if self.jobs[n].as_ref().is_some_and(|j| j.number == number) && !self.is_gone(n) {
                        self.deliver(n)?;
                        self.claims()?;
                    }
                }
            }
            if self.swarm.runs.values().all(|r| r.state.is_over()) {
                for n in 0..self.jobs.len() {
                    self.stop(n, false);
                }
                return Ok(());
            }
        }
        bail!("nothing more happens")
    }

    /// Lets every idle drone claim work, until none gets any.
    fn claims(&mut self) -> Result<()> {
        let mut given = true;
        while given {
            given = false;
            for n in 0..self.drones.len() {
                if self.jobs[n].is_none() && !self.is_gone(n) {
                    given |= self.claim(n)?;
                }
            }
        }
        Ok(())
    }

    fn claim_reply(&mut self, drone: DroneId) -> Result<ClaimReply> {
        let key = format!("{drone}-{}", self.claims.get(&drone).copied().unwrap_or(0));
        let request = ClaimRequest { key, wait_ms: 60_000, memory_free_bytes: 60 << 30 };
        let begun = Instant::now();
        let reply = self.send(Command::Claim { drone, request })?;
        self.decisions.push(begun.elapsed());
        match reply {
            Reply::Claim(reply) => Ok(*reply),
            other => bail!("a claim was answered with {other:?}"),
        }
    }

    fn claim(&mut self, n: usize) -> Result<bool> {
        let drone = self.drones[n];
        let Some(assignment) = self.claim_reply(drone)?.assignment else { return Ok(false) };
        *self.claims.entry(drone).or_default() += 1;
        let Work::Build(order) = assignment.work else { bail!("a plan while packages are built") };
        let item = (order.package.0 - self.first) as usize;
        self.count += 1;
        let number = self.count;
        let builds_at = self.now + self.night.setup_ms as u64;
        let from = (builds_at - self.began) as f64;
        let ends = self.night.machines[n].ends_at(from, self.work_ms[item]);
        self.at(builds_at, What::Builds(n, number));
        self.at(self.began + ends.round() as u64, What::Ends(n, number));
        self.jobs[n] = Some(Job {
            attempt: assignment.attempt,
            item,
            start_ms: self.now,
            number,
            phase: Phase::Preparing,
            order,
        });
        Ok(true)
    }

    fn beat(&mut self, n: usize) -> Result<bool> {
        let attempts = self.jobs[n]
            .iter()
            .map(|j| AttemptStatus { attempt: j.attempt, phase: j.phase, stuck: None, made_from: None })
            .collect();
        let vitals = Vitals { load1: 1.0, memory_free_bytes: 60 << 30, disk_free_bytes: 1 << 40 };
        let (draining, boot_id, facts, highest_attempt) = (false, String::new(), None, None);
        let request = HeartbeatRequest { vitals, attempts, draining, boot_id, facts, highest_attempt };
        let reply = self.send(Command::Heartbeat { drone: self.drones[n], request })?;
        let Reply::Heartbeat(reply) = reply else { bail!("a heartbeat was answered with {reply:?}") };
        let stops =
            self.jobs[n].as_ref().is_some_and(|j| reply.cancel.iter().any(|c| c.attempt == j.attempt));
        if stops {
            self.stop(n, false);
        }
        Ok(stops)
    }

    /// Ends the drone's current work.
    fn stop(&mut self, n: usize, counted: bool) {
        let Some(job) = self.jobs[n].take() else { return };
        let gone = self.began as f64 + self.night.machines[n].gone_at;
        self.bars.push(Bar {
            drone: n,
            item: job.item,
            start_ms: (job.start_ms - self.began) as f64,
            end_ms: (self.now as f64).min(gone) - self.began as f64,
            counted,
        });
    }

    fn deliver(&mut self, n: usize) -> Result<()> {
        let Some(job) = &self.jobs[n] else { return Ok(()) };
        let (drone, attempt) = (self.drones[n], job.attempt);
        let wall_ms = self.now - job.start_ms;
        let usage = Usage { wall_ms, cpu_ms: wall_ms, peak_memory_bytes: 1 << 28 };
        let targets = job.order.targets.iter();
        let artifacts = targets.map(|target| Artifact {
            target: target.clone(),
            digest: Digest([0; 32]),
            uploaded_digest: Digest([0; 32]),
            size: 1,
            attempt,
            drone,
            received_at: TimeMs(self.now),
            index_bytes: 0,
            nar: None,
        });
        let command = Command::ReceivePackage { drone, attempt, artifacts: artifacts.collect(), usage };
        // A result that arrives after another drone's is refused. This drone becomes free in that case too.
        let counted = self.send(command).is_ok();
        self.stop(n, counted);
        Ok(())
    }
}

/// The workload in the form of a resolver's report.
fn report(workload: &Workload) -> PlanReport {
    let package = |n: usize| PortagePackage {
        cpv: format!("replay/p{n}-1").parse().unwrap_or_else(|e| unreachable!("{e}")),
        inputs: Digest([0; 32]),
        ..pebble()
    };
    let edge = |from: usize, to: usize| PlanEdge {
        from: from as u32,
        to: to as u32,
        build: true,
        runtime: true,
        slot_operator: false,
        satisfied: false,
    };
    let edges = workload.deps.iter().enumerate();
    PlanReport {
        edges: edges.flat_map(|(from, deps)| deps.iter().map(move |&to| edge(from, to))).collect(),
        ..plan_of(&(0..workload.items.len()).map(package).collect::<Vec<_>>())
    }
}
