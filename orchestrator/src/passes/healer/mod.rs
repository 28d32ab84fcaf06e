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
    passes::{Context, Pass, Report as PassReport},
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

/// Interval between passes, and between attempts to report a result.
const EVERY: Duration = Duration::from_secs(1);

pub struct Healer {
    engine: Engine,
    live: watch::Receiver<Arc<Config>>,
    /// Steps in progress. They are dropped when the orchestrator stops: the core judges them after their time
    /// limit.
    steps: JoinSet<()>,
    busy: HashMap<task::Id, DroneId>,
}

impl Healer {
    /// Creates the healer. It reads the current configuration from `live`.
    #[must_use]
    pub fn new(engine: Engine, live: watch::Receiver<Arc<Config>>) -> Self {
        Self { engine, live, steps: JoinSet::new(), busy: HashMap::new() }
    }
}

impl Pass for Healer {
    const NAME: &'static str = "healer";

    async fn wake(&mut self) {
        tokio::select! {
            Some(ended) = self.steps.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => {
                        tracing::error!(%error, "a healing step panicked");
                        error.id()
                    }
                };
                self.busy.remove(&id);
            }
            () = tokio::time::sleep(EVERY) => {}
        }
    }

    async fn run_once(&mut self, cx: &Context) -> PassReport {
        let now = self.engine.now();
        let due = self.engine.read(|swarm| {
            let known = |(id, step)| {
                let drone = swarm.drones.get(&id)?;
                Some((id, drone.name.clone(), drone.facts.machine_id.clone(), step))
            };
            heal::due(swarm, now).into_iter().filter_map(known).collect::<Vec<_>>()
        });
        let config = self.live.borrow().clone();
        let healing = &config.healing;
        for (id, name, machine_id, step) in due {
            let Some(host) = healing.drone.get(&name) else { continue };
            if self.busy.values().any(|drone| *drone == id) {
                continue;
            }
            let order = Order {
                step,
                host: host.clone(),
                machine_id,
                step_limit: healing.step(),
                reboot_limit: healing.reboot_timeout.duration(),
            };
            let (engine, cx, ssh) = (self.engine.clone(), cx.clone(), ssh(&config));
            let task = self.steps.spawn(async move {
                if let Some(did) = heal_one(&engine, &ssh, id, &name, &order).await {
                    cx.note(did);
                }
            });
            self.busy.insert(task.id(), id);
        }
        Ok(String::new())
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
        // The state has changed meanwhile, or the journal is unavailable. Do nothing in either case.
        tracing::debug!(%drone, %step, %error, "cannot start a healing step");
        return None;
    }
    tracing::info!(%drone, %name, %step, "starting a healing step");
    let still_due = || engine.read(|swarm| is_under_way(swarm, drone, step));
    let Some(Report { outcome, detail, boot_id }) = pass::take(remote, order, still_due).await else {
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
