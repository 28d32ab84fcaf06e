//! The event loop around the agent: passes in events and carries out actions.

mod control;
mod drained;
mod enrolling;
mod highest_attempt;
mod sending;
mod standing;

pub use control::{ControlRequest, RunError};
use drained::Drained;
use highest_attempt::HighestAttempt;

use crate::{
    agent::{Agent, Input, Output, Recovered},
    artifacts::Artifacts,
    bases::Bases,
    builder::{self, BuildCaches, nix::Nix},
    buildroot::{self, layers::Layers},
    clock::Clock,
    config::{Config, RootKind},
    enrol,
    fitness::Fitness,
    jobserver::Jobserver,
    machine, process,
    snapshots::Snapshots,
    spool::Spool,
    toolchain::Probe,
    vitals,
    work::{self, BuildResources},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use swarm_client::{Client, ClientError};
use swarm_common::{
    id::AttemptId,
    name::Name,
    state::{DroneState, Phase},
    wire::drone::*,
};
use swarm_daemon::supervisor::Supervisor;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Maximum time between two iterations of the loop.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// By how much each iteration extends systemd's stop timeout.
const STOP_EXTENSION: Duration = Duration::from_secs(180);

/// How long tasks may take to end at shutdown, in addition to a build's grace period.
const LAST_TASKS: Duration = Duration::from_secs(10);

/// Runs the drone until it is asked to stop.
///
/// # Errors
/// The drone cannot start, the orchestrator rejects it for good, or a task panicked.
pub async fn run(config: Config, mut requests: mpsc::Receiver<ControlRequest>) -> Result<(), RunError> {
    let supervisor = Supervisor::from_environment();
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |source| RunError::Io { path, source }
    };
    let spool_dir = config.state_dir.join("spool");
    let spool = Spool::open(&spool_dir).map_err(io(&spool_dir))?;
    // Builds in a live root cannot mount layers.
    let whole = config.builder.root_kind == RootKind::Live;
    let snapshots =
        Snapshots::open(&config.cache_dir.join("snapshots"), whole).map_err(io(&config.cache_dir))?;
    let work_dir = config.builder.work_dir.clone();
    process::take_over();
    // Left by a start that did not shut down cleanly.
    let swept = process::kill_orphans(&work_dir).await;
    if swept > 0 {
        tracing::warn!(processes = swept, "ended a build that was left running by an earlier start");
    }
    clear(&work_dir).map_err(io(&work_dir))?;
    config.builder.check_work_dir().map_err(RunError::Unfit)?;
    let builder = config.builder.clone();
    // Cleaning only frees space, so nothing waits for it.
    tokio::task::spawn_blocking(move || builder::clean_caches(&builder));
    let recovered = spool.recover().map_err(io(&spool_dir))?;
    let start = enrol::start(&config)?;
    supervisor.ready("not delivered yet");
    let highest = HighestAttempt::open(&config.state_dir, matches!(start, enrol::Start::New(..)));
    let mut drained = Drained::open(&config.state_dir);
    let Some(client) = enrolling::client(&config, start, &supervisor, &mut requests, &mut drained).await?
    else {
        return Ok(());
    };
    let budget = config.builder.layers_max_bytes();
    let cache = &config.builder.cache_dir;
    let bases = Bases::open(cache, config.builder.bases_max_bytes()).map_err(io(cache))?;
    let caches = BuildCaches {
        client: Some(client.clone()),
        artifacts: Artifacts::open(&cache.join("artifacts"), budget).map_err(io(cache))?,
        layers: Layers::open(&cache.join("layers"), budget).map_err(io(cache))?,
        bases: bases.unpacked(),
        making: Arc::default(),
        nix: Nix::default(),
    };
    let hidden = vec![
        config.state_dir.clone(),
        config.cache_dir.clone(),
        config.builder.cache_dir.clone(),
        config.builder.work_dir.clone(),
    ];
    let builder = config.builder.clone();
    let make = || Jobserver::new(&work_dir.join("jobserver"), vitals::processors(), builder.slots());
    let jobserver = builder.has_jobserver().then(make).transpose().map_err(io(&work_dir))?;
    if builder.images().is_none() {
        tracing::info!("builder.root_kind is live: this drone cannot build in images");
    }
    let resources = BuildResources { builder, caches, hidden, jobserver, work_dir, bases, snapshots, spool };
    let resources = Arc::new(resources);
    let nonce = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    let clock = Clock::new();
    let finished = recovered.iter().filter_map(|found| match found {
        Recovered::Finished(attempt, report) => Some((*attempt, Arc::from(report.clone()))),
        Recovered::Unfinished(_) | Recovered::Damaged(..) => None,
    });
    let reports = finished.collect();
    let (timing, slots) = (config.timing(), config.builder.slots());
    let (agent, outputs) = Agent::new(timing, slots, nonce, clock.now(), recovered, drained.is_set());
    let all = config.clone();
    let looked = tokio::task::spawn_blocking(move || (Probe::new(&all.builder), Fitness::new(&all)));
    let (probe, fitness) = looked.await.map_err(|error| RunError::Unfit(error.to_string()))?;
    let (inputs, incoming) = mpsc::channel(256);
    let caches = [resources.caches.layers.clone(), resources.bases.unpacked()];
    let state = Loop {
        credential_file: config.state_dir.join("credential").display().to_string(),
        agent,
        clock,
        client,
        resources,
        inputs,
        builds: BTreeMap::new(),
        made_from: BTreeMap::new(),
        kept: Vec::new(),
        reports,
        tasks: JoinSet::from_iter([buildroot::layers::scrub::run(caches)]),
        attempts: JoinSet::new(),
        was_reachable: true,
        is_known: true,
        stopping: CancellationToken::new(),
        state: None,
        last_tasks: config.builder.grace() + LAST_TASKS,
        supervisor,
        last_status: "",
        profiles: config.profiles,
        name: config.name.or_else(machine::host_name),
        probe,
        fitness,
        drained,
        highest,
        asked_back: None,
        facts_told: None,
        facts_on_their_way: None,
    };
    state.go_on(outputs, incoming, requests).await
}

