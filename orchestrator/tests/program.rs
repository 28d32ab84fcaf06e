//! The program as a supervisor sees it: exit codes, signals, what it says and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// Nothing that is waited for here takes longer.
const LIMIT: Duration = Duration::from_secs(60);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarm-orchestrator"));
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

fn config(folder: &Path, more: &str) -> PathBuf {
    let path = folder.join("orchestrator.toml");
    let state = folder.join("state");
    let text = format!("listen = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n{more}", state.display());
    std::fs::write(&path, text).unwrap();
    path
}

fn run(arguments: &[&str], config: &Path) -> Output {
    program().arg("--config").arg(config).args(arguments).output().unwrap()
}

/// A running orchestrator; killed if a test ends early.
struct Running {
    child: Child,
    address: String,
    /// What was read of its log.
    log: String,
    lines: Receiver<String>,
}

impl Running {
    fn start(config: &Path, notify: Option<&Path>) -> Self {
        let mut running = Self::starting(config, notify, " ready ");
        let ready = running.log.lines().last().unwrap();
        running.address = ready.split("address=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        running
    }

    /// Starts it and waits until it says something.
    fn starting(config: &Path, notify: Option<&Path>, expected: &str) -> Self {
        let mut command = program();
        if let Some(socket) = notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        let mut child = command
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || errors.lines().try_for_each(|line| sender.send(line.unwrap() + "\n")));
        let mut running = Self { child, address: String::new(), log: String::new(), lines };
        running.says(expected);
        running
    }

    /// Reads the log until a line has `words`.
    fn says(&mut self, words: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).unwrap_or_else(|e| panic!("{words:?}: {e}: {}", self.log));
            self.log.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The whole log of a program that has ended.
    fn whole_log(&mut self) -> &str {
        self.log.extend(self.lines.iter());
        &self.log
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

// fault: 57
#[test]
fn an_address_that_another_program_has_is_waited_for_and_a_stop_is_heard_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    for stopped in [true, false] {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let path = config(folder.path(), "");
        let text = std::fs::read_to_string(&path).unwrap().replace("127.0.0.1:0", &address.to_string());
        std::fs::write(&path, text).unwrap();
        let mut running = Running::starting(&path, None, "waiting for the listen address");
        assert!(running.log.contains(&format!("cannot listen on {address}")), "{}", running.log);
        if stopped {
            running.terminate();
            assert!(running.ended().success());
        } else {
            drop(taken);
            running.says(" ready ");
            assert!(TcpStream::connect(address).is_ok());
        }
    }
}

// fault: 17
#[test]
fn the_second_orchestrator_on_a_state_directory_names_the_first_and_is_75() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let first = Running::start(&path, None);
    let output = run(&[], &path);
    assert_eq!(output.status.code(), Some(75));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&format!("process {}", first.child.id())), "{stderr}");
}

// fault: 16
#[test]
fn a_damaged_journal_is_74_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let mut first = Running::start(&path, None);
    first.terminate();
    assert!(first.ended().success());
    let journal = folder.path().join("state/journal.sqlite");
    std::fs::write(&journal, b"this is no database, and long enough to be looked at as one").unwrap();
    let output = run(&[], &path);
    assert_eq!(output.status.code(), Some(74), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read(&journal).unwrap().starts_with(b"this is no database"));
}

#[test]
fn the_first_start_prints_one_line_how_to_log_in_and_the_second_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    for expected in [1, 0] {
        let mut running = Running::start(&path, None);
        running.terminate();
        assert!(running.ended().success());
        let mut stdout = String::new();
        running.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout.lines().count(), expected, "{stdout}");
        if expected == 1 {
            let token = folder.path().join("state/admin.token");
            assert!(
                stdout.contains("swarmctl login") && stdout.contains(token.to_str().unwrap()),
                "{stdout}"
            );
            let secret = std::fs::read_to_string(&token).unwrap();
            assert!(!stdout.contains(secret.trim()), "the token itself is not printed");
            assert_eq!(std::fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let log = running.whole_log();
        assert!(!log.contains('\u{1b}'), "no colour into a pipe: {log}");
    }
}

impl Running {
    fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }
}

// fault: 37
#[test]
fn a_changed_configuration_is_taken_over_and_a_wrong_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let mut running = Running::start(&path, None);

    config(folder.path(), "[log]\nlevel = \"debug\"\n[policy]\nlease = \"5s\"\n[limits]\nconnections = 70\n");
    running.hang_up();
    let line = running.says("configuration reloaded");
    assert!(line.contains("log.level, policy.lease") && !line.contains("limits"), "{line}");
    let line = running.says("restart");
    assert!(line.contains("limits.connections") && line.contains("WARN"), "{line}");

    config(folder.path(), "[policy]\nleases = \"5s\"\n");
    running.hang_up();
    let line = running.says("keeping the old one");
    assert!(line.contains("orchestrator.toml:4:1") && line.contains("`lease`"), "{line}");
    let _answers = TcpStream::connect(&running.address).unwrap();
    running.terminate();
    assert!(running.ended().success());
}

