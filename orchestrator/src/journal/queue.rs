//! State changes of packages, for a journal that shows the queue to external tools (`redis-cli`). Nothing
//! reads this data back.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{id::PackageId, state::PackageState};
use swarm_core::{Event, Record, Swarm, state::Package};

/// The state changes of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueDelta {
    /// The displayed state is unknown: clear the display first.
    pub reset: bool,
    /// Each package with its old and new state; `None` means not in the queue.
    pub moved: Vec<(String, Option<PackageState>, Option<PackageState>)>,
}

#[derive(Debug, Default)]
pub struct QueueMirror(Option<BTreeMap<PackageId, (String, PackageState)>>);

impl QueueMirror {
    /// The changes that update the display to the packages of open runs after these records.
    pub fn update(&mut self, swarm: &Swarm, records: &[Record]) -> QueueDelta {
        let mut moved = Vec::new();
        let near = self.0.is_some().then(|| touched(swarm, records)).flatten();
        let reset = self.0.is_none();
        let shown = self.0.get_or_insert_default();
        match near {
            Some(packages) => packages.into_iter().for_each(|id| show(shown, swarm, id, &mut moved)),
            None => {
                let gone = |id: &&PackageId| !swarm.packages.get(id).is_some_and(|p| is_open(swarm, p));
                let gone: Vec<PackageId> = shown.keys().filter(gone).copied().collect();
                let open = swarm.packages.iter().filter(|(_, package)| is_open(swarm, package));
                let all = gone.into_iter().chain(open.map(|(&id, _)| id));
                all.for_each(|id| show(shown, swarm, id, &mut moved));
            }
        }
        QueueDelta { reset, moved }
    }
}

fn is_open(swarm: &Swarm, package: &Package) -> bool {
    swarm.runs.get(&package.run).is_some_and(|run| !run.state.is_over())
}

/// Updates one package in the display.
fn show(
    shown: &mut BTreeMap<PackageId, (String, PackageState)>,
    swarm: &Swarm,
    id: PackageId,
    moved: &mut Vec<(String, Option<PackageState>, Option<PackageState>)>,
) {
    let Some(package) = swarm.packages.get(&id).filter(|package| is_open(swarm, package)) else {
        moved.extend(shown.remove(&id).map(|(title, state)| (title, Some(state), None)));
        return;
    };
    match shown.get_mut(&id) {
        Some((_, state)) if *state == package.state => {}
        Some((title, state)) => {
            let from = std::mem::replace(state, package.state);
            moved.push((title.clone(), Some(from), Some(package.state)));
        }
        None => {
            let title = format!("{id} {}", package.title());
            moved.push((title.clone(), None, Some(package.state)));
            shown.insert(id, (title, package.state));
        }
    }
}

