//! The phase before the drone is enrolled. It waits for an orchestrator, but still handles stop requests and
//! the service manager's watchdog.

use super::{ControlRequest, Drained, LONGEST_PAUSE, RunError};
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
    requests: &mut mpsc::Receiver<ControlRequest>,
    drained: &mut Drained,
) -> Result<Option<Client>, RunError> {
    let mut enrolled = std::pin::pin!(enrol::client(config, start, supervisor, enrol::PATIENCE));
    loop {
        supervisor.alive();
        let pause = supervisor.ping_every().unwrap_or(LONGEST_PAUSE);
        tokio::select! {
            client = &mut enrolled => return Ok(Some(client?)),
            Some(request) = requests.recv() => match request {
                ControlRequest::Stop => {
                    tracing::info!("stopped before it was enrolled");
                    supervisor.stopping("stopping");
                    return Ok(None);
                }
                ControlRequest::Pause => drained.set(true),
                ControlRequest::Resume => drained.set(false),
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}
