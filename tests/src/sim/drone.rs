//! A drone of the simulation: the real agent, a disk that survives its crashes, and builds that take virtual
//! time.

use super::{
    faults::Faults,
    plan::{Behaviour, Script},
    rng::Rng,
};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::*, name::Name, state::*, time::TimeMs, wire::drone::*};
use swarm_core::{Refusal, estimate::stretch_permille};
use swarm_drone::agent::{Agent, Delivery, Input, Output, Recovered, Timing};

/// A message from a drone.
#[derive(Debug, Clone)]
pub enum Message {
    Claim(ClaimRequest),
    Heartbeat(Box<HeartbeatRequest>),
    /// Uploads the files of an attempt.
    Upload(AttemptId, Vec<Digest>),
    /// Reports the end of an attempt.
    Report(AttemptId, Box<ReportRequest>),
    SignOff,
}

/// An entry of the spool.
#[derive(Debug, Clone)]
enum Spooled {
    Unfinished,
    Finished(Box<ReportRequest>),
}

/// A drone and its machine.
#[derive(Debug)]
pub struct Drone {
    pub id: DroneId,
    /// Speed in thousandths.
    pub speed_permille: u64,
    /// The running program; `None` while it is down.
    pub agent: Option<Agent>,
    /// Number of starts. Messages to an earlier start are lost.
    pub incarnation: u64,
    /// Facts about its machine in this start.
    pub facts: DroneFacts,
    /// The running builds: for each attempt, the report it ends with unless it is killed.
    pub building: BTreeMap<AttemptId, ReportRequest>,
    /// When its next tick is due.
    pub tick_at: Option<TimeMs>,
    spool: BTreeMap<AttemptId, Spooled>,
    /// What each attempt in the spool is made from.
    made_from: BTreeMap<AttemptId, MadeFrom>,
    /// The highest attempt ID that it was ever assigned.
    highest: Option<AttemptId>,
}

/// The consequences of a drone's step.
#[derive(Debug, Default)]
pub struct Doings {
    pub messages: Vec<Message>,
    /// Builds that were started, and when they end by themselves.
    pub build_ends_at: Vec<(AttemptId, TimeMs)>,
    /// Builds that were killed, of which the agent must be notified.
    pub killed: Vec<AttemptId>,
    /// Whether the program has ended.
    pub exited: bool,
}

impl Drone {
    /// A drone that is down and has an empty disk.
    #[must_use]
    pub fn new(id: DroneId, speed_permille: u64, facts: DroneFacts) -> Self {
        Self {
            id,
            speed_permille,
            facts,
            agent: None,
            incarnation: 0,
            building: BTreeMap::new(),
            tick_at: None,
            spool: BTreeMap::new(),
            made_from: BTreeMap::new(),
            highest: None,
        }
    }

    pub fn start(&mut self, now: TimeMs, rng: &mut Rng, context: &Context) -> Doings {
        self.incarnation += 1;
        self.tick_at = None;
        let recovered = self.spool.iter().map(|(&attempt, entry)| match entry {
            Spooled::Unfinished => Recovered::Unfinished(attempt),
            Spooled::Finished(report) => Recovered::Finished(attempt, report.clone()),
        });
        if self.incarnation > 1 && rng.chance(200) {
            self.facts.slots = slots(rng);
        }
        let (timing, slots) = (Timing::default(), self.facts.slots);
        let (agent, outputs) = Agent::new(timing, slots, rng.bits(), now, recovered.collect(), false);
        self.agent = Some(agent);
        self.do_all(now, rng, context, outputs)
    }

    /// The program or its machine crashes.
    pub fn crash(&mut self) {
        self.agent = None;
        self.building.clear();
    }

    /// Passes an event to the agent.
    pub fn step(&mut self, now: TimeMs, rng: &mut Rng, context: &Context, input: Input) -> Doings {
        let Some(agent) = &mut self.agent else { return Doings::default() };
        let outputs = agent.step(now, input);
        self.do_all(now, rng, context, outputs)
    }

    fn do_all(&mut self, now: TimeMs, rng: &mut Rng, context: &Context, outputs: Vec<Output>) -> Doings {
        let mut doings = Doings::default();
        for output in outputs {
            match output {
                Output::Claim(request) => doings.messages.push(Message::Claim(request)),
                Output::Heartbeat { mut attempts, draining } => {
                    for status in &mut attempts {
                        let is_failure = matches!(self.spool.get(&status.attempt),
                            Some(Spooled::Finished(report)) if !report.is_built());
                        let made_from = self.made_from.get(&status.attempt).copied();
                        status.made_from = made_from.filter(|_| !is_failure);
                    }
                    doings.messages.push(Message::Heartbeat(Box::new(HeartbeatRequest {
                        vitals: Vitals::default(),
                        attempts,
                        draining,
                        boot_id: format!("boot {}", self.incarnation),
                        facts: Some(self.facts.clone()),
                        highest_attempt: self.highest,
                    })));
                }
                Output::Start(assignment) => {
                    self.spool.insert(assignment.attempt, Spooled::Unfinished);
                    self.made_from.extend(assignment.made_from().map(|made| (assignment.attempt, made)));
                    self.highest = self.highest.max(Some(assignment.attempt));
                    let (mut report, length_ms) = self.build(rng, context, &assignment);
                    let hangs = context.faults_on(now) && rng.chance(context.faults.hang);
                    // A build that hangs is ended by its timeout, as in reality.
                    let length_ms = if hangs { 4 * 3_600_000 } else { length_ms };
                    if hangs {
                        report = failed(FailureClass::Timeout, "hangs");
                    }
                    self.building.insert(assignment.attempt, report);
                    assert!(
                        self.building.len() <= self.facts.slots as usize,
                        "{} has too many builds",
                        self.id
                    );
                    doings.build_ends_at.push((assignment.attempt, now + length_ms));
                }
                Output::Kill(attempt) => {
                    if self.building.remove(&attempt).is_some() {
                        doings.killed.push(attempt);
                    }
                }
                Output::Upload(attempt) => {
                    if let Some(Spooled::Finished(report)) = self.spool.get(&attempt)
                        && let Outcome::Built { artifacts } = &report.outcome
                    {
                        doings.messages.push(Message::Upload(attempt, artifacts.clone()));
                    }
                }
                Output::Report(attempt, report) => doings.messages.push(Message::Report(attempt, report)),
                Output::Spool(attempt, report) => {
                    self.spool.insert(attempt, Spooled::Finished(report));
                }
                Output::Forget(attempt) => {
                    self.spool.remove(&attempt);
                    self.made_from.remove(&attempt);
                }
                Output::SignOff => doings.messages.push(Message::SignOff),
                Output::Exit => {
                    self.agent = None;
                    doings.exited = true;
                }
            }
        }
        doings
    }

