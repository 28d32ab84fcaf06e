//! Applying events: total, never fails, reads nothing but the state and the event.
//!
//! An event that does not fit the state (which only a damaged journal can bring, as
//! [`crate::decide`] made sure of the fit) leaves the state as it is rather than stop
//! the program; [`crate::invariants`] would tell.

use crate::{
    attempt::{Attempt, Ending, Job},
    command::Reply,
    drone::{Drone, Grounding},
    estimate::{OVERHEAD_MS, UNKNOWN_MS, learn_speed},
    event::{Event, Record},
    graph::Graph,
    package::{Package, Step, next},
    plan,
    profile::Profile,
    run::Run,
    swarm::{EnrolToken, Live, Swarm},
};
use std::{cmp::Reverse, collections::BTreeMap};
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{artifact::Artifact, drone::Usage, plan::PlanReport},
};

/// First answers kept for repeated commands.
const ANSWERS_KEPT: usize = 1024;

impl Swarm {
    /// Applies one event.
    pub fn apply(&mut self, record: &Record) {
        if record.event.is_durable() {
            self.seq = record.seq;
            self.at = record.at;
        }
        self.apply_event(record.at, &record.event);
    }

    fn apply_event(&mut self, at: TimeMs, event: &Event) {
        match event {
            Event::OrchestratorStarted => self.start(at),
            Event::CommandAnswered { key, reply } => self.keep_answer(key, reply),
            Event::EnrolTokenIssued { token_hash, expires_at, approved } => {
                self.tokens.insert(*token_hash, EnrolToken { expires_at: *expires_at, approved: *approved });
            }
            Event::EnrolTokenExpired { token_hash } => {
                self.tokens.remove(token_hash);
            }
            Event::DroneEnrolled { drone, name, token_hash, credential_hash, facts, approved } => {
                self.tokens.remove(token_hash);
                self.last.drone = drone.0;
                self.live.seen.insert(*drone, at);
                self.drones.insert(
                    *drone,
                    Drone {
                        name: name.clone(),
                        credential_hash: *credential_hash,
                        facts: facts.clone(),
                        enrolled_at: at,
                        approved: *approved,
                        draining: None,
                        grounded: None,
                        offline: None,
                        lost: None,
                        strikes: 0,
                        groundings: 0,
                        speed_permille: 1000,
                    },
                );
            }
            Event::DroneApproved { drone } => self.drone(*drone, |d| d.approved = true),
            Event::DroneDrained { drone, reason } => {
                self.drone(*drone, |d| d.draining = Some(reason.clone()))
            }
            Event::DroneResumed { drone } => self.drone(*drone, |d| {
                (d.draining, d.grounded, d.lost) = (None, None, None);
                (d.strikes, d.groundings) = (0, 0);
            }),
            Event::DroneRemoved { drone } => {
                self.drones.remove(drone);
                self.at_work.remove(drone);
                self.live.seen.remove(drone);
                self.live.vitals.remove(drone);
                self.live.waiting.remove(drone);
            }
            Event::DroneWentOffline { drone, reason } => {
                self.live.waiting.remove(drone);
                self.drone(*drone, |d| d.offline = Some(reason.clone()));
            }
            Event::DroneReturned { drone } => self.drone(*drone, |d| (d.offline, d.lost) = (None, None)),
            Event::DroneRebooted { drone, boot_id } => {
                self.drone(*drone, |d| d.facts.boot_id.clone_from(boot_id));
            }
            Event::DroneStruck { drone, .. } => self.drone(*drone, |d| d.strikes += 1),
            Event::DroneGrounded { drone, until, reason } => self.drone(*drone, |d| {
                d.grounded = Some(Grounding { until: *until, reason: reason.clone() });
                (d.strikes, d.groundings) = (0, d.groundings + 1);
            }),
            Event::DroneUngrounded { drone } => self.drone(*drone, |d| d.grounded = None),

            Event::ProfilePut { name, request } => {
                let fresh = || Profile {
                    request: request.clone(),
                    generation: 0,
                    published_packages: 0,
                    build_ids: BTreeMap::new(),
                    built: BTreeMap::new(),
                };
                self.profiles.entry(name.clone()).or_insert_with(fresh).request = request.clone();
            }
            Event::ProfileRemoved { name } => {
                self.profiles.remove(name);
            }
            Event::GenerationPublished { profile, generation, packages, .. } => {
                if let Some(profile) = self.profiles.get_mut(profile) {
                    (profile.generation, profile.published_packages) = (*generation, *packages);
                }
            }

            Event::RunStarted { run, profile, class, snapshot } => {
                self.last.run = run.0;
                self.runs.insert(
                    *run,
                    Run {
                        profile: profile.clone(),
                        class: *class,
                        snapshot: *snapshot,
                        state: RunState::Planning,
                        reason: String::new(),
                        started_at: at,
                        ended_at: None,
                        plan_attempts: Vec::new(),
                        plan_not_before: at,
                        packages: Vec::new(),
                        graph: Graph::default(),
                        counts: BTreeMap::new(),
                        ready: Default::default(),
                        reused: 0,
                        problems: Vec::new(),
                    },
                );
            }
            Event::PlanDelegated { run, attempt, drone, key } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.plan_attempts.push(*attempt);
                }
                self.delegate(at, *attempt, Job::Plan(*run), *drone, key, Vec::new());
            }
            Event::PlanReceived { run, attempt, first_package, plan, usage } => {
                self.end(at, *attempt, Ending::Accepted, Some(*usage));
                self.supersede(at, Job::Plan(*run));
                self.take_plan(*run, *first_package, plan);
            }
            Event::PlanNeeded { run, not_before, reason } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.plan_not_before = *not_before;
                    run.reason.clone_from(reason);
                }
            }
            Event::RunEnded { run, state, reason } => self.end_run(at, *run, *state, reason),
            Event::RunReopened { run } => {
                if let Some(run) = self.runs.get_mut(run) {
                    (run.state, run.ended_at) = (RunState::Building, None);
                    run.reason.clear();
                }
            }
            Event::RunForgotten { run } => self.forget_run(*run),

            Event::PackageReused { package, artifacts } => {
                self.receive(*package, artifacts, true);
            }
            Event::PackageDelegated { package, attempt, drone, key, build_ids } => {
                if self.step(*package, Step::Delegate) {
                    self.note_build_ids(*package, build_ids);
                    if let Some(package) = self.packages.get_mut(package) {
                        package.attempts.push(*attempt);
                    }
                    self.delegate(at, *attempt, Job::Build(*package), *drone, key, build_ids.clone());
                }
            }
            Event::PackageNeeded { package, not_before, reason } => {
                self.step(*package, Step::Return);
                if let Some(package) = self.packages.get_mut(package) {
                    package.not_before = *not_before;
                    package.reason.clone_from(reason);
                }
            }
            Event::PackageReceived { package, attempt, artifacts, usage } => {
                self.learn(at, *package, *attempt, *usage);
                self.end(at, *attempt, Ending::Accepted, Some(*usage));
                self.supersede(at, Job::Build(*package));
                self.receive(*package, artifacts, false);
            }
            Event::PackageQuarantined { package, reason } => {
                self.supersede(at, Job::Build(*package));
                if self.step(*package, Step::Quarantine)
                    && let Some(package) = self.packages.get_mut(package)
                {
                    package.reason.clone_from(reason);
                }
            }
            Event::PackageReleased { package } => {
                if let Some(p) = self.packages.get_mut(package) {
                    p.forgiven = p.attempts.len();
                    p.not_before = at;
                    p.reason = "an admin wants it tried again".into();
                }
                self.step(*package, Step::Release);
            }

            Event::AttemptPhaseReached { attempt, phase } => {
                if let Some(attempt) = self.attempts.get_mut(attempt) {
                    attempt.phases.entry(*phase).or_insert(at);
                }
            }
            Event::AttemptFailed { attempt, failure, usage } => {
                self.end(at, *attempt, Ending::Failed(failure.clone()), Some(*usage));
            }
            Event::AttemptRejected { attempt, reason } => {
                self.end(at, *attempt, Ending::Rejected(reason.clone()), None);
            }
            Event::AttemptHandedBack { attempt, reason } => {
                self.end(at, *attempt, Ending::HandedBack(reason.clone()), None);
            }
            Event::AttemptLost { attempt, reason } => {
                self.end(at, *attempt, Ending::Lost(reason.clone()), None);
            }
            Event::AttemptRevived { attempt } => self.revive(at, *attempt),

            Event::DroneSeen { drone, vitals } => {
                self.live.seen.insert(*drone, at);
                if let Some(vitals) = vitals {
                    self.live.vitals.insert(*drone, *vitals);
                }
            }
            Event::LeasesRenewed { attempts, until } => {
                for attempt in attempts {
                    self.live.leases.insert(*attempt, *until);
                }
            }
            Event::DroneWaits { drone, until } => {
                self.live.waiting.insert(*drone, *until);
            }
        }
    }

    fn drone(&mut self, id: DroneId, change: impl FnOnce(&mut Drone)) {
        if let Some(drone) = self.drones.get_mut(&id) {
            change(drone);
        }
    }

    /// Everybody who was at work gets a full lease from the end of the grace time on.
    fn start(&mut self, at: TimeMs) {
        let until = at + self.policy.startup_grace_ms + self.policy.lease_ms;
        let live = self.at_work.values().flatten().map(|&attempt| (attempt, until));
        self.live = Live {
            started_at: at,
            seen: self.drones.keys().map(|&drone| (drone, at)).collect(),
            leases: live.collect(),
            ..Live::default()
        };
    }

    fn keep_answer(&mut self, key: &str, reply: &Reply) {
        self.answers.insert(key.to_owned(), (self.seq, reply.clone()));
        if self.answers.len() > ANSWERS_KEPT {
            let oldest = self.answers.iter().min_by_key(|(_, (seq, _))| *seq).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.answers.remove(&oldest);
            }
        }
    }

    /// Takes a package along the table. False if the table does not allow it.
    fn step(&mut self, id: PackageId, step: Step) -> bool {
        let Some(package) = self.packages.get_mut(&id) else { return false };
        let Some(state) = next(package.state, step) else { return false };
        if let Some(run) = self.runs.get_mut(&package.run) {
            let place = (Reverse(package.rank_ms), id);
            run.ready.remove(&place);
            if let Some(count) = run.counts.get_mut(&package.state) {
                *count = count.saturating_sub(1);
            }
            *run.counts.entry(state).or_default() += 1;
            if state == PackageState::Needed {
                run.ready.insert(place);
            }
        }
        package.state = state;
        true
    }

    fn delegate(
        &mut self,
        at: TimeMs,
        id: AttemptId,
        job: Job,
        drone: DroneId,
        key: &str,
        build_ids: Vec<u32>,
    ) {
        let Some(name) = self.drones.get(&drone).map(|d| d.name.clone()) else { return };
        self.last.attempt = id.0;
        self.at_work.entry(drone).or_default().insert(id);
        self.live.leases.insert(id, at + self.policy.lease_ms);
        self.live.waiting.remove(&drone);
        self.attempts.insert(
            id,
            Attempt {
                job,
                drone,
                drone_name: name,
                key: key.to_owned(),
                build_ids,
                started_at: at,
                ended_at: None,
                phases: BTreeMap::from([(Phase::Assigned, at)]),
                ending: None,
                usage: None,
            },
        );
    }

    fn end(&mut self, at: TimeMs, id: AttemptId, ending: Ending, usage: Option<Usage>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.ending = Some(ending);
        attempt.ended_at = Some(at);
        attempt.usage = usage.or(attempt.usage);
        self.live.leases.remove(&id);
        if let Some(live) = self.at_work.get_mut(&attempt.drone) {
            live.remove(&id);
        }
    }

    fn supersede(&mut self, at: TimeMs, job: Job) {
        let others: Vec<AttemptId> = self.attempts_at(job).map(|(id, _)| id).collect();
        for other in others {
            self.end(at, other, Ending::Superseded, None);
        }
    }

    fn revive(&mut self, at: TimeMs, id: AttemptId) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let drone = attempt.drone;
        if let Job::Build(package) = attempt.job
            && !self.step(package, Step::Delegate)
        {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(&id) {
            (attempt.ending, attempt.ended_at) = (None, None);
        }
        self.at_work.entry(drone).or_default().insert(id);
        self.live.leases.insert(id, at + self.policy.lease_ms);
    }

    fn note_build_ids(&mut self, id: PackageId, build_ids: &[u32]) {
        let Some(package) = self.packages.get(&id) else { return };
        let Some(run) = self.runs.get(&package.run) else { return };
        let Some(profile) = self.profiles.get_mut(&run.profile) else { return };
        for (target, &build_id) in package.targets.iter().zip(build_ids) {
            profile.build_ids.insert(target.cpv.clone(), build_id);
        }
    }

    fn take_plan(&mut self, id: RunId, first: PackageId, report: &PlanReport) {
        let nodes = plan::nodes(report);
        let build: Vec<Vec<u32>> = nodes.iter().map(|n| n.build.clone()).collect();
        let runtime: Vec<Vec<u32>> = nodes.iter().map(|n| n.runtime.clone()).collect();
        let (graph, bundle, unmet) = Graph::new(&build, &runtime);
        let typical = self.history.typical().unwrap_or(UNKNOWN_MS);
        let predicted: Vec<u64> = nodes
            .iter()
            .map(|n| self.history.predict(&history_name(&n.targets)).unwrap_or(typical))
            .collect();
        let work: Vec<u64> = predicted.iter().map(|ms| ms + OVERHEAD_MS).collect();
        let rank = graph.ranks(&bundle, &work);
        let Some(run) = self.runs.get_mut(&id) else { return };
        let absolute =
            |positions: &[u32]| positions.iter().map(|&p| PackageId(first.0 + u64::from(p))).collect();
        for (n, node) in nodes.into_iter().enumerate() {
            let package = PackageId(first.0 + n as u64);
            let state = if unmet[n] == 0 { PackageState::Needed } else { PackageState::Blocked };
            *run.counts.entry(state).or_default() += 1;
            if state == PackageState::Needed {
                run.ready.insert((Reverse(rank[n]), package));
            }
            run.packages.push(package);
            self.packages.insert(
                package,
                Package {
                    run: id,
                    build_key: node.build_key,
                    build_deps: absolute(&node.build),
                    runtime_deps: absolute(&node.runtime),
                    targets: node.targets,
                    stages: node.stages,
                    state,
                    reason: String::new(),
                    not_before: TimeMs(0),
                    bundle: bundle[n],
                    unmet: unmet[n],
                    attempts: Vec::new(),
                    forgiven: 0,
                    artifacts: Vec::new(),
                    reused: false,
                    predicted_ms: predicted[n],
                    rank_ms: rank[n],
                },
            );
        }
        self.last.package = first.0 - 1 + run.packages.len() as u64;
        run.graph = graph;
        run.problems.clone_from(&report.problems);
        run.state = RunState::Building;
        run.reason.clear();
    }

    fn receive(&mut self, id: PackageId, artifacts: &[Artifact], reused: bool) {
        if !self.step(id, Step::Receive) {
            return;
        }
        let Some(package) = self.packages.get_mut(&id) else { return };
        package.artifacts = artifacts.to_vec();
        package.reused = reused;
        package.reason.clear();
        let (bundle, key) = (package.bundle, package.build_key);
        let Some(run) = self.runs.get_mut(&package.run) else { return };
        run.reused += u64::from(reused);
        if let Some(profile) = self.profiles.get_mut(&run.profile) {
            profile.built.insert(key, artifacts.to_vec());
        }
        let first = run.packages.first().map_or(0, |p| p.0);
        for position in run.graph.receive(bundle) {
            let dependant = PackageId(first + u64::from(position));
            let Some(package) = self.packages.get_mut(&dependant) else { continue };
            package.unmet = package.unmet.saturating_sub(1);
            if package.unmet == 0 {
                self.step(dependant, Step::Unblock);
            }
        }
    }

    /// What a success teaches: the package's work, the drone's speed, and that the drone
    /// is in order.
    fn learn(&mut self, at: TimeMs, id: PackageId, attempt: AttemptId, usage: Usage) {
        let (Some(package), Some(attempt)) = (self.packages.get(&id), self.attempts.get(&attempt)) else {
            return;
        };
        let Some(drone) = self.drones.get_mut(&attempt.drone) else { return };
        // A drone may claim any figure; it cannot have taken longer than it had.
        let took_ms = usage.wall_ms.min(at.since(attempt.started_at)).max(1);
        let name = history_name(&package.targets);
        if let Some(known) = self.history.predict(&name) {
            drone.speed_permille = learn_speed(drone.speed_permille, known, took_ms);
        }
        self.history.note(&name, took_ms.saturating_mul(drone.speed_permille) / 1000);
        (drone.strikes, drone.groundings) = (0, 0);
    }

    fn end_run(&mut self, at: TimeMs, id: RunId, state: RunState, reason: &str) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        (run.state, run.ended_at) = (state, Some(at));
        run.reason = reason.to_owned();
        if state != RunState::Cancelled {
            return;
        }
        let jobs: Vec<Job> = run.packages.iter().map(|&p| Job::Build(p)).chain([Job::Plan(id)]).collect();
        for job in jobs {
            let live: Vec<AttemptId> = self.attempts_at(job).map(|(id, _)| id).collect();
            for attempt in live {
                self.end(at, attempt, Ending::Cancelled, None);
            }
            if let Job::Build(package) = job {
                self.step(package, Step::Cancel);
            }
        }
    }

    fn forget_run(&mut self, id: RunId) {
        let Some(run) = self.runs.remove(&id) else { return };
        let mut attempts = run.plan_attempts;
        for package in &run.packages {
            attempts.extend(self.packages.remove(package).into_iter().flat_map(|p| p.attempts));
        }
        for attempt in attempts {
            self.attempts.remove(&attempt);
        }
        let kept: std::collections::BTreeSet<_> = self
            .runs
            .values()
            .filter(|r| r.profile == run.profile)
            .flat_map(|r| &r.packages)
            .filter_map(|p| Some(self.packages.get(p)?.build_key))
            .collect();
        if let Some(profile) = self.profiles.get_mut(&run.profile) {
            profile.built.retain(|key, _| kept.contains(key));
        }
    }
}

/// The name under which a package's work is remembered: without versions.
pub(crate) fn history_name(targets: &[swarm_common::wire::drone::Target]) -> String {
    let names: Vec<_> = targets.iter().map(|t| t.cpv.cp()).collect();
    names.join("+")
}