#[test]
fn a_supervisors_watchdog_is_fed_as_long_as_the_engine_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let socket = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(LIMIT)).unwrap();
    let mut command = program();
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000").arg("--config").arg(&path);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut word = [0; 200];
    let mut pings = 0;
    while pings < 3 {
        let length = supervisor.recv(&mut word).unwrap();
        pings += usize::from(&word[..length] == b"WATCHDOG=1\n");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_supervisor_is_told_when_it_serves_and_a_stop_ends_open_streams() {
    let folder = tempfile::tempdir().unwrap();
    // What is not ended by the stop keeps it for an hour.
    let path = config(folder.path(), "[limits]\ndrain_timeout = \"1h\"\n");
    let socket = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(LIMIT)).unwrap();
    let mut running = Running::start(&path, Some(&socket));
    let mut word = [0; 200];
    let mut heard = || {
        let length = supervisor.recv(&mut word).unwrap();
        String::from_utf8_lossy(&word[..length]).into_owned()
    };
    assert!(heard().starts_with("READY=1\nSTATUS=serving on 127.0.0.1:"));

    let token = std::fs::read_to_string(folder.path().join("state/admin.token")).unwrap();
    let mut stream = TcpStream::connect(&running.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {}\r\n\r\n",
        token.trim()
    )
    .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    running.terminate();
    assert!(running.ended().success());
    while !heard().starts_with("STOPPING=1\n") {}
}

/// The configuration of an orchestrator that speaks TLS, and the certificate and key that
/// it made.
fn with_tls(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let path = config(folder, "[tls]\nlisten = \"127.0.0.1:0\"\nnames = [\"nas\"]\n");
    let mut running = Running::start(&path, None);
    running.terminate();
    assert!(running.ended().success());
    let mut stdout = String::new();
    running.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(
        stdout.contains("swarmctl login https://nas:") && stdout.contains("--fingerprint sha256:"),
        "{stdout}"
    );
    (path, folder.join("state/tls.crt"), folder.join("state/tls.key"))
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_78_or_74_and_says_which_file() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, certificate, key) = with_tls(one.path());
    let (_, _, other_key) = with_tls(two.path());
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open.key");
    std::fs::copy(&key, &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let nothing = folder.path().join("nothing.pem");
    std::fs::write(&nothing, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::set_permissions(&nothing, std::fs::Permissions::from_mode(0o600)).unwrap();
    let missing = folder.path().join("missing.key");
    for (certificate, key, expected, code) in [
        (&certificate, &other_key, "does not match the certificate", 78),
        (&certificate, &open, "chmod 600", 78),
        (&certificate, &nothing, "no usable private key", 78),
        // Its disk may not be mounted yet.
        (&certificate, &missing, "missing.key: cannot read the file: No such file", 74),
        (&nothing, &key, "nothing.pem: is not a PEM file", 78),
        (&key, &key, "contains no certificate", 78),
    ] {
        let files = format!("certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
        let path = config(folder.path(), &format!("[tls]\nlisten = \"127.0.0.1:0\"\n{files}"));
        let output = run(&[], &path);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{expected}: {errors}");
        // Once in the log and once for whoever started it.
        assert_eq!(errors.matches(expected).count(), 2, "{expected}: {errors}");
    }
}

#[test]
fn the_log_tells_how_long_the_certificate_is_valid_and_that_it_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, certificate, key) = with_tls(folder.path());
    let before = std::fs::read_to_string(folder.path().join("state/tls.fingerprint")).unwrap();
    let log = || {
        let mut running = Running::start(&path, None);
        running.terminate();
        assert!(running.ended().success());
        (
            running.whole_log().to_owned(),
            std::fs::read_to_string(folder.path().join("state/tls.fingerprint")).unwrap(),
        )
    };
    let (text, same) = log();
    assert_eq!(same, before);
    let in_ten_years = format!("valid_until={}", this_year() + 10);
    assert!(text.contains(&in_ten_years) && text.contains(before.trim()), "{text}");
    assert!(!text.contains("was replaced"), "{text}");
    let other = tempfile::tempdir().unwrap();
    let (_, new_certificate, new_key) = with_tls(other.path());
    std::fs::copy(new_certificate, certificate).unwrap();
    std::fs::copy(new_key, key).unwrap();
    let (text, after) = log();
    assert_ne!(after, before);
    assert!(
        text.contains("was replaced") && text.contains(before.trim()) && text.contains(after.trim()),
        "{text}"
    );
}

/// The year that it is.
fn this_year() -> i16 {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year()
}
