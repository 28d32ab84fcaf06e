//! The orchestrator of the simulation: the real core, a journal that survives kills, a store, and those parts
//! of engine and handlers that matter for the guarantees.

mod backup;

use self::backup::Backups;
use super::{clock::Clock, drone, nix, oracle::Oracle, rng::Rng, words::Telling};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::*,
    time::TimeMs,
    wire::{artifact::Artifact, drone::*},
};
use swarm_core::{Command, Policy, Record, Refusal, Reply, Request, Swarm, fence, state::Job};
use swarm_drone::agent::{Delivery, Input};

/// The recipient of an answer: a request of a drone since one of its starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub drone: DroneId,
    /// Which of its starts.
    pub incarnation: u64,
    /// Which of its requests.
    pub request: u64,
}

/// Why a command has no result.
enum Ended {
    Answered(Result<Reply, Refusal>),
    /// The journal cannot be written. The command may still take effect.
    Stalled,
    /// The orchestrator was killed while executing it.
    Died,
}

/// When the next append kills the orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// The events are lost.
    BeforeAppend,
    /// The events are kept, but the answer is lost.
    AfterAppend,
}

/// The orchestrator and its disks.
#[derive(Debug, Default)]
pub struct Orchestrator {
    /// The running program; `None` while it is down.
    pub swarm: Option<Swarm>,
    pub oracle: Oracle,
    /// Where the next append kills it; `None` if it does not.
    pub kill_at: Option<KillPoint>,
    /// Until when the journal cannot be written.
    pub stalled_until: TimeMs,
    /// Its machine's clock, and the engine's time.
    pub clock: Clock,
    /// Results whose acceptance was confirmed to a drone.
    pub acknowledged: BTreeMap<PackageId, AttemptId>,
    /// How sentences about events are worded.
    pub telling: Telling,
    /// Chance that a package is rejected, in thousandths.
    pub reject: u64,
    /// Index of each run among the runs of its profile, including runs lost by a restore.
    pub versions: BTreeMap<RunId, usize>,
    journal: Vec<Record>,
    backups: Backups,
    snapshot: Option<(usize, String)>,
    /// Applies the journal from the first event on. Every restart is compared with it.
    shadow: Swarm,
    /// What was decided but not written, and when.
    pending: Option<(TimeMs, Vec<Record>)>,
    parked: Vec<(Caller, ClaimRequest, TimeMs)>,
    /// The last event after which parked claims were examined.
    looked_at: u64,
    uploads: BTreeMap<AttemptId, BTreeSet<Digest>>,
    store: BTreeSet<Digest>,
}

impl Orchestrator {
    /// Starts the program from checkpoint and journal.
    ///
    /// # Errors
    /// The rebuilt state differs from the journaled state.
    pub fn start(&mut self, now: TimeMs, rng: &mut Rng) -> Result<(), String> {
        let (from, mut swarm) = match &self.snapshot {
            Some((seq, text)) => {
                (*seq, serde_json::from_str::<Swarm>(text).map_err(|e| format!("the snapshot: {e}"))?)
            }
            None => (0, Swarm::default()),
        };
        swarm.policy = Policy::default();
        for record in &self.journal[from..] {
            swarm.apply(record);
        }
        let mut expected = self.shadow.clone();
        (swarm.live, expected.live) = Default::default();
        if swarm != expected {
            return Err(format!("a restart at event {} does not give the journaled state", swarm.seq));
        }
        if rng.chance(300) {
            let text = serde_json::to_string(&swarm).map_err(|e| format!("the snapshot: {e}"))?;
            self.snapshot = Some((self.journal.len(), text));
        }
        self.clock.start(now, swarm.at);
        self.swarm = Some(swarm);
        if self.backups.restored {
            let Ended::Answered(Ok(_)) = self.command(now, rng, Command::SkipIds, None)? else {
                self.die();
                return Ok(());
            };
            self.backups.restored = false;
        }
        self.command(now, rng, Command::StartOrchestrator, None).map(|_| ())
    }

    /// Kills the program. Everything not appended is lost.
    pub fn die(&mut self) {
        self.swarm = None;
        self.pending = None;
        self.parked.clear();
        self.kill_at = None;
        self.stalled_until = TimeMs(0);
    }

    fn command(
        &mut self,
        now: TimeMs,
        rng: &mut Rng,
        command: Command,
        key: Option<String>,
    ) -> Result<Ended, String> {
        // The batch that failed must be written before anything else is decided.
        if self.is_stuck(now) {
            return Ok(Ended::Stalled);
        }
        if let Some((decided_at, records)) = self.pending.take() {
            self.commit(decided_at, records)?;
        }
        let request = Request { now: self.clock.times(now), entropy: rng.bits(), key, command };
        let Some(swarm) = &mut self.swarm else { return Ok(Ended::Died) };
        let (records, reply) = match self.telling.handle(swarm, &request)? {
            Ok(done) => done,
            Err(refusal) => return Ok(Ended::Answered(Err(refusal))),
        };
        let durable: Vec<Record> = records.into_iter().filter(|r| r.event.is_durable()).collect();
        if durable.is_empty() {
            return Ok(Ended::Answered(Ok(reply)));
        }
        if self.kill_at == Some(KillPoint::BeforeAppend) {
            self.die();
            return Ok(Ended::Died);
        }
        if now < self.stalled_until {
            self.pending = Some((now, durable));
            return Ok(Ended::Stalled);
        }
        self.commit(now, durable)?;
        if self.kill_at == Some(KillPoint::AfterAppend) {
            self.die();
            return Ok(Ended::Died);
        }
        Ok(Ended::Answered(Ok(reply)))
    }

