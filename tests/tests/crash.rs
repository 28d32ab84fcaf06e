//! The orchestrator is repeatedly killed with SIGKILL while drones and admins use it. Everything it
//! acknowledged must be in its journal afterwards, and a request that is repeated because its answer was lost
//! must take effect once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use swarm_client::{Client, ClientError, IdempotencyKey};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    secret::Secret,
    state::{PackageState, RunClass},
    wire::{admin::*, artifact::Artifact, drone::*},
};
use swarm_core::{Event, Record};
use swarm_tests::{
    api::{facts, name, snapshot},
    faults::{Builder, Done, Victim, is_builders},
};
use tokio::sync::watch;

/// How many times it is killed.
const KILLS: u32 = 24;

/// Drones that claim and hand back, each for its own profile.
const DRONES: usize = 3;

/// Drones that fail, build and upload, run after run.
const BUILDERS: usize = 4;

/// Number of parallel tasks that enrol one machine after another.
const ENROLERS: usize = 2;

/// Upper limit for a round.
const LIMIT: Duration = Duration::from_secs(60);

/// An acknowledged fact, which the journal must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Token(Digest),
    Enrolled(DroneId),
    Delegated(AttemptId),
    HandedBack(AttemptId),
    Failed(AttemptId),
    Received(AttemptId),
    RunStarted(RunId),
    RunEnded(RunId),
}

impl Fact {
    fn of(record: &Record) -> Option<Self> {
        match &record.event {
            Event::EnrolTokenIssued { token_hash, .. } => Some(Self::Token(*token_hash)),
            Event::DroneEnrolled { drone, .. } => Some(Self::Enrolled(*drone)),
            Event::PlanDelegated { attempt, .. } => Some(Self::Delegated(*attempt)),
            Event::AttemptHandedBack { attempt, .. } => Some(Self::HandedBack(*attempt)),
            Event::AttemptFailed { attempt, .. } => Some(Self::Failed(*attempt)),
            Event::PackageReceived { attempt, .. } => Some(Self::Received(*attempt)),
            Event::RunStarted { run, profile, .. } if !is_builders(profile) => Some(Self::RunStarted(*run)),
            Event::RunEnded { run, .. } => Some(Self::RunEnded(*run)),
            _ => None,
        }
    }
}

/// Everything that was acknowledged so far.
#[derive(Clone)]
struct Acknowledged {
    facts: Arc<Mutex<Vec<Fact>>>,
    count: watch::Sender<usize>,
}

impl Acknowledged {
    fn note(&self, fact: Fact) {
        self.facts.lock().unwrap().push(fact);
        self.count.send_modify(|count| *count += 1);
    }

    fn received(&self) -> BTreeSet<AttemptId> {
        let attempt = |fact: &Fact| if let Fact::Received(attempt) = fact { Some(*attempt) } else { None };
        self.facts.lock().unwrap().iter().filter_map(attempt).collect()
    }
}

/// A user of the orchestrator. Requests without an answer are kept and repeated.
enum User {
    Drone { credential: String, key: String, held: Option<AttemptId>, claims: u32 },
    Builder(Box<Builder>),
    Enroler { number: usize, enrolled: u32 },
    Admin { key: IdempotencyKey, started: Option<RunId> },
}

