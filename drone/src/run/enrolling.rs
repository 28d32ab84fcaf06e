//! The time before the drone knows its orchestrator. As long as none answers it waits, and
//! neither a stop nor the supervisor's watch must wait with it.

use super::{Ask, LONGEST_PAUSE, RunError};
use crate::{config::Config, enrol};
use swarm_common::{client::Client, supervisor::Supervisor};
use tokio::sync::mpsc;

/// The client, and whether the drone is to take no work yet; `None` if it is to stop.
pub(super) async fn client(
    config: &Config,
    supervisor: &Supervisor,
    asked: &mut mpsc::Receiver<Ask>,
) -> Result<Option<(Client, bool)>, RunError> {
    let mut enrolled = std::pin::pin!(enrol::client(config));
    let mut paused = false;
    loop {
        supervisor.alive();
        let pause = supervisor.ping_every().unwrap_or(LONGEST_PAUSE);
        tokio::select! {
            client = &mut enrolled => return Ok(Some((client?, paused))),
            Some(ask) = asked.recv() => match ask {
                Ask::Stop => {
                    tracing::info!("asked to stop before it was enrolled");
                    supervisor.stopping("stopping");
                    return Ok(None);
                }
                Ask::Pause => paused = true,
                Ask::Resume => paused = false,
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}
