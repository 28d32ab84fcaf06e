//! The drone's own loop against a whole orchestrator in this process: enrolment, waiting for approval, work,
//! stops, and results that an earlier process left in the spool.
//!
//! Other tests cover builds. Here no Portage is configured, so an attempt ends soon, and the tests look at
//! what happens before and after it; only `slots` really builds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

mod between;
mod restored;
mod slots;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_client::{Client, IdempotencyKey};
use swarm_common::{
    secret::Secret,
    state::{DroneState, FailureClass, PackageState, Phase},
    wire::{
        admin::{BuilderKind, EnrolTokenRequest, ProfileRequest},
        drone::*,
        view::{DroneView, WorkView},
    },
};
use swarm_core::state::Ending;
use swarm_daemon::{
    config::{self, secret::write_private},
    supervisor::Supervisor,
};
use swarm_drone::{
    agent::Delivery,
    config::Config,
    deliver,
    enrol::{self, EnrolError},
    run::{ControlRequest, RunError, run},
    spool::Spool,
};
use swarm_tests::api::{FakeDrone, Swarm, facts, name, package_file, until};
use tokio::{sync::mpsc, task::JoinHandle};

/// Upper limit for every wait, enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn key() -> IdempotencyKey {
    IdempotencyKey::random().unwrap()
}

/// A drone's configuration below `dir`.
fn config(dir: &Path, orchestrator: &str) -> Config {
    let portage = dir.join("no-portage");
    fs::create_dir_all(portage.join("bin")).unwrap();
    fs::write(portage.join("bin/emerge"), "").unwrap();
    config_with(dir, orchestrator, &portage, "")
}

/// The same with a Portage and additional builder settings.
fn config_with(dir: &Path, orchestrator: &str, portage: &Path, builder: &str) -> Config {
    let at = |name: &str| dir.join(name).display().to_string();
    let text = format!(
        "orchestrators = [\"{orchestrator}\"]\nname = \"ada\"\nstate_dir = \"{}\"\ncache_dir = \"{}\"\n\
         token_file = \"{}\"\nheartbeat = \"1s\"\n\
         [builder]\nwork_dir = \"{}\"\ncache_dir = \"{}\"\nportage_prefix = \"{}\"\n{builder}\n",
        at("state"),
        at("cache"),
        at("token"),
        at("roots"),
        at("cache"),
        portage.display(),
    );
    config::parse(Path::new("drone.toml"), &text).unwrap()
}

/// A drone running in this process.
struct Running {
    stop: mpsc::Sender<ControlRequest>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    fn start(config: Config) -> Self {
        let (stop, requests) = mpsc::channel(4);
        Self { stop, task: tokio::spawn(run(config, requests)) }
    }

    async fn end(self) -> Result<(), RunError> {
        tokio::time::timeout(LIMIT, self.task).await.expect("the drone does not end").unwrap()
    }

    async fn stop(self) -> Result<(), RunError> {
        self.stop.send(ControlRequest::Stop).await.unwrap();
        self.end().await
    }
}

async fn ada(admin: &Client, state: DroneState) -> DroneView {
    until(&format!("ada is {state}"), async || {
        admin
            .drones()
            .await
            .unwrap()
            .into_iter()
            .find(|drone| drone.name.as_str() == "ada" && drone.state == state)
    })
    .await
}

async fn write_token(swarm: &Swarm, dir: &Path, approved: bool) -> String {
    let request = EnrolTokenRequest { valid_ms: 60_000, approved };
    let token = swarm.admin.make_enrol_token(&request, &key()).await.unwrap().token;
    write_private(&dir.join("token"), &token).unwrap();
    token
}