/// The packages that these records may affect, including those unblocked by a received package; `None` if any
/// may be.
fn touched(swarm: &Swarm, records: &[Record]) -> Option<BTreeSet<PackageId>> {
    let mut touched = BTreeSet::new();
    for record in records {
        match &record.event {
            Event::AttemptFailed { .. } | Event::AttemptPhaseReached { .. } | Event::DroneReturned { .. } => {
            }
            Event::PackageDelegated { package, .. }
            | Event::PackageNeeded { package, .. }
            | Event::PackageQuarantined { package, .. } => {
                touched.insert(*package);
            }
            Event::PackageReceived { package, .. } => {
                touched.insert(*package);
                let run = swarm.packages.get(package).and_then(|p| swarm.runs.get(&p.run))?;
                touched.extend(run.ready.iter().map(|&(_, id)| id));
            }
            _ => return None,
        }
    }
    Some(touched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{
        digest::Digest,
        id::{AttemptId, DroneId},
        state::{FailureClass, Phase, RunClass},
        time::TimeMs,
        wire::{admin::*, artifact::Artifact, drone::*, plan::*},
    };
    use swarm_core::{Command, Policy, Reply, Request};

    struct Queue {
        swarm: Swarm,
        shown: QueueMirror,
        now: u64,
    }

    impl Queue {
        /// Executes a command, and checks that the display is right after examining only the packages that
        /// the records name.
        fn say(&mut self, command: Command) -> Reply {
            self.now += 1;
            let request = Request { now: TimeMs(self.now), entropy: 0, key: None, command };
            let (records, reply) = self.swarm.handle(&request).unwrap();
            self.shown.update(&self.swarm, &records);
            let mut fresh = QueueMirror::default();
            fresh.update(&self.swarm, &[]);
            assert_eq!(self.shown.0, fresh.0, "after {:?}", request.command);
            reply
        }

        fn claim(&mut self) -> AttemptId {
            let request = ClaimRequest { key: self.now.to_string(), wait_ms: 0, memory_free_bytes: 0 };
            match self.say(Command::Claim { drone: DroneId(1), request }) {
                Reply::Claim(reply) => reply.assignment.unwrap().attempt,
                other => panic!("{other:?}"),
            }
        }
    }

    /// A plan in which every package depends on the first one. Each run has different packages, because
    /// failed packages are not tried again.
    fn plan(count: u32, run: u32) -> PlanReport {
        let package = |n: u32| PortagePackage {
            cpv: format!("dev-libs/p{n}-1").parse().unwrap(),
            slot: "0".into(),
            subslot: "0".into(),
            repository: "r".into(),
            use_flags: Vec::new(),
            iuse: Vec::new(),
            chost: "c".into(),
            inputs: Digest::of(&(if n == 0 { 0 } else { n + count * run }).to_be_bytes()),
            fields: Default::default(),
            strict: Default::default(),
            live: None,
            in_base: false,
        };
        let edge = |from| PlanEdge {
            from,
            to: 0,
            build: true,
            runtime: false,
            slot_operator: false,
            satisfied: false,
        };
        PlanReport {
            packages: (0..count).map(package).map(Into::into).collect(),
            edges: (1..count).map(edge).collect(),
            ..PlanReport::empty(Digest::of(b"t"))
        }
    }

    #[test]
    fn what_is_shown_is_what_is_however_little_was_looked_at() {
        let policy = Policy { startup_grace_ms: 0, package_failures: 1, keep_runs: 1, ..Policy::default() };
        let mut queue = Queue { swarm: Swarm::new(policy), shown: QueueMirror::default(), now: 1_000_000 };
        let (drone, usage, hash) = (DroneId(1), Usage::default(), Digest::of(b"h"));
        let facts = DroneFacts::default();
        queue.say(Command::IssueEnrolToken { token_hash: hash, valid_ms: 1000, approved: true });
        let name = "ada".parse().unwrap();
        queue.say(Command::EnrolDrone { token_hash: hash, name, credential_hash: hash, facts });
        let profile: swarm_common::name::Name = "desk".parse().unwrap();
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: hash,
            source: "s".into(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        queue.say(Command::PutProfile { name: profile.clone(), request });
        for run in 0..3 {
            queue.say(Command::StartRun { profile: profile.clone(), class: RunClass::Nightly });
            let attempt = queue.claim();
            queue.say(Command::ReceivePlan { drone, attempt, plan: plan(5, run).into(), usage });
            if queue.swarm.runs.values().any(|run| !run.ready.is_empty()) {
                let attempt = queue.claim();
                let target = queue.swarm.packages.values().find(|p| p.attempts.contains(&attempt));
                let target = target.unwrap().targets[0].clone();
                let (digest, at) = (Digest::of(&attempt.0.to_be_bytes()), TimeMs(1));
                let artifact = Artifact {
                    target,
                    digest,
                    uploaded_digest: digest,
                    size: 1,
                    attempt,
                    drone,
                    received_at: at,
                    index_bytes: 0,
                    nar: None,
                };
                queue.say(Command::ReceivePackage { drone, attempt, artifacts: vec![artifact], usage });
            }
            let attempt = queue.claim();
            queue.say(Command::HandBack { drone, attempt, reason: "no".into() });
            while queue.swarm.runs.values().any(|run| !run.ready.is_empty()) {
                let attempt = queue.claim();
                let (class, phase) = (FailureClass::Package, Phase::Building);
                let failure =
                    Failure { class, cause: None, phase, signature: "s".into(), message: "m".into() };
                queue.say(Command::ReportFailure { drone, attempt, failure, usage });
            }
        }
    }
}
