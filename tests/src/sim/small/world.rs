//! What can happen in a small world.
//!
//! Time is a logical clock. A step takes a millisecond, except that [`Step::Wait`] and [`Step::Silence`] take
//! an hour, in which every lease, delay and grounding ends. So each of these either began after the last such
//! hour or has ended; its exact duration makes no difference.

use crate::{
    api,
    sim::{oracle::Oracle, plan::package, size::desk},
};
use std::collections::BTreeSet;
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    time::TimeMs,
    wire::{
        admin::{BuilderKind, ProfileRequest},
        artifact::Artifact,
        drone::*,
        plan::{PlanEdge, PlanReport},
    },
};
use swarm_core::{Command, Event, Policy, Refusal, Reply, Request, Swarm, state::Job};

/// The number of drones. The second one builds two packages at a time.
pub const DRONES: usize = 2;

const HOUR_MS: u64 = 3_600_000;

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The package does not build.
    Package,
    /// The drone's machine is at fault.
    Drone,
    /// The network is at fault.
    Infra,
}

/// Something that can happen. Drones are counted from 0.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// A drone claims work, and repeats the claim as if the answer were lost.
    Claim(usize),
    /// A drone delivers a result, twice.
    Deliver(usize, AttemptId),
    /// A drone sends a heartbeat, and drops attempts that are not wanted.
    Beat(usize),
    /// An hour passes in which all drones send heartbeats.
    Wait,
    /// An admin lets a drone work again.
    Resume(usize),

    /// A drone reports a failure, twice.
    Fail(usize, AttemptId, Fault),
    /// An hour passes in which a drone is silent.
    Silence(usize),
    /// A drone restarts and has lost its work.
    Crash(usize),
    SignOff(usize),
    /// An admin drains a drone.
    Drain(usize),
    /// An admin cancels the run.
    Cancel,
    /// An admin retries a package.
    Retry(PackageId),
    Restart,
}

impl Step {
    /// Whether this is a fault or an admin's intervention.
    #[must_use]
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Claim(_) | Self::Deliver(..) | Self::Beat(_) | Self::Wait | Self::Resume(_))
    }
}

/// A swarm, and the attempts that its drones have.
#[derive(Debug, Clone)]
pub struct World {
    pub swarm: Swarm,
    pub now: TimeMs,
    /// The attempts that each drone works on, wanted or not.
    pub held: [BTreeSet<AttemptId>; DRONES],
    /// How many things have gone wrong.
    pub faults: u8,
}

/// A plan of three packages. The edges are those that a build needs and those that the result needs at run
/// time.
#[must_use]
pub fn plan(build: &[(u32, u32)], runtime: &[(u32, u32)]) -> PlanReport {
    let edge = |build: bool| {
        move |&(from, to): &(u32, u32)| PlanEdge {
            from,
            to,
            build,
            runtime: !build,
            slot_operator: false,
            satisfied: false,
        }
    };
    PlanReport {
        packages: (0..3).map(|n| package(n, &n.to_string()).into()).collect(),
        edges: build.iter().map(edge(true)).chain(runtime.iter().map(edge(false))).collect(),
        ..PlanReport::empty(Digest::of(b"gcc"))
    }
}

/// The ID of a drone, by its index.
#[must_use]
pub fn drone(place: usize) -> DroneId {
    DroneId(place as u64 + 1)
}

