//! The connection to Redis: finds the master, limits the time of every operation, and explains errors.

use super::{
    super::JournalError,
    settings::{RedisSettings, ServerLocation},
};
use redis::{Connection, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult};
use redis::{RedisConnectionInfo, ServerErrorKind};
use std::time::Duration;
use swarm_common::secret::Secret;
use swarm_daemon::config::secret::read_secret;

/// Time limit for connecting, including the handshake.
const CONNECT: Duration = Duration::from_secs(2);

/// Time limit for a response. After that, the outcome is unknown.
const ANSWER: Duration = Duration::from_secs(3);

/// A connection that is opened on demand and reopened when it breaks.
pub(super) struct Link {
    location: ServerLocation,
    username: Option<String>,
    password: Option<Secret>,
    connection: Option<Connection>,
}

impl Link {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// # Errors
    /// The password file is unusable.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, JournalError> {
        let unusable = |e: swarm_daemon::config::ConfigError| JournalError::Unusable {
            path: name(&settings.location).into(),
            what: format!("`password_file` of `[journal]`: {e}"),
        };
        let password = settings.password_file.as_deref().map(read_secret).transpose().map_err(unusable)?;
        let (location, username) = (settings.location.clone(), settings.username.clone());
        Ok(Self { location, username, password, connection: None })
    }

    /// Another connection to the same Redis.
    pub(super) fn another(&self) -> Self {
        let (location, username) = (self.location.clone(), self.username.clone());
        Self { location, username, password: self.password.clone(), connection: None }
    }

    pub(super) fn name(&self) -> String {
        name(&self.location)
    }

    /// Runs an operation on the connection.
    ///
    /// # Errors
    /// Redis is unreachable or refuses. If there was no response, it is unknown whether the
    /// operation was executed.
    pub(super) fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, JournalError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().map_err(|e| self.explain(&e))?,
        };
        let done = act(&mut connection);
        // Reconnect after a lost response, because the next request would read it as its own, and after an
        // error from a former master, which does not close its connections.
        let keep = match &done {
            Ok(_) => true,
            Err(e) => !is_broken(e) && e.kind() != ErrorKind::Server(ServerErrorKind::ReadOnly),
        };
        self.connection = keep.then_some(connection);
        done.map_err(|e| self.explain(&e))
    }

    fn connect(&self) -> RedisResult<Connection> {
        match &self.location {
            ServerLocation::Url(url) => self.open(url.as_str().into_connection_info()?),
            ServerLocation::Sentinels { addresses, master } => {
                let mut failed = None;
                for sentinel in addresses {
                    match self.by_sentinel(sentinel, master) {
                        Ok(connection) => return Ok(connection),
                        Err(error) => failed = Some(error),
                    }
                }
                let none = || (ErrorKind::InvalidClientConfig, "no sentinel configured").into();
                Err(failed.unwrap_or_else(none))
            }
        }
    }

    /// Asks a sentinel for the master and connects to it, if it really is one.
    fn by_sentinel(&self, sentinel: &str, master: &str) -> RedisResult<Connection> {
        let mut asked = opened(format!("redis://{sentinel}").into_connection_info()?)?;
        let found: Option<(String, u16)> =
            redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query(&mut asked)?;
        let unknown = || -> RedisError {
            let what = format!("sentinel {sentinel} does not know the master `{master}`");
            (ErrorKind::MasterNameNotFoundBySentinel, "no master", what).into()
        };
        let (host, port) = found.ok_or_else(unknown)?;
        let mut connection = self.open(format!("redis://{host}:{port}").into_connection_info()?)?;
        let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection)?;
        let is_master = matches!(role.first(), Some(redis::Value::BulkString(role)) if role == b"master");
        if is_master {
            return Ok(connection);
        }
        let what = format!("{host}:{port} is not a master yet; a failover is in progress");
        Err((ErrorKind::Server(ServerErrorKind::MasterDown), "no master", what).into())
    }

    fn open(&self, info: ConnectionInfo) -> RedisResult<Connection> {
        let mut user =
            RedisConnectionInfo::default().set_db(info.redis_settings().db()).set_skip_set_lib_name();
        if let Some(password) = &self.password {
            user = user.set_password(password.expose());
        }
        if let Some(username) = &self.username {
            user = user.set_username(username);
        }
        opened(info.set_redis_settings(user))
    }

    /// Explains a Redis error and how to fix it.
    fn explain(&self, error: &RedisError) -> JournalError {
        let path = self.name();
        let away = |what: String| JournalError::Away { journal: path.clone(), what };
        let unusable = |what: String| JournalError::Unusable { path: path.clone().into(), what };
        let message = error.to_string();
        match error.kind() {
            _ if is_broken(error) => away(message),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::TryAgain,
            ) => away(message),
            ErrorKind::MasterNameNotFoundBySentinel => away(message),
            ErrorKind::Server(ServerErrorKind::ReadOnly) => unusable(
                "it is a read-only replica; set `url` of `[journal]` to the master, or set `sentinels`"
                    .into(),
            ),
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => unusable(
                format!("access denied, see `username` and `password_file` of `[journal]`: {message}"),
            ),
            _ => unusable(match error.code() {
                Some("OOM") => "it is out of memory; raise its maxmemory or remove other data; no data was \
                    lost, and work resumes automatically"
                    .into(),
                Some("NOREPLICAS") => "too few replicas are in sync (min-replicas-to-write); no data was \
                    lost, and work resumes automatically"
                    .into(),
                Some("WRONGTYPE") => {
                    "a key has a foreign type; if another program uses the name, set another `swarm` in \
                     `[journal]`"
                        .into()
                }
                Some("NOAUTH" | "WRONGPASS") => {
                    format!("access denied, see `username` and `password_file` of `[journal]`: {message}")
                }
                _ => message,
            }),
        }
    }
}

/// Checks that an address is usable.
///
/// # Errors
/// The address is not usable; the message says why.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    if url.starts_with("rediss:") {
        return Err("TLS to Redis is not supported; use a tunnel or a private network".into());
    }
    url.into_connection_info().map(|_| ()).map_err(|e| e.to_string())
}

fn opened(info: ConnectionInfo) -> RedisResult<Connection> {
    let connection = redis::Client::open(info)?.get_connection_with_timeout(CONNECT)?;
    connection.set_read_timeout(Some(ANSWER))?;
    connection.set_write_timeout(Some(ANSWER))?;
    Ok(connection)
}

/// Whether the response is missing or incomplete.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.kind() == ErrorKind::Parse
}

fn name(location: &ServerLocation) -> String {
    match location {
        ServerLocation::Url(url) => url.clone(),
        ServerLocation::Sentinels { master, addresses } => {
            format!("redis `{master}` of {}", addresses.join(", "))
        }
    }
}
