//! A well-behaved drone that measures its heartbeats during an attack.

use super::connections::{Latencies, beat};
use crate::api::FakeDrone;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// Pause between an answer and the next heartbeat.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends heartbeats until it is stopped.
pub struct Pulse {
    found: Arc<Mutex<(Latencies, Vec<String>)>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Pulse {
    pub fn start(drone: Arc<FakeDrone>) -> Self {
        let found = Arc::<Mutex<(Latencies, Vec<String>)>>::default();
        let (stop, mut stopped) = oneshot::channel();
        let noted = found.clone();
        let task = tokio::spawn(async move {
            for n in 0.. {
                if stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                    return;
                }
                let beat = beat(&drone, n).await;
                {
                    let mut found = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    match beat {
                        Ok(took) => found.0.push(took),
                        Err(error) => found.1.push(format!("{error:#}")),
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { found, stop, task }
    }

    /// Durations of the heartbeats since the last call, and the errors of those that failed.
    pub fn taken(&self) -> (Latencies, Vec<String>) {
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub async fn stop(self) {
        drop(self.stop);
        // The task only sends requests and records the results.
        let _ended = self.task.await;
    }
}