    fn is_stuck(&self, now: TimeMs) -> bool {
        self.pending.is_some() && now < self.stalled_until
    }

    fn commit(&mut self, decided_at: TimeMs, records: Vec<Record>) -> Result<(), String> {
        for record in &records {
            self.oracle.assigned(&self.shadow, record)?;
            self.shadow.apply(record);
        }
        if let Some(swarm) = &self.swarm {
            self.oracle.committed(decided_at, swarm, &records, &self.store)?;
            for (run, record) in &swarm.runs {
                let earlier = || swarm.runs.range(..run).filter(|(_, other)| other.profile == record.profile);
                self.versions.entry(*run).or_insert_with(|| earlier().count());
            }
        }
        self.telling.note_records(&records)?;
        self.journal.extend(records);
        self.backups.committed(self.journal.len());
        Ok(())
    }

    /// Handles the passage of time: the journal may work again, the machine's clock is checked, the
    /// maintenance pass runs, and parked claims are examined.
    ///
    /// # Errors
    /// A violation found by the oracle.
    pub fn tick(&mut self, now: TimeMs, rng: &mut Rng) -> Result<Vec<(Caller, Input)>, String> {
        let mut answers = Vec::new();
        if !self.is_stuck(now)
            && let Some(by_ms) = self.clock.look(now)
        {
            self.command(now, rng, Command::SetClock { by_ms }, None)?;
            self.clock.follow();
            // They wait until a time on the clock before it was moved.
            let parked = self.parked.drain(..);
            answers.extend(parked.map(|(caller, ..)| (caller, Input::ClaimAnswered(None))));
        }
        self.command(now, rng, Command::Maintain, None)?;
        if let Some(swarm) = &self.swarm {
            self.telling.note_concerns(swarm, self.clock.times(now))?;
        }
        answers.extend(self.unpark(now, rng)?);
        Ok(answers)
    }

    /// Starts a run, if possible.
    ///
    /// # Errors
    /// A violation found by the oracle.
    pub fn admin(
        &mut self,
        now: TimeMs,
        rng: &mut Rng,
        command: Command,
        key: &str,
    ) -> Result<Option<Reply>, String> {
        match self.command(now, rng, command, Some(key.to_owned()))? {
            Ended::Answered(Ok(reply)) => Ok(Some(reply)),
            _ => Ok(None),
        }
    }

    /// Receives a drone's message.
    ///
    /// # Errors
    /// A violation found by the oracle.
    pub fn receive(
        &mut self,
        now: TimeMs,
        rng: &mut Rng,
        caller: Caller,
        message: drone::Message,
    ) -> Result<Vec<(Caller, Input)>, String> {
        let drone = caller.drone;
        let mut answers = Vec::new();
        match message {
            drone::Message::Claim(request) => self.claim(now, rng, caller, request, None, &mut answers)?,
            drone::Message::Heartbeat(request) => {
                let named: Vec<AttemptId> = request.attempts.iter().map(|a| a.attempt).collect();
                match self.command(now, rng, Command::Heartbeat { drone, request: *request }, None)? {
                    Ended::Answered(Ok(Reply::Heartbeat(reply))) => {
                        self.oracle.renewed(now, &named);
                        let swarm = self.swarm.as_ref();
                        if swarm.is_some_and(|swarm| swarm.runs.values().all(|run| run.state.is_over())) {
                            self.oracle.kept.extend(&reply.kept);
                        }
                        answers.push((caller, Input::HeartbeatAnswered(Some(reply))));
                    }
                    Ended::Answered(_) | Ended::Stalled => {
                        answers.push((caller, Input::HeartbeatAnswered(None)))
                    }
                    Ended::Died => {}
                }
            }
            drone::Message::Upload(id, digests) => {
                let Some(swarm) = &self.swarm else { return Ok(answers) };
                let delivery = match fence::fence(swarm, drone, id) {
                    Ok(_) => {
                        self.uploads.entry(id).or_default().extend(digests);
                        Delivery::Done
                    }
                    Err(refusal) => drone::refused(&refusal),
                };
                answers.push((caller, Input::UploadEnded(id, delivery)));
            }
            drone::Message::Report(id, report) => {
                if let Some(delivery) = self.report(now, rng, drone, id, *report)? {
                    answers.push((caller, Input::ReportEnded(id, delivery)));
                }
            }
            drone::Message::SignOff => {
                let reason = "stopping".to_owned();
                self.command(now, rng, Command::SignOff { drone, reason }, None)?;
                answers.push((caller, Input::SignedOff));
            }
        }
        if self.swarm.as_ref().is_some_and(|s| s.seq != self.looked_at) {
            answers.extend(self.unpark(now, rng)?);
        }
        Ok(answers)
    }