impl User {
    /// Continues until there is no answer.
    async fn work(mut self, client: Client, acknowledged: Acknowledged) -> Self {
        loop {
            match self.step(&client, &acknowledged).await {
                Ok(()) => {}
                // A response may also be cut off in the middle.
                Err(ClientError::Unreachable { .. } | ClientError::Protocol { .. }) => return self,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn step(&mut self, client: &Client, acknowledged: &Acknowledged) -> Result<(), ClientError> {
        match self {
            Self::Drone { credential, key, held, claims } => {
                let client = client.with_credential(Secret::new(credential));
                if let Some(attempt) = *held {
                    let outcome = Outcome::HandedBack { reason: "test".into() };
                    client.report(attempt, &ReportRequest::new(outcome, Usage::default())).await?;
                    acknowledged.note(Fact::HandedBack(attempt));
                    *held = None;
                    *claims += 1;
                    *key = format!("claim-{claims}");
                    return Ok(());
                }
                let request = ClaimRequest { key: key.clone(), wait_ms: 5_000, memory_free_bytes: 0 };
                if let Some(assignment) = client.claim(&request).await?.assignment {
                    acknowledged.note(Fact::Delegated(assignment.attempt));
                    *held = Some(assignment.attempt);
                }
            }
            Self::Builder(builder) => match builder.step(client).await? {
                Some(Done::Failed(attempt)) => acknowledged.note(Fact::Failed(attempt)),
                Some(Done::Received(attempt)) => acknowledged.note(Fact::Received(attempt)),
                None => {}
            },
            Self::Enroler { number, enrolled } => {
                *enrolled += 1;
                let request = EnrolTokenRequest { valid_ms: 600_000, approved: false };
                let token = client.make_enrol_token(&request, &IdempotencyKey::random()?).await?.token;
                acknowledged.note(Fact::Token(Digest::of(token.as_bytes())));
                let called = name(&format!("machine-{number}-{enrolled}"));
                let request = EnrolRequest { token, name: called, facts: facts(), credential_hash: None };
                let enrolled = client.enrol(&request).await?;
                acknowledged.note(Fact::Enrolled(enrolled.drone));
            }
            Self::Admin { key, started: None } => {
                let run = client.start_run(&run_of(DRONES), key).await?.run;
                acknowledged.note(Fact::RunStarted(run));
                *self = Self::Admin { key: IdempotencyKey::random()?, started: Some(run) };
            }
            Self::Admin { key, started: Some(run) } => {
                client.cancel_run(*run, key).await?;
                acknowledged.note(Fact::RunEnded(*run));
                *self = Self::Admin { key: IdempotencyKey::random()?, started: None };
            }
        }
        Ok(())
    }
}

fn profile(number: usize) -> Name {
    name(&format!("profile-{number}"))
}

fn run_of(number: usize) -> StartRunRequest {
    StartRunRequest { profile: profile(number), class: RunClass::Nightly }
}

/// Creates profiles with runs that wait for their plans, and drones for them.
async fn set_up(admin: &Client, victim: &Victim) -> Vec<User> {
    let key = || IdempotencyKey::random().unwrap();
    let (snapshot, archive) = snapshot(&victim.scratch("snapshot.tar.zst")).unwrap();
    admin.put_snapshot(snapshot, &archive).await.unwrap();
    let mut users = Vec::new();
    for number in 0..=DRONES {
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot,
            source: "test".into(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        admin.put_profile(&profile(number), &request, &key()).await.unwrap();
        if number == DRONES {
            users.push(User::Admin { key: key(), started: None });
            continue;
        }
        admin.start_run(&run_of(number), &key()).await.unwrap();
        let token = EnrolTokenRequest { valid_ms: 600_000, approved: true };
        let token = admin.make_enrol_token(&token, &key()).await.unwrap().token;
        let facts = DroneFacts { profiles: vec![profile(number)], ..facts() };
        let called = name(&format!("drone-{number}"));
        let request = EnrolRequest { token, name: called, facts, credential_hash: None };
        let credential = admin.enrol(&request).await.unwrap().credential.unwrap();
        users.push(User::Drone { credential, key: "claim-0".into(), held: None, claims: 0 });
    }
    for number in 0..BUILDERS {
        users.push(User::Builder(Box::new(Builder::enrol(admin, number, snapshot).await.unwrap())));
    }
    users.extend((0..ENROLERS).map(|number| User::Enroler { number, enrolled: 0 }));
    users
}

/// What was received according to a journal: package, attempt and files.
fn received_in(records: &[Record]) -> impl Iterator<Item = (PackageId, AttemptId, &[Artifact])> {
    records.iter().filter_map(|record| match &record.event {
        Event::PackageReceived { package, attempt, artifacts, .. } => {
            Some((*package, *attempt, artifacts.as_slice()))
        }
        _ => None,
    })
}

/// The facts in a journal, each once.
fn facts_of(records: &[Record]) -> BTreeSet<Fact> {
    let mut facts = BTreeSet::new();
    for record in records {
        if let Some(fact) = Fact::of(record) {
            assert!(facts.insert(fact), "{fact:?} happened twice");
        }
    }
    facts
}

// fault: 4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_kill() {
    let mut victim = Victim::new().unwrap();
    let mut admin = victim.start().unwrap();
    let mut users = set_up(&admin, &victim).await;
    let acknowledged = Acknowledged { facts: Arc::default(), count: watch::Sender::new(0) };
    let mut published = 0;
    for kill in 0..KILLS {
        let tasks: Vec<_> = users
            .drain(..)
            .map(|user| tokio::spawn(user.work(admin.clone(), acknowledged.clone())))
            .collect();
        // Kill after a different number of answers each time, while other requests are in progress.
        let mut count = acknowledged.count.subscribe();
        let enough = *count.borrow() + 10 + (kill * 7 % 41) as usize;
        let worked = tokio::time::timeout(LIMIT, count.wait_for(|&count| count >= enough)).await;
        worked.expect("the users get no answers").unwrap();
        victim.kill().unwrap();
        for task in tasks {
            users.push(task.await.unwrap());
        }
        let records = victim.journal().unwrap();
        published = victim.files(&records).unwrap();
        let journal = facts_of(&records);
        for fact in acknowledged.facts.lock().unwrap().iter() {
            assert!(journal.contains(fact), "kill {kill}: {fact:?} was acknowledged and is gone");
        }
        // Of the started runs, at most the one whose answer was lost is unknown.
        let known = acknowledged.facts.lock().unwrap().iter().filter(|f| is_start(f)).count();
        let started = journal.iter().filter(|f| is_start(f)).count() - DRONES;
        assert!(started == known || started == known + 1, "{started} runs for {known} answers");
        admin = victim.start().unwrap();
        // What was received is still received, according to the API and the store.
        let received = acknowledged.received();
        for (package, attempt, artifacts) in received_in(&records) {
            if !received.contains(&attempt) {
                continue;
            }
            let view = admin.package(package).await.unwrap();
            let is = (view.state, view.artifacts.as_slice());
            assert_eq!(is, (PackageState::Received, artifacts), "kill {kill}: {attempt}");
        }
    }
    assert!(published > 10, "hardly anything was published: {published} files");
    let audit = admin.audit().await.unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
    victim.stop().unwrap();
    let kinds = acknowledged.facts.lock().unwrap().iter().map(std::mem::discriminant).collect::<Vec<_>>();
    println!("{KILLS} kills, {} acknowledged, {} events, none lost", kinds.len(), audit.events);
    for kind in kinds.iter().collect::<std::collections::HashSet<_>>() {
        let count = kinds.iter().filter(|k| *k == kind).count();
        assert!(count >= 5, "some kind of command hardly happened: {count} times");
    }
}

fn is_start(fact: &Fact) -> bool {
    matches!(fact, Fact::RunStarted(_))
}
