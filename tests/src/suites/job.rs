//! A job: a suite or a command. Collects its output and measures its time.

use super::{
    built::Suite,
    counts::{Counts, counts},
    times::{self, Times},
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::{
    fs,
    io::{BufRead as _, BufReader, PipeReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

/// A job that takes longer hangs and is killed.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// How long to wait for output after the end of a job whose children still hold it open.
const REST: Duration = Duration::from_secs(5);

/// How often to check a job that prints nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Niceness of jobs that compute.
const NICE: &str = "5";

#[derive(Debug)]
pub enum Job {
    Suite(Suite),
    /// A shell command line, run in the caller's folder.
    Command {
        /// Its name in the report.
        name: String,
        line: String,
    },
}

/// A job that has ended.
#[derive(Debug, Default)]
pub struct Ended {
    pub name: String,
    /// Its output, stdout and stderr combined.
    pub output: String,
    /// Number of passed and failed tests.
    pub counts: Counts,
    /// Why it failed; `None` if it passed.
    pub failure: Option<String>,
    pub took: Duration,
    /// CPU time, including that of children it waited for.
    pub processor: Duration,
    /// Duration of each of its tests.
    pub tests: Vec<(String, Duration)>,
}

impl Job {
    /// Its name in the report.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Suite(suite) => &suite.name,
            Self::Command { name, .. } => name,
        }
    }

    /// Runs it to its end, with lower priority if `nice`.
    #[must_use]
    pub fn run(&self, nice: bool) -> Ended {
        let mut ended = Ended { name: self.name().to_owned(), ..Ended::default() };
        let began = Instant::now();
        if let Err(error) = self.try_run(nice, began, LIMIT, &mut ended) {
            ended.failure = Some(format!("{error:#}"));
        }
        ended.took = began.elapsed();
        ended
    }

    fn try_run(&self, nice: bool, began: Instant, limit: Duration, ended: &mut Ended) -> Result<()> {
        let list = match self {
            Self::Suite(suite) => list(suite)?,
            Self::Command { .. } => Vec::new(),
        };
        let listed = list.len();
        let mut times = Times::new(list, times::at_once());
        let (mut child, lines) = self.start(nice)?;
        let within = read(&child, &lines, began, limit, |line, at| {
            times.line(line, at);
            ended.output.push_str(line);
            ended.output.push('\n');
        });
        if !within {
            child.kill()?;
        }
        let (status, processor) = end(&mut child)?;
        ended.processor = processor;
        ended.tests = times.ended().to_vec();
        let all = counts(&ended.output);
        // A failing test may print results of tests that it started itself. The suite's own results come
        // last.
        ended.counts = match self {
            Self::Suite(_) => all.last().copied().unwrap_or_default(),
            Self::Command { .. } => all.iter().copied().sum(),
        };
        ensure!(within, "did not end within {} s; running: {:?}", limit.as_secs(), times.running());
        ensure!(status.success(), "{status}");
        ensure!(ended.counts.failed == 0, "{} tests failed", ended.counts.failed);
        if let Self::Suite(_) = self {
            ensure!(!all.is_empty(), "no result line, though it exited with success");
            ensure!(
                ended.counts.all() == listed,
                "{} results of {listed} tests, though it exited with success",
                ended.counts.all()
            );
        }
        Ok(())
    }

    /// Starts it. The lines of both outputs are received one by one.
    fn start(&self, nice: bool) -> Result<(Child, Receiver<String>)> {
        let (reader, writer) = std::io::pipe()?;
        let mut command = match nice {
            true => Command::new("nice"),
            false => Command::new("env"),
        };
        if nice {
            command.args(["-n", NICE]);
        }
        match self {
            Self::Suite(suite) => {
                command.arg(&suite.program).current_dir(&suite.folder).envs(environment(suite))
            }
            Self::Command { line, .. } => command.args(["bash", "-c", line.as_str()]),
        };
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        // The command holds the write end of the pipe. Without it, the output ends with the job.
        drop(command);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || send_lines(reader, &sender));
        Ok((child, lines))
    }
}

/// The environment that Cargo gives to a test, as far as our tests use it, and the folder of the programs.
fn environment(suite: &Suite) -> Vec<(&'static str, std::path::PathBuf)> {
    let mut environment = vec![("CARGO_MANIFEST_DIR", suite.folder.clone())];
    // A test executable is target/debug/deps/NAME-HASH; a program is target/debug/NAME.
    if let Some(programs) = suite.program.parent().and_then(|deps| deps.parent()) {
        environment.push(("SWARM_PROGRAMS", programs.to_owned()));
    }
    environment
}

/// The names of a suite's tests, in the order in which it starts them.
fn list(suite: &Suite) -> Result<Vec<String>> {
    let mut command = Command::new(&suite.program);
    command.args(["--list", "--format", "terse"]).current_dir(&suite.folder);
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

fn send_lines(reader: PipeReader, sender: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
        if sender.send(text).is_err() {
            return;
        }
        line.clear();
    }
}

