//! A small swarm for testing rules: every step goes through the real core, and the invariants are checked
//! after each one.
// The benchmarks use a part of it, and a test may unwrap.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod ladder;

use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::{
        admin::{BuilderKind, ProfileRequest, Rebuild},
        artifact::Artifact,
        drone::*,
        plan::*,
    },
};
use swarm_core::{
    Command, Policy, Reason, Refusal, Reply, Request, Swarm, invariants,
    state::{Profile, Run},
    text,
};

/// A swarm with a clock that the test moves.
pub struct Kit {
    pub swarm: Swarm,
    pub now: TimeMs,
    claims: u64,
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The sentence for a reason; empty if there is none.
pub fn said(reason: &Option<Reason>) -> String {
    text::optional_reason(reason.as_ref())
}

/// Everything that determines the content of the binary package hosts.
fn hosted(swarm: &Swarm) -> impl PartialEq {
    let received = swarm.packages.iter().filter(|(_, package)| package.state == PackageState::Received);
    let received: Vec<_> = received.map(|(id, package)| (*id, package.artifacts.clone())).collect();
    let end = |run: &Run| run.state.is_over().then_some(run.state);
    let runs: Vec<_> = swarm.runs.iter().map(|(id, run)| (*id, run.profile.clone(), end(run))).collect();
    let generation = |(name, p): (&Name, &Profile)| (name.clone(), p.generation, p.stable.current().cloned());
    let generations: Vec<_> = swarm.profiles.iter().map(generation).collect();
    (received, runs, generations)
}

impl Kit {
    /// A swarm with the profile `desk`, and an approved drone for each name.
    pub fn new(drones: &[&str]) -> Self {
        let mut kit = Self { swarm: Swarm::new(Policy::default()), now: TimeMs(1_000_000), claims: 0 };
        kit.must(Command::StartOrchestrator);
        kit.put_profile("desk", Rebuild::Gentoo);
        for drone in drones {
            kit.enrol(drone);
        }
        kit
    }

    pub fn put_profile(&mut self, profile: &str, rebuild: Rebuild) {
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: Digest::of(b"snapshot"),
            source: "a test".into(),
            base: None,
            rebuild,
            publish: Default::default(),
            cpu: Default::default(),
        };
        self.must(Command::PutProfile { name: name(profile), request });
    }

    pub fn enrol(&mut self, drone: &str) -> DroneId {
        self.enrol_with(drone, 4, 8 << 30)
    }

    pub fn enrol_with(&mut self, drone: &str, cores: u32, memory_bytes: u64) -> DroneId {
        let token_hash = Digest::of(drone.as_bytes());
        self.must(Command::IssueEnrolToken { token_hash, valid_ms: 1000, approved: true });
        let reply = self.must(Command::EnrolDrone {
            token_hash,
            name: name(drone),
            credential_hash: Digest::of(format!("credential of {drone}").as_bytes()),
            facts: DroneFacts {
                machine_id: drone.into(),
                boot_id: "1".into(),
                cores,
                memory_bytes,
                version: "0".into(),
                images: Some("x86_64".into()),
                nix: Some("2.8.0".into()),
                ..DroneFacts::default()
            },
        });
        let Reply::Drone(id) = reply else { panic!("{reply:?}") };
        id
    }

    pub fn send(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.send_keyed(command, None)
    }

    pub fn send_keyed(&mut self, command: Command, key: Option<&str>) -> Result<Reply, Refusal> {
        let request = Request { now: self.now, entropy: 7, key: key.map(str::to_owned), command };
        let before = self.swarm.clone();
        let outcome = self.swarm.handle(&request);
        if outcome.is_err() {
            assert!(before == self.swarm, "a refused command changed something");
        }
        invariants::check(&self.swarm).unwrap();
        if let Ok((records, _)) = &outcome
            && !records.iter().any(|record| record.event.affects_channels())
        {
            assert!(hosted(&before) == hosted(&self.swarm), "{records:?} changed what is published");
        }
        outcome.map(|(_, reply)| reply)
    }

    pub fn must(&mut self, command: Command) -> Reply {
        self.send(command).unwrap()
    }

    /// Starts a run of `desk` and reports its plan. `edges` are build dependencies `(from, to)`.
    pub fn run(&mut self, packages: &[&str], edges: &[(u32, u32)]) -> RunId {
        self.plan(report(packages, edges))
    }

    /// Starts a run of `desk` and reports this plan.
    pub fn plan(&mut self, plan: PlanReport) -> RunId {
        self.plan_for("desk", plan)
    }

    /// Starts a run of a profile and reports this plan.
    pub fn plan_for(&mut self, profile: &str, plan: PlanReport) -> RunId {
        let reply = self.must(Command::StartRun { profile: name(profile), class: RunClass::Nightly });
        let Reply::Run(run) = reply else { panic!("{reply:?}") };
        let drone = *self.swarm.drones.keys().next().unwrap();
        let attempt = self.claim(drone).expect("the plan to be claimed").attempt;
        let usage = Usage::default();
        self.must(Command::ReceivePlan { drone, attempt, plan: plan.into(), usage });
        run
    }

    pub fn claim(&mut self, drone: DroneId) -> Option<Assignment> {
        self.claims += 1;
        let key = format!("claim-{}", self.claims);
        self.claim_reply(drone, &key).assignment
    }

