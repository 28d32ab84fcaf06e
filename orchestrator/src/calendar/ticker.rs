//! The part that makes time pass: a job that wakes whoever waits, again and again.

use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// A running ticker.
pub(super) struct Ticker {
    scheduler: JobScheduler,
    tick: Arc<Notify>,
}

impl Ticker {
    /// Starts one that ticks this often. It looks twice a second, so that is about how
    /// exact it is.
    pub(super) async fn start(every: Duration) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let tick = Arc::new(Notify::new());
        let told = tick.clone();
        // Ticks that nobody waited for count as one.
        let job = Job::new_repeated(every, move |_, _| told.notify_one())?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(Self { scheduler, tick })
    }

    /// Waits for the next tick.
    pub(super) async fn ticked(&self) {
        self.tick.notified().await;
    }

    /// Ends it.
    pub(super) async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::warn!(%error, "a ticker did not end in order");
        }
    }
}
