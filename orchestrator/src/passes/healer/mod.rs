//! The healing pass: asks the core which steps are due, announces them, carries them out and
//! reports the results. All decisions are made by [`swarm_core::heal`].
//!
//! [`pass`] carries out one step, [`remote`] defines the commands, [`mod@ssh`] runs them.

pub mod pass;
pub mod remote;
pub mod ssh;

use crate::{
    config::Config,
    engine::{Engine, EngineError},
    passes::Passes,
};
use pass::{Order, Report};
use remote::Remote;
use ssh::Ssh;
use std::{collections::HashMap, sync::Arc, time::Duration};
use swarm_common::{id::DroneId, name::Name, state::HealStep};
use swarm_core::{Command, heal};
use tokio::{
    sync::watch,
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// Name in the list of passes.
const NAME: &str = "healer";

/// Interval between passes, and between attempts to report a result.
const EVERY: Duration = Duration::from_secs(1);

/// The healing pass.
pub struct Healer {
    engine: Engine,
    passes: Arc<Passes>,
    live: watch::Receiver<Arc<Config>>,
}

impl Healer {
    /// Creates the healer; it uses the current configuration in `live`.
    #[must_use]
    pub fn new(engine: Engine, passes: Arc<Passes>, live: watch::Receiver<Arc<Config>>) -> Self {
        Self { engine, passes, live }
    }

    /// Runs until the orchestrator stops. Steps in progress are then dropped: the core judges them
    /// after their time limit.
    pub async fn run(self, stopping: CancellationToken) {
        let mut steps = JoinSet::new();
        let mut busy: HashMap<task::Id, DroneId> = HashMap::new();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                Some(ended) = steps.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "a healing step panicked");
                            error.id()
                        }
                    };
                    busy.remove(&id);
                }
                () = tokio::time::sleep(EVERY) => {}
            }
            let now = self.engine.now();
            let due = self.engine.read(|swarm| {
                let known = |(id, step)| {
                    let drone = swarm.drones.get(&id)?;
                    Some((id, drone.name.clone(), drone.facts.machine_id.clone(), step))
                };
                heal::due(swarm, now).into_iter().filter_map(known).collect::<Vec<_>>()
            });
            self.passes.note(NAME, "");
            let config = self.live.borrow().clone();
            let healing = &config.healing;
            for (id, name, machine_id, step) in due {
                let Some(host) = healing.drone.get(&name) else { continue };
                if busy.values().any(|drone| *drone == id) {
                    continue;
                }
                let order = Order {
                    step,
                    host: host.clone(),
                    machine_id,
                    step_limit: healing.step(),
                    reboot_limit: healing.reboot_timeout.duration(),
                };
                let (engine, passes, ssh) = (self.engine.clone(), self.passes.clone(), ssh(&config));
                let task = steps.spawn(async move {
                    if let Some(did) = heal_one(&engine, &ssh, id, &name, &order).await {
                        passes.note(NAME, did);
                    }
                });
                busy.insert(task.id(), id);
            }
        }
    }
}

fn ssh(config: &Config) -> Ssh {
    let healing = &config.healing;
    Ssh {
        known_hosts: healing.known_hosts(&config.state_dir),
        key_file: healing.key_file(&config.state_dir),
        connect: healing.connect_timeout.duration(),
        exec: healing.exec_timeout.duration(),
    }
}

/// Announces a step, carries it out and reports it. Returns a short description of what was done.
async fn heal_one<R: Remote>(
    engine: &Engine,
    remote: &R,
    drone: DroneId,
    name: &Name,
    order: &Order,
) -> Option<String> {
    let step = order.step;
    if let Err(error) = engine.submit(Command::BeginHealing { drone, step }, None).await {
        // The state has changed in the meantime, or the journal is unavailable; do nothing in
        // either case.
        tracing::debug!(%drone, %step, %error, "cannot start a healing step");
        return None;
    }
    tracing::info!(%drone, %name, %step, "starting a healing step");
    let wanted = || engine.read(|swarm| is_under_way(swarm, drone, step));
    let Some(Report { outcome, detail, boot_id }) = pass::take(remote, order, wanted).await else {
        tracing::info!(%drone, %name, %step, "the drone reported again; the step is no longer needed");
        return Some(format!("{step} of {name} was not needed"));
    };
    tracing::info!(%drone, %name, %step, %outcome, detail, "finished a healing step");
    loop {
        let (detail, boot_id) = (detail.clone(), boot_id.clone());
        let report = Command::ReportHealing { drone, step, outcome, detail, boot_id };
        match engine.submit(report, None).await {
            Err(EngineError::Stalled(_)) => tokio::time::sleep(EVERY).await,
            Ok(_) => return Some(format!("{step} of {name}: {outcome}")),
            Err(error) => {
                tracing::warn!(%drone, %name, %step, %error, "cannot record the result of a healing step");
                return None;
            }
        }
    }
}

fn is_under_way(swarm: &swarm_core::Swarm, drone: DroneId, step: HealStep) -> bool {
    swarm.drones.get(&drone).and_then(|d| d.healing.under_way).is_some_and(|under_way| under_way.step == step)
}
