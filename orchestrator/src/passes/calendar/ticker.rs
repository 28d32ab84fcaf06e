//! A periodic wake-up.

use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

pub(super) struct Ticker {
    scheduler: JobScheduler,
    tick: Arc<Notify>,
}

impl Ticker {
    /// Starts a ticker with this interval. The scheduler checks twice a second, which limits the accuracy.
    pub(super) async fn start(every: Duration) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let tick = Arc::new(Notify::new());
        let notify = tick.clone();
        // Several ticks that nobody waited for count as one.
        let job = Job::new_repeated(every, move |_, _| notify.notify_one())?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(Self { scheduler, tick })
    }

    /// Waits for the next tick.
    pub(super) async fn ticked(&self) {
        self.tick.notified().await;
    }

    pub(super) async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::warn!(%error, "a ticker shut down uncleanly");
        }
    }
}
