//! Fixed views for the rendering tests. Names and reasons contain what a hostile drone might send.

use std::collections::BTreeMap;
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::{
        base::{BaseFollowing, BaseStatus},
        concern::{Concern, ConcernKind},
        drone::*,
        plan::*,
        view::*,
    },
};

/// The orchestrator's time in the fixtures.
pub const NOW: TimeMs = TimeMs(1_795_250_000_000);

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn run() -> RunView {
    RunView {
        id: RunId(7),
        profile: name("desk"),
        class: RunClass::Nightly,
        state: RunState::Building,
        reason: None,
        snapshot: Digest::of(b"snapshot"),
        started_at: NOW - 600_000,
        ended_at: None,
        counts: counts(),
        reused: 4,
        held: 1,
        saved_s: 5400,
        eta: Some(NOW + 300_000),
        problems: vec![PlanProblem {
            kind: ProblemKind::UseChange,
            atoms: vec!["app-text/typeset".into()],
            message: "needs\x1b[31m fonts".into(),
            suggestion: Some("package.use: >=media-libs/typefont-1 shaper".into()),
        }],
        plan_attempts: vec![AttemptId(30), AttemptId(31)],
    }
}

fn counts() -> BTreeMap<PackageState, u64> {
    [
        (PackageState::Blocked, 3),
        (PackageState::Needed, 2),
        (PackageState::Delegated, 1),
        (PackageState::Received, 12),
        (PackageState::Quarantined, 2),
    ]
    .into()
}

/// A drone with this id, name and state.
pub fn drone(id: u64, drone_name: &str, state: DroneState) -> DroneView {
    DroneView {
        id: DroneId(id),
        name: name(drone_name),
        state,
        reason: String::new(),
        offline: None,
        facts: DroneFacts {
            cores: 4,
            memory_bytes: 8 << 30,
            version: "0.1.0".into(),
            ..DroneFacts::default()
        },
        vitals: None,
        last_seen: None,
        strikes: 0,
        healing: None,
        protected: false,
        speed: 1.0,
        working_on: vec![],
    }
}

/// A swarm with a healthy drone and a faulty one.
pub fn status() -> StatusView {
    let oak = DroneView {
        vitals: Some(Vitals { load1: 1.5, memory_free_bytes: 2 << 30, disk_free_bytes: 40 << 30 }),
        last_seen: Some(NOW),
        working_on: vec![WorkView {
            attempt: AttemptId(31),
            title: "app-misc/reckon-1.0".into(),
            phase: Phase::Building,
            since: NOW - 90_000,
        }],
        ..drone(1, "oak", DroneState::Online)
    };
    let birch = DroneView {
        reason: "five strikes\x1b[2J".into(),
        strikes: 5,
        last_seen: Some(NOW - 40_000),
        ..drone(2, "birch", DroneState::Grounded)
    };
    StatusView {
        version: "0.1.0".into(),
        now: NOW,
        started_at: NOW - 7_200_000,
        healthy: false,
        concerns: vec![Concern {
            fact: ConcernKind::DroneGrounded {
                drone: name("birch"),
                for_ms: 180_000,
                why: "five strikes".into(),
            },
            what: "birch is grounded".into(),
            next: "it comes back in 3 min".into(),
            signature: "birch is grounded".into(),
            severity: Severity::Warning,
            action: None,
        }],
        next_action: Some("swarmctl quarantine list".into()),
        action: None,
        runs: vec![run()],
        drones: vec![oak, birch],
        upcoming: vec![UpcomingRun { profile: name("desk"), due: NOW + 18_000_000 }],
        queue: counts(),
        journal_seq: 99,
        pause: None,
        standby: None,
        staged: vec![],
        bases: vec![BaseStatus {
            name: name("gentoo"),
            generation: 2,
            made_at: NOW - 86_400_000,
            run: Some(RunId(6)),
            following: Some(BaseFollowing {
                run: RunId(7),
                packages: 3,
                since: NOW - 60_000,
                drone: Some(name("oak")),
                reason: String::new(),
            }),
        }],
        passes: vec![
            PassView {
                name: "publisher".into(),
                last_run: NOW - 9_000,
                did: "3 placed for drones".into(),
                did_at: Some(NOW - 9_000),
                trouble: None,
            },
            PassView {
                name: "upkeep".into(),
                last_run: NOW - 1_000,
                did: String::new(),
                did_at: None,
                trouble: Some("no\x1b[2J".into()),
            },
        ],
        connections: vec![],
    }
}

/// A package that failed once.
pub fn package() -> PackageView {
    PackageView {
        id: PackageId(12),
        run: RunId(7),
        profile: name("desk"),
        title: "app-misc/wontbuild-1.0".into(),
        targets: vec![],
        state: PackageState::Quarantined,
        reason: "it same error on 2 drones".into(),
        build_key: Digest::of(b"key"),
        blocked_on: vec![],
        dependants: 1,
        attempts: vec![AttemptView {
            id: AttemptId(30),
            drone: DroneId(1),
            drone_name: name("oak"),
            started_at: NOW - 60_000,
            ended_at: Some(NOW - 30_000),
            phase: Phase::Building,
            phases: BTreeMap::new(),
            outcome: Some("package".into()),
            failure: Some(Failure {
                class: FailureClass::Package,
                cause: None,
                phase: Phase::Building,
                signature: "error: x".into(),
                message: "main.c:1: error: \x1b]0;x\x07\nmake: failed".into(),
            }),
            rejection: None,
            usage: Some(Usage { wall_ms: 30_000, cpu_ms: 25_000, peak_memory_bytes: 100 << 20 }),
        }],
        artifacts: vec![],
        builds: vec![],
        predicted_s: 30,
    }
}
