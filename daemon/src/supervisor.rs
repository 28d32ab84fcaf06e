//! Notifications to the service manager, following sd_notify(3): readiness, watchdog, status, and stopping
//! with a time extension.
//!
//! Without `NOTIFY_SOCKET`, as under OpenRC, all functions do nothing. Call [`Supervisor::alive`]
//! from the loop that does the work and never from a timer, because a timer keeps running while the
//! loop hangs.

use std::{
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStringExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Mutex,
    time::{Duration, Instant},
};

/// Pings per watchdog period: one may be late and one lost.
const PINGS: u32 = 3;

/// The connection to the service manager, if one listens.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    last_ping: Mutex<Option<Instant>>,
}

impl Supervisor {
    /// Connects according to the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of
    /// sd_notify(3) and sd_watchdog_enabled(3).
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| match open(name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "cannot use NOTIFY_SOCKET; the service manager gets no notifications");
                None
            }
        });
        let is_ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|usec| usec.parse().ok());
        let watchdog = watchdog.filter(|&usec| usec > 0 && is_ours && socket.is_some());
        Self { socket, watchdog: watchdog.map(Duration::from_micros), last_ping: Mutex::new(None) }
    }

    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}\n", line(status)));
    }

    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}\n", line(status)));
    }

    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}\n", line(status)));
    }

    /// Extends the stop timeout until `by` from now, regardless of the configured timeout.
    pub fn extend(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\n", by.as_micros()));
    }

    /// Reports that the main loop is running. Cheap to call often.
    pub fn alive(&self) {
        let Some(every) = self.ping_every() else { return };
        let mut last = self.last_ping.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Ping a little early. Otherwise a loop that returns just before the time would skip one ping.
        if last.is_none_or(|last| last.elapsed() >= every / 2) {
            *last = Some(Instant::now());
            self.send("WATCHDOG=1\n");
        }
    }

    /// How often [`Supervisor::alive`] must be called. `None` without a watchdog.
    #[must_use]
    pub fn ping_every(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / PINGS)
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(%error, message = message.trim_end(), "cannot notify the service manager");
        }
    }
}

fn open(name: OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_encoded_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(OsString::from_vec(name.into_encoded_bytes()))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not block the work.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Joins the lines of a text, because a newline would start another message.
fn line(text: &str) -> String {
    text.replace('\n', "; ")
}