    pub fn claim_reply(&mut self, drone: DroneId, key: &str) -> ClaimReply {
        let request = ClaimRequest { key: key.into(), wait_ms: 30_000, memory_free_bytes: 1 << 30 };
        let reply = self.must(Command::Claim { drone, request });
        let Reply::Claim(reply) = reply else { panic!("{reply:?}") };
        *reply
    }

    pub fn heartbeat(&mut self, drone: DroneId, attempts: &[AttemptId]) -> HeartbeatReply {
        self.beat(drone, attempts, false)
    }

    pub fn beat(&mut self, drone: DroneId, attempts: &[AttemptId], draining: bool) -> HeartbeatReply {
        let status =
            |&attempt| AttemptStatus { attempt, phase: Phase::Building, stuck: None, made_from: None };
        let reply = self.must(Command::Heartbeat {
            drone,
            request: HeartbeatRequest {
                vitals: Vitals::default(),
                attempts: attempts.iter().map(status).collect(),
                draining,
                boot_id: self.swarm.drones[&drone].facts.boot_id.clone(),
                facts: None,
                highest_attempt: None,
            },
        });
        let Reply::Heartbeat(reply) = reply else { panic!("{reply:?}") };
        reply
    }

    /// Delivers the files of an assignment after `took_ms`.
    pub fn deliver(&mut self, drone: DroneId, assignment: &Assignment) -> Result<ReportReply, Refusal> {
        let artifacts = artifacts(drone, assignment);
        let attempt = assignment.attempt;
        let usage = Usage { wall_ms: 10_000, ..Usage::default() };
        match self.send(Command::ReceivePackage { drone, attempt, artifacts, usage })? {
            Reply::Report(reply) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    pub fn fail(&mut self, drone: DroneId, assignment: &Assignment, class: FailureClass, signature: &str) {
        self.fail_for(drone, assignment, class, signature, None);
    }

    pub fn fail_for(
        &mut self,
        drone: DroneId,
        assignment: &Assignment,
        class: FailureClass,
        signature: &str,
        cause: Option<FailureCause>,
    ) {
        let failure = Failure {
            class,
            phase: Phase::Building,
            signature: signature.into(),
            message: signature.into(),
            cause,
        };
        let attempt = assignment.attempt;
        self.must(Command::ReportFailure { drone, attempt, failure, usage: Usage::default() });
    }

    /// Moves the clock forward while the drones in `alive` send heartbeats with their attempts, and handles
    /// the passage of time.
    pub fn pass(&mut self, ms: u64, alive: &[DroneId]) {
        let end = self.now + ms;
        while self.now < end {
            self.now = (self.now + 10_000).min(end);
            for &drone in alive {
                let live: Vec<AttemptId> = self.swarm.attempts_of(drone).map(|(id, _)| id).collect();
                self.heartbeat(drone, &live);
            }
            self.must(Command::Maintain);
        }
    }

    pub fn state(&self, package: u64) -> PackageState {
        self.swarm.packages[&PackageId(package)].state
    }

    pub fn strikes(&self, drone: DroneId) -> usize {
        self.swarm.drones[&drone].strikes.len()
    }

    pub fn drone_state(&self, drone: DroneId) -> DroneState {
        self.swarm.drones[&drone].state()
    }
}

fn digest_of(target: &Target) -> Digest {
    let path = target.portage().map(PortageTarget::path);
    Digest::of(path.as_deref().unwrap_or(target.id()).as_bytes())
}

pub fn artifacts(drone: DroneId, assignment: &Assignment) -> Vec<Artifact> {
    let Work::Build(order) = &assignment.work else { panic!("not a build") };
    let artifact = |target: &Target| Artifact {
        target: target.clone(),
        digest: digest_of(target),
        uploaded_digest: digest_of(target),
        size: 1,
        attempt: assignment.attempt,
        drone,
        received_at: TimeMs(0),
        index_bytes: 1000,
        nar: None,
    };
    order.targets.iter().map(artifact).collect()
}

pub fn package_of(assignment: &Assignment) -> PackageId {
    match &assignment.work {
        Work::Build(order) => order.package,
        Work::Plan | Work::Base => panic!("{assignment:?}"),
    }
}

pub fn report(packages: &[&str], edges: &[(u32, u32)]) -> PlanReport {
    let package = |p: &&str| PortagePackage {
        cpv: format!("app/{p}").parse().unwrap(),
        slot: "0".into(),
        subslot: "0".into(),
        repository: "r".into(),
        use_flags: vec![],
        iuse: vec![],
        chost: "x86_64-pc-linux-gnu".into(),
        inputs: Digest::of(p.as_bytes()),
        fields: Default::default(),
        strict: Default::default(),
        live: None,
        in_base: false,
    };
    let edge = |&(from, to): &(u32, u32)| PlanEdge {
        from,
        to,
        build: true,
        runtime: false,
        slot_operator: false,
        satisfied: false,
    };
    PlanReport {
        packages: packages.iter().map(package).map(Into::into).collect(),
        edges: edges.iter().map(edge).collect(),
        ..PlanReport::empty(Digest::of(b"gcc"))
    }
}