/// Creates a directory or empties it; it may be a mount point.
fn clear(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

struct Loop {
    agent: Agent,
    clock: Clock,
    client: Client,
    resources: Arc<BuildResources>,
    credential_file: String,
    inputs: mpsc::Sender<Event>,
    builds: BTreeMap<AttemptId, CancellationToken>,
    /// What each attempt is made from, according to the spool.
    made_from: BTreeMap<AttemptId, Option<MadeFrom>>,
    /// Attempts that the orchestrator may want later.
    kept: Vec<AttemptId>,
    /// Reports being delivered. Uploads need them as well.
    reports: BTreeMap<AttemptId, Arc<ReportRequest>>,
    tasks: JoinSet<()>,
    /// Builds and their cleanup. The drone waits for them when it stops.
    attempts: JoinSet<()>,
    was_reachable: bool,
    /// Whether the orchestrator accepted the credential last time.
    is_known: bool,
    /// Cancels the claim that waits for work.
    stopping: CancellationToken,
    /// The drone's state according to the last heartbeat answer.
    state: Option<DroneState>,
    last_tasks: Duration,
    supervisor: Supervisor,
    /// The status last sent to the service manager.
    last_status: &'static str,
    profiles: Vec<Name>,
    /// The name that the drone enrolled with; until the first heartbeat, the configured one.
    name: Option<Name>,
    /// When the drone last asked to be taken back.
    asked_back: Option<Instant>,
    /// The toolchain of the drone's own system.
    probe: Probe,
    fitness: Fitness,
    /// Whether the drone was drained on this machine.
    drained: Drained,
    highest: HighestAttempt,
    /// The facts that the orchestrator has acknowledged since this start.
    facts_told: Option<DroneFacts>,
    /// The facts in the heartbeat that is currently in flight.
    facts_on_their_way: Option<DroneFacts>,
}

/// Messages from tasks to the loop.
enum Event {
    Happened(Box<Input>),
    /// A request was answered, or failed with this error.
    Contact(Option<ClientError>),
}

impl Loop {
    async fn go_on(
        mut self,
        outputs: Vec<Output>,
        mut incoming: mpsc::Receiver<Event>,
        mut requests: mpsc::Receiver<ControlRequest>,
    ) -> Result<(), RunError> {
        let ended = self.until_exit(outputs, &mut incoming, &mut requests).await;
        self.end_tasks(incoming).await;
        ended
    }

    async fn until_exit(
        &mut self,
        outputs: Vec<Output>,
        incoming: &mut mpsc::Receiver<Event>,
        requests: &mut mpsc::Receiver<ControlRequest>,
    ) -> Result<(), RunError> {
        let mut exit = self.perform(outputs);
        let pause = self.supervisor.ping_every().unwrap_or(LONGEST_PAUSE);
        while !exit {
            self.tell();
            let wait = Duration::from_millis(self.agent.next_tick().since(self.clock.now())).min(pause);
            let input = tokio::select! {
                event = incoming.recv() => match event {
                    Some(Event::Happened(input)) => *input,
                    Some(Event::Contact(error)) => {
                        self.note_contact(error)?;
                        continue;
                    }
                    None => break,
                },
                Some(request) = requests.recv() => {
                    tracing::info!(building = self.agent.is_building(), "asked to {}", request.describe());
                    match request {
                        ControlRequest::Stop => {
                            // If the claim has just returned an attempt, the sign-off hands it back.
                            self.stopping.cancel();
                            self.supervisor.stopping("stopping");
                            Input::StopRequested
                        }
                        ControlRequest::Pause => {
                            self.drained.set(true);
                            Input::PauseRequested
                        }
                        ControlRequest::Resume => {
                            self.drained.set(false);
                            Input::ResumeRequested
                        }
                    }
                }
                // A task that panicked never sends its event.
                Some(ended) = self.tasks.join_next() => {
                    ended.map_err(RunError::Broken)?;
                    continue;
                }
                Some(ended) = self.attempts.join_next() => {
                    ended.map_err(RunError::Broken)?;
                    continue;
                }
                () = tokio::time::sleep(wait) => Input::Tick,
            };
            self.note_state(&input);
            let outputs = self.agent.step(self.clock.now(), input);
            exit = self.perform(outputs);
        }
        Ok(())
    }

    /// Pings the service manager and updates the status. While the drone stops, each iteration extends the
    /// stop timeout, because builds may take longer than the unit allows; `drain_timeout` limits the total.
    fn tell(&mut self) {
        self.supervisor.alive();
        if self.stopping.is_cancelled() {
            self.supervisor.extend(STOP_EXTENSION);
        }
        let words = self.agent.status_text();
        if self.last_status != words {
            self.last_status = words;
            self.supervisor.status(words);
        }
    }

    /// Stops the builds, so that no compiler outlives the drone, and then all other tasks.
    async fn end_tasks(mut self, incoming: mpsc::Receiver<Event>) {
        // Close the channel, so that tasks waiting for space in it continue.
        drop(incoming);
        self.builds.values().for_each(CancellationToken::cancel);
        let attempts = &mut self.attempts;
        let all = async { while attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(self.last_tasks, all).await.is_err() {
            tracing::debug!("some tasks did not end in time");
        }
        self.tasks.shutdown().await;
    }

    /// Carries out the agent's actions. Returns true if the process should exit.
    fn perform(&mut self, outputs: Vec<Output>) -> bool {
        let mut exit = false;
        for output in outputs {
            match output {
                Output::Claim(request) => self.claim(request),
                Output::Heartbeat { attempts, draining } => self.heartbeat(attempts, draining),
                Output::Start(assignment) => self.start(*assignment),
                Output::Kill(attempt) => {
                    tracing::info!(%attempt, "stopping the build");
                    if let Some(cancel) = self.builds.get(&attempt) {
                        cancel.cancel();
                    }
                }
                Output::Spool(attempt, report) => {
                    if let Err(error) = self.resources.spool.finish(attempt, &report) {
                        tracing::error!(%attempt, %error, "cannot spool the report; it is lost if the \
                            drone stops now");
                    }
                    self.reports.insert(attempt, Arc::from(report));
                }
                Output::Upload(attempt) => self.upload(attempt),
                Output::Report(attempt, report) => self.report(attempt, *report),
                Output::Forget(attempt) => {
                    self.builds.remove(&attempt);
                    self.reports.remove(&attempt);
                    if let Err(error) = self.resources.spool.forget(attempt) {
                        tracing::warn!(%attempt, %error, "cannot remove a delivered result from the spool");
                    }
                }
                Output::SignOff => self.sign_off(),
                Output::Exit => exit = true,
            }
        }
        exit
    }

    /// Spawns a task that ends with an event.
    fn spawn(&mut self, task: impl Future<Output = Event> + Send + 'static) {
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            let event = task.await;
            // The receiver is only gone when the process exits.
            let _ = inputs.send(event).await;
        });
    }

    fn start(&mut self, assignment: Assignment) {
        let attempt = assignment.attempt;
        self.highest.note(attempt);
        let cancel = CancellationToken::new();
        self.builds.insert(attempt, cancel.clone());
        let (phases, mut reached) = mpsc::channel::<(AttemptId, Phase)>(16);
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            while let Some((attempt, phase)) = reached.recv().await {
                let _ = inputs.send(Event::Happened(Input::PhaseReached(attempt, phase).into())).await;
            }
        });
        let (resources, inputs) = (Arc::clone(&self.resources), self.inputs.clone());
        let work = work::attempt(Arc::clone(&resources), self.client.clone(), assignment, phases, cancel);
        self.attempts.spawn(async move {
            let ended = Input::BuildEnded(attempt, work.await);
            // The receiver is only gone when the process exits.
            let _ = inputs.send(Event::Happened(ended.into())).await;
            work::clean(resources, attempt).await;
        });
    }
}