/// Passes on the job's output, with the time since its start, until it has ended. Returns `false` if it did
/// not end in time.
fn read(
    child: &Child,
    lines: &Receiver<String>,
    began: Instant,
    limit: Duration,
    mut take: impl FnMut(&str, Duration),
) -> bool {
    let mut gone: Option<Instant> = None;
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => take(&line, began.elapsed()),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) if gone.is_none() && is_over(child) => gone = Some(Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if gone.is_some_and(|gone| gone.elapsed() >= REST) {
            take("note: something that was started here still runs", began.elapsed());
            return true;
        }
        if gone.is_none() && began.elapsed() >= limit {
            return false;
        }
    }
}

/// Whether the process has ended. Does not reap it.
fn is_over(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(Pid::from_child(child)), options).is_ok_and(|status| status.is_some())
}

/// Waits for the process. Returns its status and CPU time.
fn end(child: &mut Child) -> Result<(ExitStatus, Duration)> {
    waitid(WaitId::Pid(Pid::from_child(child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    // The process still exists, because nobody has read its status.
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // utime, stime, cutime and cstime of proc_pid_stat(5). The name, in parentheses, may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    let processor = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1));
    Ok((child.wait()?, processor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write as _, path::Path};

    /// A suite that lists two tests and then runs `script`.
    fn suite(folder: &Path, script: &str) -> Job {
        let program = folder.join("suite");
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = --list ]; then printf 'one: test\\ntwo: test\\n'; exit; fi\n{script}\n"
        );
        // A file that is open for writing cannot be executed, and a process that another test is starting
        // would have a copy of our descriptor.
        let mut install = Command::new("install");
        install.args(["-m", "755", "/dev/stdin"]).arg(&program).stdin(Stdio::piped());
        let mut install = install.spawn().unwrap();
        install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        Job::Suite(Suite { name: "a/suite".into(), program, folder: folder.to_owned() })
    }

    const RESULT: &str = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'";

    #[test]
    fn a_suite_passes_only_with_success_and_a_result_for_each_of_its_tests() {
        let folder = tempfile::tempdir().unwrap();
        let ended = |script: &str| suite(folder.path(), script).run(true);
        let good = ended(&format!("echo 'test one ... ok'\necho 'test two ... ok' >&2\n{RESULT}"));
        assert_eq!(good.failure, None, "{}", good.output);
        assert_eq!((good.counts.passed, good.tests.len()), (2, 2));
        assert!(good.output.starts_with("test one ... ok\ntest two ... ok\n"), "{}", good.output);
        for (script, why) in [
            ("exit 0", "no result line"),
            ("kill -9 $$", "signal: 9"),
            (format!("{RESULT}\nexit 3").as_str(), "exit status: 3"),
            (RESULT.replace("2 passed", "1 passed").as_str(), "1 results of 2 tests"),
            (RESULT.replace("0 failed", "2 failed").as_str(), "2 tests failed"),
        ] {
            let failure = ended(script).failure;
            assert!(failure.as_ref().is_some_and(|said| said.contains(why)), "{script}: {failure:?}");
        }
        let gone = Suite { name: "a/gone".into(), program: "/nonexistent".into(), folder: "/".into() };
        assert!(Job::Suite(gone).run(false).failure.is_some());
    }

    #[test]
    fn a_suite_that_hangs_is_killed_and_its_running_tests_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let job = suite(folder.path(), "echo 'test two ... ok'\nexec sleep 1000");
        let mut ended = Ended::default();
        let error = job.try_run(false, Instant::now(), Duration::from_secs(10), &mut ended).unwrap_err();
        assert!(error.to_string().contains("running: [\"one\"]"), "{error}");
        assert!(ended.output.contains("test two"), "{}", ended.output);
    }

    #[test]
    fn a_process_that_a_suite_leaves_behind_does_not_hold_up_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! >'{}'\n{RESULT}", pid.display());
        let ended = suite(folder.path(), &script).run(false);
        let left = fs::read_to_string(pid).unwrap();
        Command::new("kill").arg(left.trim()).status().unwrap();
        assert_eq!(ended.failure, None);
        assert!(ended.output.contains("still runs") && ended.took < Duration::from_secs(900), "{ended:?}");
    }

    #[test]
    fn a_command_fails_by_its_status_and_its_results_are_added_up() {
        let command = |line: &str| Job::Command { name: "x".into(), line: line.into() }.run(false);
        let twice = command(&format!("{RESULT}; {RESULT}; for ((n = 0; n < 200000; n++)); do :; done"));
        assert_eq!((twice.failure, twice.counts.passed), (None, 4));
        assert!(twice.processor > Duration::from_millis(20), "{:?}", twice.processor);
        assert_eq!(command("false").failure.as_deref(), Some("exit status: 1"));
    }
}