fn entries(dir: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn address(swarm: &Swarm) -> String {
    format!("http://{}", swarm.address)
}

#[tokio::test]
async fn a_stop_is_heard_while_no_orchestrator_answers_the_enrolment() {
    let dir = tempfile::tempdir().unwrap();
    write_private(&dir.path().join("token"), "enrol-0123").unwrap();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let drone = Running::start(config(dir.path(), &format!("http://{free}")));
    drone.stop().await.unwrap();
    assert!(!dir.path().join("state/credential").exists());
}

#[tokio::test]
async fn a_drone_waits_for_approval_works_reports_its_failure_and_signs_off() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_token(&swarm, dir.path(), false).await;
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let drone = Running::start(config(dir.path(), &address(&swarm)));

    let pending = ada(&swarm.admin, DroneState::Pending).await;
    let kept = fs::metadata(dir.path().join("state/credential")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    assert!(swarm.app.engine.read(|s| s.attempts.is_empty()), "pending drones get no work");

    swarm.admin.approve_drone(pending.id, &key()).await.unwrap();
    let failure = until("the plan fails", async || {
        swarm.app.engine.read(|s| match s.attempts.values().next()?.ending.clone()? {
            Ending::Failed(failure) => Some(failure),
            other => panic!("{other:?}"),
        })
    })
    .await;
    assert_eq!(failure.class, FailureClass::Drone, "{failure:?}");
    assert!(failure.message.contains("no-portage"), "{failure:?}");
    assert_eq!(entries(dir.path().join("cache/snapshots")).len(), 1, "the snapshot was fetched");

    drone.stop().await.unwrap();
    ada(&swarm.admin, DroneState::Offline).await;
    assert_eq!(entries(dir.path().join("state/spool")), Vec::<String>::new());
    assert_eq!(entries(dir.path().join("roots")), Vec::<String>::new());
}

#[tokio::test]
async fn an_idle_drone_stops_without_waiting_for_work() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_token(&swarm, dir.path(), true).await;
    let drone = Running::start(config(dir.path(), &address(&swarm)));
    let id = ada(&swarm.admin, DroneState::Online).await.id;
    let waits = async || swarm.app.engine.read(|s| s.live.waiting.get(&id).copied());
    let waits_until = until("it waits for work", waits).await;
    drone.stop().await.unwrap();
    assert!(swarm.app.engine.now() < waits_until, "it waited for the answer to its claim");
    ada(&swarm.admin, DroneState::Offline).await;
}

/// A drone that was enrolled and assigned work by an earlier process.
struct Earlier {
    dir: tempfile::TempDir,
    drone: FakeDrone,
    spool: Spool,
    assignment: Assignment,
}

impl Earlier {
    /// It was assigned a package to build.
    async fn life(swarm: &Swarm) -> Self {
        Self::begun(swarm, async |drone| {
            swarm.planned(drone).await.unwrap();
        })
        .await
    }

    /// It was assigned a plan to make.
    async fn planning(swarm: &Swarm) -> Self {
        Self::begun(swarm, async |_| {
            swarm.profile().await.unwrap();
            swarm.run().await.unwrap();
        })
        .await
    }

    async fn begun(swarm: &Swarm, prepare: impl AsyncFnOnce(&FakeDrone)) -> Self {
        let drone = Self::enrolled(swarm).await;
        prepare(&drone).await;
        Self::working(drone).await
    }

    /// Enrols it on this machine.
    async fn enrolled(swarm: &Swarm) -> FakeDrone {
        let dir = tempfile::tempdir().unwrap();
        let token = write_token(swarm, dir.path(), true).await;
        // It was on this machine, so use its machine ID.
        let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned();
        let facts = DroneFacts { machine_id, ..facts() };
        let request = EnrolRequest { token, name: name("ada"), facts, credential_hash: None };
        let nobody = swarm.nobody().unwrap();
        let enrolled = nobody.enrol(&request).await.unwrap();
        let credential = enrolled.credential.unwrap();
        let client = nobody.with_credential(Secret::new(&credential));
        FakeDrone { client, id: enrolled.drone, credential }
    }