    /// The report of a build, and how long the build takes.
    fn build(&self, rng: &mut Rng, context: &Context, assignment: &Assignment) -> (ReportRequest, u64) {
        let order = match &assignment.work {
            Work::Plan => {
                let plan = context.script(assignment).report.clone();
                let usage = Usage { wall_ms: 5_000, ..Usage::default() };
                return (ReportRequest::new(Outcome::Planned { plan }, usage), 5_000);
            }
            Work::Base => return (ReportRequest::new(Outcome::Based, Usage::default()), 5_000),
            Work::Build(order) => order,
        };
        let script = context.script(assignment);
        let members: Vec<(Behaviour, u64)> = order
            .targets
            .iter()
            .filter_map(|t| script.report.packages.iter().position(|p| p.title() == t.title()))
            .map(|position| script.packages[position])
            .collect();
        let work_ms: u64 = members.iter().map(|(_, work)| work).sum();
        let alone_ms = 2_000 + work_ms * 1000 / self.speed_permille;
        let length_ms = alone_ms * stretch_permille(self.building.len() + 1) / 1000;
        let usage = Usage { wall_ms: length_ms, ..Usage::default() };
        let fails = members.iter().any(|(behaviour, _)| match behaviour {
            Behaviour::Good => false,
            Behaviour::Broken => true,
            Behaviour::Flaky(times) => rng.below(u64::from(*times) + 1) > 0,
        });
        let report = if context.drone_fault(rng) {
            failed(FailureClass::Drone, "no space left on device")
        } else if context.infra_fault(rng) {
            failed(FailureClass::Infra, "connection refused")
        } else if fails {
            failed(FailureClass::Package, &format!("error in {}", order.package))
        } else {
            let digest = |t: &Target| {
                let path = t.portage().map_or_else(|| t.id().to_owned(), |target| target.path());
                Digest::of(format!("{path} {}", assignment.attempt).as_bytes())
            };
            let artifacts = order.targets.iter().map(digest).collect();
            ReportRequest::new(Outcome::Built { artifacts }, usage)
        };
        (report, length_ms)
    }
}

/// A random number of slots for a drone.
pub fn slots(rng: &mut Rng) -> u32 {
    1 + rng.below(4) as u32
}

fn failed(class: FailureClass, signature: &str) -> ReportRequest {
    let failure = Failure {
        class,
        cause: None,
        phase: Phase::Building,
        signature: signature.into(),
        message: signature.into(),
    };
    ReportRequest::new(Outcome::Failed { failure }, Usage { wall_ms: 1000, ..Usage::default() })
}

/// The delivery result for a refusal: an orchestrator that does not know the attempt may still take it back
/// later.
pub fn refused(refusal: &Refusal) -> Delivery {
    match refusal {
        Refusal::UnknownAttempt(_) => Delivery::Failed { why: String::new(), arrived: 0, after_ms: 0 },
        _ => Delivery::Refused,
    }
}

/// The parameters of all drones' builds.
#[derive(Debug)]
pub struct Context {
    /// The scripts of each profile's runs.
    pub scripts: BTreeMap<Name, Vec<Script>>,
    /// Index of each run among the runs of its profile.
    pub versions: BTreeMap<RunId, usize>,
    pub faults: Faults,
    pub began_at: TimeMs,
    pub now: TimeMs,
}

impl Context {
    /// Whether faults still happen at this time.
    #[must_use]
    pub fn faults_on(&self, now: TimeMs) -> bool {
        now.since(self.began_at) < self.faults.until_ms
    }

    fn script(&self, assignment: &Assignment) -> &Script {
        let scripts = &self.scripts[&assignment.profile];
        let version = self.versions.get(&assignment.run).copied().unwrap_or(0);
        &scripts[version.min(scripts.len() - 1)]
    }

    fn drone_fault(&self, rng: &mut Rng) -> bool {
        self.faults_on(self.now) && rng.chance(self.faults.drone_fault)
    }

    fn infra_fault(&self, rng: &mut Rng) -> bool {
        self.faults_on(self.now) && rng.chance(self.faults.infra_fault)
    }
}