impl World {
    /// A world with two drones and a run that needs its plan.
    ///
    /// # Errors
    /// A command was refused.
    pub fn new() -> Result<Self, String> {
        // Small numbers, so that a search reaches their consequences.
        let policy = Policy {
            package_failures: 2,
            failures_in_all: 3,
            strikes_to_ground: 2,
            plan_attempts: 2,
            ..Policy::default()
        };
        let mut world = Self {
            swarm: Swarm::new(policy),
            now: TimeMs(1_800_000_000_000),
            held: Default::default(),
            faults: 0,
        };
        world.must(Command::StartOrchestrator)?;
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: Digest::of(b"snapshot"),
            source: "a small world".into(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        world.must(Command::PutProfile { name: desk(), request })?;
        for place in 0..DRONES {
            let token_hash = Digest::of(&[place as u8]);
            world.must(Command::IssueEnrolToken { token_hash, valid_ms: 1000, approved: true })?;
            let name = format!("drone{place}").parse().map_err(|e| format!("{e}"))?;
            let facts = DroneFacts {
                machine_id: format!("machine {place}"),
                slots: place as u32 + 1,
                ..api::facts()
            };
            world.must(Command::EnrolDrone { token_hash, name, credential_hash: token_hash, facts })?;
        }
        world.must(Command::StartRun { profile: desk(), class: RunClass::Nightly })?;
        Ok(world)
    }

    /// What can happen next if at most `most_faults` things may go wrong in total. Omits steps that would
    /// change nothing.
    #[must_use]
    pub fn steps(&self, most_faults: u8) -> Vec<Step> {
        let mut steps = vec![Step::Wait];
        let may_fail = self.faults < most_faults;
        if may_fail {
            steps.push(Step::Restart);
            steps.extend(self.swarm.runs.values().filter(|run| !run.state.is_over()).map(|_| Step::Cancel));
            let retried = |state| matches!(state, PackageState::Quarantined | PackageState::Needed);
            let packages = self.swarm.packages.iter().filter(|(_, package)| retried(package.state));
            steps.extend(packages.map(|(&id, _)| Step::Retry(id)));
        }
        for place in 0..DRONES {
            let (record, held) = (&self.swarm.drones[&drone(place)], &self.held[place]);
            steps.extend([Step::Claim(place), Step::Beat(place)]);
            steps.extend(held.iter().map(|&attempt| Step::Deliver(place, attempt)));
            if record.draining.is_some() || record.grounded.is_some() {
                steps.push(Step::Resume(place));
            }
            if !may_fail {
                continue;
            }
            steps.push(Step::Silence(place));
            steps.extend(record.offline.is_none().then_some(Step::SignOff(place)));
            steps.extend(record.draining.is_none().then_some(Step::Drain(place)));
            steps.extend((!held.is_empty()).then_some(Step::Crash(place)));
            for &attempt in held {
                let faults = [Fault::Package, Fault::Drone, Fault::Infra];
                steps.extend(faults.map(|fault| Step::Fail(place, attempt, fault)));
            }
        }
        steps
    }

    /// Takes a step.
    ///
    /// # Errors
    /// The orchestrator broke a rule.
    pub fn take(&mut self, step: Step, plan: &PlanReport) -> Result<(), String> {
        self.faults += u8::from(step.is_fault());
        match step {
            Step::Claim(place) => self.claim(place)?,
            Step::Deliver(place, attempt) => self.deliver(place, attempt, plan)?,
            Step::Beat(place) => self.beat(place)?,
            Step::Wait => self.pass(None)?,
            Step::Silence(place) => self.pass(Some(place))?,
            Step::Resume(place) => self.ask(Command::ResumeDrone(drone(place)))?,
            Step::Drain(place) => self.ask(Command::DrainDrone(drone(place)))?,
            Step::Cancel => self.ask(Command::CancelRun(RunId(1)))?,
            Step::Retry(package) => self.ask(Command::RetryPackage(package))?,
            Step::Crash(place) => self.held[place].clear(),
            Step::SignOff(place) => {
                self.held[place].clear();
                self.ask(Command::SignOff { drone: drone(place), reason: "it stops".into() })?;
            }
            Step::Restart => {
                self.swarm.live = Default::default();
                self.must(Command::StartOrchestrator)?;
            }
            Step::Fail(place, attempt, fault) => {
                let (class, signature) = match fault {
                    Fault::Package => (FailureClass::Package, "it does not compile"),
                    Fault::Drone => (FailureClass::Drone, "the disk is full"),
                    Fault::Infra => (FailureClass::Infra, "no route to host"),
                };
                let failure = Failure {
                    class,
                    cause: None,
                    phase: Phase::Building,
                    signature: signature.into(),
                    message: signature.into(),
                };
                let usage = Usage::default();
                self.report(
                    place,
                    attempt,
                    Command::ReportFailure { drone: drone(place), attempt, failure, usage },
                )?;
            }
        }
        Ok(())
    }

    fn claim(&mut self, place: usize) -> Result<(), String> {
        let key = format!("{place} after {}", self.swarm.last.attempt);
        let request = ClaimRequest { key, wait_ms: 30_000, memory_free_bytes: 1 << 30 };
        let claim = Command::Claim { drone: drone(place), request };
        let (reply, _) = self.must(claim.clone())?;
        let given = |reply: &Reply| match reply {
            Reply::Claim(reply) => reply.assignment.as_ref().map(|given| given.attempt),
            _ => None,
        };
        let Some(attempt) = given(&reply) else { return Ok(()) };
        let (again, changed) = self.must(claim)?;
        if given(&again) != Some(attempt) || changed {
            return Err(format!("the claim of {attempt} is answered otherwise when it is repeated"));
        }
        self.held[place].insert(attempt);
        Ok(())
    }

    fn deliver(&mut self, place: usize, attempt: AttemptId, plan: &PlanReport) -> Result<(), String> {
        let (drone, usage) = (drone(place), Usage::default());
        let record = self.swarm.attempts.get(&attempt).ok_or_else(|| format!("{attempt} is gone"))?;
        let command = match record.job {
            Job::Plan(_) => Command::ReceivePlan { drone, attempt, plan: plan.clone().into(), usage },
            Job::Build(package) => {
                let targets = self.swarm.packages[&package].targets_with(&record.build_ids);
                let digest = Digest::of(format!("{package} of {attempt}").as_bytes());
                let artifact = |target| Artifact {
                    target,
                    digest,
                    uploaded_digest: digest,
                    size: 1,
                    attempt,
                    drone,
                    received_at: self.now,
                    index_bytes: 0,
                    nar: None,
                };
                let artifacts = targets.into_iter().map(artifact).collect();
                Command::ReceivePackage { drone, attempt, artifacts, usage }
            }
            Job::Base(_) => return Err(format!("{attempt} is at a base that does not follow")),
        };
        self.report(place, attempt, command)
    }

    /// Sends a report twice; the second one must change nothing. Afterwards the drone has no more to do with
    /// the attempt, whatever the answer.
    fn report(&mut self, place: usize, attempt: AttemptId, command: Command) -> Result<(), String> {
        self.send(command.clone())?.ok();
        if let Ok((_, true)) = self.send(command)? {
            return Err(format!("the report of {attempt} changes something when it is repeated"));
        }
        self.held[place].remove(&attempt);
        Ok(())
    }

    fn beat(&mut self, place: usize) -> Result<(), String> {
        let status = |&attempt: &AttemptId| AttemptStatus {
            attempt,
            phase: Phase::Building,
            stuck: None,
            made_from: None,
        };
        let request = HeartbeatRequest {
            vitals: Vitals::default(),
            attempts: self.held[place].iter().map(status).collect(),
            draining: false,
            boot_id: String::new(),
            facts: None,
            highest_attempt: None,
        };
        match self.must(Command::Heartbeat { drone: drone(place), request })? {
            (Reply::Heartbeat(reply), _) => {
                self.held[place].retain(|attempt| reply.cancel.iter().all(|c| c.attempt != *attempt));
                Ok(())
            }
            (other, _) => Err(format!("a heartbeat is answered with {other:?}")),
        }
    }

    /// Lets an hour pass in which all drones but one send heartbeats.
    fn pass(&mut self, silent: Option<usize>) -> Result<(), String> {
        self.now = self.now + HOUR_MS;
        for place in (0..DRONES).filter(|place| Some(*place) != silent) {
            self.beat(place)?;
        }
        self.must(Command::Maintain).map(|_| ())
    }

    /// Sends an admin's command, which may be refused.
    fn ask(&mut self, command: Command) -> Result<(), String> {
        self.send(command).map(|_| ())
    }

    fn must(&mut self, command: Command) -> Result<(Reply, bool), String> {
        self.send(command)?.map_err(|refusal| format!("refused: {refusal}"))
    }

    /// Handles a command. Also returns whether it changed the journaled state.
    fn send(&mut self, command: Command) -> Result<Result<(Reply, bool), Refusal>, String> {
        self.now = self.now + 1;
        let request = Request { now: self.now, entropy: 0, key: None, command };
        let (records, reply) = match self.swarm.handle(&request) {
            Ok(done) => done,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for record in &records {
            if let Event::PackageDelegated { package, drone, .. } = &record.event {
                Oracle::delegated(&self.swarm, *package, *drone)?;
            }
        }
        Ok(Ok((reply, records.iter().any(|record| record.event.is_durable()))))
    }
}
