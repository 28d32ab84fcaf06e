//! The phase before the drone is enrolled. It waits for an orchestrator, but still handles stop requests and
//! the service manager's watchdog.

use super::{Ask, Drained, LONGEST_PAUSE, RunError};
use crate::{
    config::Config,
    enrol::{self, Start},
};
use swarm_client::Client;
use swarm_daemon::supervisor::Supervisor;
use tokio::sync::mpsc;

/// Returns the client, or `None` if the drone was asked to stop.
pub(super) async fn client(
    config: &Config,
    start: Start,
    supervisor: &Supervisor,
    asked: &mut mpsc::Receiver<Ask>,
    drained: &mut Drained,
) -> Result<Option<Client>, RunError> {
    let mut enrolled = std::pin::pin!(enrol::client(config, start, supervisor, enrol::PATIENCE));
    loop {
        supervisor.alive();
        let pause = supervisor.ping_every().unwrap_or(LONGEST_PAUSE);
        tokio::select! {
            client = &mut enrolled => return Ok(Some(client?)),
            Some(ask) = asked.recv() => match ask {
                Ask::Stop => {
                    tracing::info!("stopped before it was enrolled");
                    supervisor.stopping("stopping");
                    return Ok(None);
                }
                Ask::Pause => drained.set(true),
                Ask::Resume => drained.set(false),
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}
