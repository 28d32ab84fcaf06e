//! Binds addresses. After boot, an address may not be configured yet, or the previous user of a port may
//! release it late. Both are temporary, so `bind` retries. Any other error is a configuration error.

use super::StartError;
use std::{io::ErrorKind, net::SocketAddr, time::Duration};
use swarm_daemon::supervisor::Supervisor;
use tokio::net::TcpListener;

/// First pause between attempts; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How much more startup time each attempt requests from the supervisor.
const EXTENSION: Duration = Duration::from_secs(60);

/// Binds an address, waiting until it becomes available. Returns the address with its actual port.
///
/// # Errors
/// The address cannot be bound for a reason that waiting does not change.
pub(super) async fn bind(requested: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: requested, source };
    let mut waits: Option<(Supervisor, Duration)> = None;
    loop {
        match TcpListener::bind(requested).await {
            Ok(listener) => {
                let address = listener.local_addr().map_err(failed)?;
                return Ok((listener, address));
            }
            Err(error) if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse) => {
                let (supervisor, pause) = waits.get_or_insert_with(|| {
                    let error = failed(error);
                    tracing::warn!(%error, "waiting for the listen address");
                    let supervisor = Supervisor::from_environment();
                    supervisor.status(&error.to_string());
                    (supervisor, PAUSE)
                });
                supervisor.extend(EXTENSION);
                tokio::time::sleep(*pause).await;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}
