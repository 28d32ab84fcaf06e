//! A drone that behaves, while others do not: how long its heartbeats take.

use super::connections::{Latencies, beat};
use crate::api::FakeDrone;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// From the answer to a heartbeat to the next.
const PAUSE: Duration = Duration::from_millis(20);

/// Heartbeats, until they are stopped.
pub struct Pulse {
    found: Arc<Mutex<(Latencies, Vec<String>)>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Pulse {
    /// Begins.
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

    /// How long those took that were answered since this was asked last, and why others were not.
    pub fn taken(&self) -> (Latencies, Vec<String>) {
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends.
    pub async fn stop(self) {
        drop(self.stop);
        // It does nothing but ask, and notes what came of it.
        let _ended = self.task.await;
    }
}