    /// Answers a claim, or parks it until `deadline`.
    fn claim(
        &mut self,
        now: TimeMs,
        rng: &mut Rng,
        caller: Caller,
        request: ClaimRequest,
        deadline: Option<TimeMs>,
        answers: &mut Vec<(Caller, Input)>,
    ) -> Result<(), String> {
        let deadline = deadline.unwrap_or(now + request.wait_ms);
        let command = Command::Claim { drone: caller.drone, request: request.clone() };
        match self.command(now, rng, command, None)? {
            Ended::Answered(Ok(Reply::Claim(reply))) if reply.assignment.is_some() || now >= deadline => {
                answers.push((caller, Input::ClaimAnswered(Some(*reply))));
            }
            Ended::Answered(Ok(_)) => self.parked.push((caller, request, deadline)),
            Ended::Answered(Err(_)) | Ended::Stalled => answers.push((caller, Input::ClaimAnswered(None))),
            Ended::Died => {}
        }
        Ok(())
    }

    fn unpark(&mut self, now: TimeMs, rng: &mut Rng) -> Result<Vec<(Caller, Input)>, String> {
        let mut answers = Vec::new();
        self.looked_at = self.swarm.as_ref().map_or(0, |s| s.seq);
        for (caller, request, deadline) in std::mem::take(&mut self.parked) {
            if self.swarm.is_some() {
                self.claim(now, rng, caller, request, Some(deadline), &mut answers)?;
            }
        }
        Ok(answers)
    }

    fn report(
        &mut self,
        now: TimeMs,
        rng: &mut Rng,
        drone: DroneId,
        id: AttemptId,
        report: ReportRequest,
    ) -> Result<Option<Delivery>, String> {
        let usage = report.usage;
        let mut built = None;
        let command = match report.outcome {
            Outcome::Planned { plan } => {
                Command::ReceivePlan { drone, attempt: id, plan: plan.into(), usage }
            }
            Outcome::Based => Command::ReceiveBase { drone, attempt: id, usage },
            Outcome::Failed { failure } => Command::ReportFailure { drone, attempt: id, failure, usage },
            Outcome::HandedBack { reason } => Command::HandBack { drone, attempt: id, reason },
            Outcome::Built { artifacts } => {
                let there = self.uploads.get(&id);
                if artifacts.iter().any(|d| there.is_none_or(|files| !files.contains(d))) {
                    return Ok(Some(Delivery::FilesMissing));
                }
                let Some((package, artifacts)) = self.artifacts(drone, id, &artifacts) else {
                    return Ok(Some(drone::refused(&Refusal::UnknownAttempt(id))));
                };
                if self.reject > 0 && rng.chance(self.reject) {
                    let (kind, reason) = ("wrong-name".into(), format!("the file of {id} is another"));
                    let rejection = Rejection { kind, reason };
                    Command::RejectPackage { drone, attempt: id, rejection }
                } else {
                    self.store.extend(artifacts.iter().map(|a| a.digest));
                    built = Some(package);
                    Command::ReceivePackage { drone, attempt: id, artifacts, usage }
                }
            }
        };
        Ok(match self.command(now, rng, command, None)? {
            Ended::Answered(Ok(_)) => {
                if let Some(package) = built {
                    self.acknowledged.insert(package, id);
                }
                Some(Delivery::Done)
            }
            Ended::Answered(Err(refusal)) => Some(drone::refused(&refusal)),
            Ended::Stalled => Some(Delivery::Failed { why: String::new(), arrived: 0, after_ms: 0 }),
            Ended::Died => None,
        })
    }

    fn artifacts(
        &self,
        drone: DroneId,
        id: AttemptId,
        digests: &[Digest],
    ) -> Option<(PackageId, Vec<Artifact>)> {
        let swarm = self.swarm.as_ref()?;
        let attempt = swarm.attempts.get(&id)?;
        let Job::Build(package) = attempt.job else { return None };
        let targets = &swarm.packages.get(&package)?.targets;
        // Outputs of Nix have no build IDs.
        let build_ids = attempt.build_ids.iter().map(|&id| Some(id)).chain(std::iter::repeat(None));
        let made = targets.iter().zip(build_ids).zip(digests).map(|((target, build_id), &digest)| Artifact {
            target: build_id.map_or(target.clone(), |id| target.clone().with_build_id(id)),
            digest,
            uploaded_digest: digest,
            size: 1,
            attempt: id,
            drone,
            received_at: swarm.at,
            index_bytes: 0,
            nar: nix::nar(swarm, package, target, digest),
        });
        Some((package, made.collect()))
    }
}
