//! A real redis-server or sentinel on a free port of this machine that can be killed, paused and restarted
//! with its data. The orchestrator's own tests include this file, so it depends only on the standard library
//! and `tempfile`.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Upper limit for a start, enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A Redis, running or not, and its data.
#[derive(Debug)]
pub struct Redis {
    folder: TempDir,
    port: u16,
    args: Vec<String>,
    running: Option<Child>,
}

impl Redis {
    /// Starts a Redis that syncs every write before it answers.
    ///
    /// # Errors
    /// It does not start; the message says what to install.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a Redis with these settings.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_with(args: &[&str]) -> io::Result<Self> {
        let args = ["--save", ""].iter().chain(args).map(|&arg| arg.to_owned()).collect();
        let mut redis = Self { folder: tempfile::tempdir()?, port: free_port()?, args, running: None };
        redis.run()?;
        Ok(redis)
    }

    /// Starts a sentinel that alone watches the Redis at `port` under the name `swarm`.
    ///
    /// # Errors
    /// It does not start.
    pub fn sentinel(port: u16) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = format!(
            "sentinel monitor swarm 127.0.0.1 {port} 1\nsentinel down-after-milliseconds swarm 1000\n\
             sentinel failover-timeout swarm 5000\n"
        );
        std::fs::write(folder.path().join("sentinel.conf"), config)?;
        let mut sentinel =
            Self { folder, port: free_port()?, args: vec!["--sentinel".into()], running: None };
        sentinel.run()?;
        Ok(sentinel)
    }

    /// Starts it with its existing data.
    ///
    /// # Errors
    /// It does not start.
    pub fn run(&mut self) -> io::Result<()> {
        let mut command = Command::new("redis-server");
        if self.args.first().is_some_and(|arg| arg == "--sentinel") {
            command.arg("sentinel.conf");
        }
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(&self.args).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let missing =
            "redis-server cannot be started; install it: apt-get install redis-server redis-sentinel";
        let started = command.spawn().map_err(|e| io::Error::new(e.kind(), format!("{missing}: {e}")))?;
        self.running = Some(started);
        let deadline = Instant::now() + SOON;
        while !self.say("PING").is_ok_and(|said| said.starts_with("+PONG") || said.starts_with("-NOAUTH")) {
            let ended = self.running.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("redis-server did not start:\n{log}")));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills it as a power failure would.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill(&mut self) -> io::Result<()> {
        let mut child = self.running.take().ok_or_else(|| io::Error::other("it does not run"))?;
        child.kill()?;
        child.wait().map(|_| ())
    }

    /// Removes all its data. It must not be running.
    ///
    /// # Errors
    /// The files cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(self.folder.path().join("appendonlydir")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process ID while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address in the form used in the configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a command as `redis-cli` does, and returns the raw response.
    ///
    /// # Errors
    /// It does not answer.
    pub fn say(&self, command: &str) -> io::Result<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut socket = TcpStream::connect_timeout(&address, SOON)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.write_all(format!("{command}\r\n").as_bytes())?;
        // Redis answers, reads the end of input and closes the connection, so the response is complete.
        socket.shutdown(Shutdown::Write)?;
        let mut said = Vec::new();
        socket.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.running.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("left running: redis-server on port {} ({error})", self.port);
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
