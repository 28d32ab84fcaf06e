//! Listening. A machine gets some of its addresses a while after it has started, and whoever had a
//! port before lets go of it late: both pass, so they are waited for. An address that may not be
//! had at all is the configuration's fault.

use super::StartError;
use std::{io::ErrorKind, net::SocketAddr, time::Duration};
use swarm_common::supervisor::Supervisor;
use tokio::net::TcpListener;

/// From one try to the next; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);

/// The longest time from one try to the next.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The supervisor is to wait so much longer after each try.
const EXTENSION: Duration = Duration::from_secs(60);

/// Listens on an address, as soon as that can be had. Gives the address with its port.
///
/// # Errors
/// It never can.
pub(super) async fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: wanted, source };
    let mut waits: Option<(Supervisor, Duration)> = None;
    loop {
        match TcpListener::bind(wanted).await {
            Ok(listener) => {
                let address = listener.local_addr().map_err(failed)?;
                return Ok((listener, address));
            }
            Err(error) if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse) => {
                let (supervisor, pause) = waits.get_or_insert_with(|| {
                    let error = failed(error);
                    tracing::warn!(%error, "waits until it can listen");
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