    async fn working(drone: FakeDrone) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let assignment = drone.work().await.unwrap();
        write_private(&dir.path().join("state/credential"), &drone.credential).unwrap();
        let spool = Spool::open(&dir.path().join("state/spool")).unwrap();
        spool.begin(&assignment).unwrap();
        Self { dir, drone, spool, assignment }
    }

    /// Puts the built package into the spool.
    fn build(&self) -> ReportRequest {
        let Work::Build(order) = &self.assignment.work else { panic!("{:?}", self.assignment) };
        let built = self.dir.path().join("built.gpkg.tar");
        fs::copy(package_file(&order.targets[0]), &built).unwrap();
        let kept = self.spool.keep(self.assignment.attempt, &built).unwrap();
        self.ended(Outcome::Built { artifacts: vec![kept.digest] })
    }

    /// Puts this outcome of the attempt into the spool.
    fn ended(&self, outcome: Outcome) -> ReportRequest {
        let report = ReportRequest::new(outcome, Usage::default());
        self.spool.finish(self.assignment.attempt, &report).unwrap();
        report
    }

    /// How the attempt ended according to the orchestrator.
    fn ending(&self, swarm: &Swarm) -> Option<Ending> {
        swarm.app.engine.read(|s| s.attempts[&self.assignment.attempt].ending.clone())
    }

    async fn is_received(&self, swarm: &Swarm) {
        let Work::Build(order) = &self.assignment.work else { panic!("{:?}", self.assignment) };
        until("the package is received", async || {
            let view = swarm.admin.package(order.package).await.unwrap();
            (view.state == PackageState::Received).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_result_in_the_spool_is_delivered_by_the_next_start_with_its_log() {
    let swarm = Swarm::start().await.unwrap();
    let earlier = Earlier::life(&swarm).await;
    let attempt = earlier.assignment.attempt;
    fs::write(earlier.spool.log(attempt), "said while nobody listened\n").unwrap();
    earlier.build();

    let drone = Running::start(config(earlier.dir.path(), &address(&swarm)));
    earlier.is_received(&swarm).await;
    let log = swarm.app.logs.reader(attempt).unwrap().unwrap().read(1 << 20).unwrap();
    assert_eq!(String::from_utf8_lossy(&log), "said while nobody listened\n");
    drone.stop().await.unwrap();
    assert_eq!(entries(earlier.dir.path().join("state/spool")), Vec::<String>::new());
}

#[tokio::test]
async fn a_result_waits_in_the_spool_while_the_orchestrator_is_away() {
    let swarm = Swarm::start().await.unwrap();
    let earlier = Earlier::life(&swarm).await;
    earlier.build();
    // The orchestrator returns on another port, so the drone is started with the old address.
    let old = address(&swarm);
    let swarm = swarm.restart().await.unwrap();

    let drone = Running::start(config(earlier.dir.path(), &old));
    // The second request does not wait for results that cannot be delivered.
    drone.stop.send(ControlRequest::Stop).await.unwrap();
    drone.stop().await.unwrap();
    assert_eq!(entries(earlier.dir.path().join("state/spool")), [earlier.assignment.attempt.to_string()]);

    let drone = Running::start(config(earlier.dir.path(), &address(&swarm)));
    earlier.is_received(&swarm).await;
    drone.stop().await.unwrap();
}

// fault: 21
#[tokio::test]
async fn an_attempt_that_was_cut_off_is_reported_as_lost_by_the_next_start() {
    let swarm = Swarm::start().await.unwrap();
    let earlier = Earlier::life(&swarm).await;
    let attempt = earlier.assignment.attempt;
    let drone = Running::start(config(earlier.dir.path(), &address(&swarm)));
    let failure = until("the attempt ends", async || {
        swarm.app.engine.read(|s| match s.attempts.get(&attempt)?.ending.clone()? {
            Ending::Failed(failure) => Some(failure),
            other => panic!("{other:?}"),
        })
    })
    .await;
    assert_eq!(failure.class, FailureClass::Lost);
    drone.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_whose_files_are_missing_asks_for_them_and_keeps_them() {
    let swarm = Swarm::start().await.unwrap();
    let earlier = Earlier::life(&swarm).await;
    let report = earlier.build();
    let (client, attempt) = (&earlier.drone.client, earlier.assignment.attempt);
    let early = deliver::report(client, &earlier.spool, attempt, &report).await;
    assert_eq!(early, Delivery::FilesMissing);
    assert_eq!(deliver::files(client, &earlier.spool, attempt, &report).await, Delivery::Done);
    assert_eq!(deliver::report(client, &earlier.spool, attempt, &report).await, Delivery::Done);
    earlier.is_received(&swarm).await;
}

#[tokio::test]
async fn work_that_is_refused_for_good_is_given_up() {
    let swarm = Swarm::start().await.unwrap();
    let earlier = Earlier::life(&swarm).await;
    let report = earlier.build();
    let other = swarm.drone("other").await.unwrap();
    let attempt = earlier.assignment.attempt;
    assert_eq!(deliver::files(&other.client, &earlier.spool, attempt, &report).await, Delivery::Refused);
}

// fault: 55
#[tokio::test]
async fn a_drone_that_was_removed_ends_and_says_why_and_keeps_its_results() {
    let swarm = Swarm::start().await.unwrap();
    let earlier = Earlier::life(&swarm).await;
    earlier.build();
    swarm.admin.remove_drone(earlier.drone.id, &key()).await.unwrap();
    let ended = Running::start(config(earlier.dir.path(), &address(&swarm))).end().await;
    let Err(error @ RunError::Refused(..)) = ended else { panic!("{ended:?}") };
    assert_eq!(error.exit_code(), 77);
    assert!(error.to_string().contains("state/credential"), "{error}");
    assert_eq!(entries(earlier.dir.path().join("state/spool")), [earlier.assignment.attempt.to_string()]);
}

#[tokio::test]
async fn a_token_that_does_not_work_is_refused_and_never_shown() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let token = write_token(&swarm, dir.path(), true).await;
    FakeDrone::enrol(&swarm.nobody().unwrap(), &token, "first").await.unwrap();
    let config = config(dir.path(), &address(&swarm));
    let start = enrol::start(&config).unwrap();
    // It tries again until its patience is over.
    let patience = Duration::from_secs(2);
    let enrolled = enrol::client(&config, start, &Supervisor::from_environment(), patience).await;
    let Err(error @ EnrolError::Refused(_)) = enrolled else { panic!("it is enrolled") };
    assert_eq!(error.exit_code(), 77);
    assert!(!error.to_string().contains(&token), "{error}");
}
