//! Runs real processes that misbehave.

use super::*;
use crate::process::{group::Group, running::command, table};
use std::time::Instant;

/// Keeps the end of the output and counts all bytes.
#[derive(Default)]
struct Keep {
    bytes: usize,
    tail: Vec<u8>,
    stop_at: Option<&'static str>,
}

impl Sink for Keep {
    async fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        self.bytes += piece.len();
        self.tail.extend_from_slice(piece);
        let seen = self.stop_at.is_some_and(|text| String::from_utf8_lossy(&self.tail).contains(text));
        let cut = self.tail.len().saturating_sub(4096);
        self.tail.drain(..cut);
        if seen { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn shell(script: &str) -> (Invocation, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let job = Invocation {
        program: "/bin/bash".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        dir: dir.path().into(),
        owner: dir.path().into(),
        timeout: Duration::from_secs(300),
        silence: Duration::from_secs(300),
        grace: Duration::from_millis(300),
        memory_max: None,
        processors_max: None,
        disk: DiskLimit { dir: dir.path().into(), bytes: None },
        processes_max: 1000,
    };
    (job, dir)
}

fn output_to(job: &Invocation, group: &Group, writer: io::PipeWriter) -> tokio::process::Command {
    let mut command = command(job, group);
    command.stdin(std::process::Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    command
}

/// Number of live processes whose environment names this directory as their owner.
fn alive(dir: &std::path::Path) -> usize {
    let mark = format!("SWARM_DRONE_DIR={}", dir.display());
    table::family(0, mark.as_bytes()).iter().filter(|e| !e.zombie).count()
}

/// Waits until `count` processes are alive.
async fn until_alive(dir: &std::path::Path, count: usize) {
    let wait = async {
        while alive(dir) < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("they never came to life");
}

async fn ran(job: &Invocation, keep: &mut Keep) -> Completed {
    run(job, keep, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn output_of_both_streams_comes_with_the_status_and_an_empty_environment() {
    let (job, _dir) =
        shell("echo out; echo err >&2; printf 'nul \\0 bad \\xff\\xfe'; env | grep -c HOME; exit 7");
    let mut keep = Keep::default();
    let ran = ran(&job, &mut keep).await;
    assert!(matches!(ran.end, End::Exited(status) if status.code() == Some(7)), "{ran:?}");
    assert_eq!(keep.tail, b"out\nerr\nnul \0 bad \xff\xfe0\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() {
    let (mut job, _dir) = shell("");
    job.program = "/nonexistent/emerge".into();
    let mut keep = Keep::default();
    let ran = ran(&job, &mut keep).await;
    assert!(matches!(ran.end, End::Exited(status) if status.code() == Some(127)), "{ran:?}");
    assert!(String::from_utf8_lossy(&keep.tail).contains("/nonexistent/emerge"));
}

// fault: 32
#[tokio::test]
async fn too_long_is_ended_even_if_it_ignores_the_request() {
    let (mut job, dir) = shell("trap '' TERM; while :; do echo tick; sleep 0.05; done");
    job.timeout = Duration::from_millis(700);
    let ran = ran(&job, &mut Keep::default()).await;
    assert_eq!(ran.end, End::TimedOut);
    assert_eq!(alive(dir.path()), 0);
}

#[tokio::test]
async fn silence_is_not_the_same_as_length() {
    // It prints for longer than the silence limit, with pauses that stay below the limit even on a busy
    // machine.
    let (mut job, _dir) = shell("for i in {1..25}; do echo -n x; sleep 0.2; done; sleep 1000");
    job.silence = Duration::from_secs(4);
    let mut keep = Keep::default();
    let ran = ran(&job, &mut keep).await;
    assert_eq!(ran.end, End::Silent);
    assert_eq!(keep.tail, [b'x'; 25]);
}

// fault: 32
#[tokio::test]
async fn an_orphan_in_a_session_of_its_own_that_ignores_term_dies_too() {
    let orphan = "(trap '' TERM HUP; exec setsid bash -c 'trap \"\" TERM; echo away; : >away; while :; do sleep 1; done') & disown";
    let (job, dir) = shell(&format!("{orphan}; until [[ -e away ]]; do sleep 0.05; done; exit 0"));
    let mut keep = Keep::default();
    let ran = ran(&job, &mut keep).await;
    assert!(matches!(ran.end, End::Exited(status) if status.success()));
    assert_eq!(alive(dir.path()), 0);
    assert_eq!(keep.tail, b"away\n");
}

#[tokio::test]
async fn without_a_control_group_the_orphan_is_found_all_the_same() {
    let (job, dir) = shell("setsid -f sleep 1000; setsid -f sleep 1000; sleep 1000");
    let mut group = Group::new(&job);
    group.forget_cgroups();
    let (_reader, writer) = io::pipe().unwrap();
    let mut child = output_to(&job, &group, writer).spawn().unwrap();
    let mut group = group.leader(child.id());
    until_alive(dir.path(), 3).await;
    group.sample();
    assert!(group.end().await.peak_memory_bytes > 0);
    assert_eq!(alive(dir.path()), 0);
    child.wait().await.unwrap();
}

// fault: 32
#[tokio::test]
async fn a_fork_bomb_is_put_out() {
    let (mut job, dir) =
        shell("trap '' TERM; bomb() { bomb | bomb & }; bomb; sleep 1; echo lit; wait; sleep 100");
    job.processes_max = 300;
    let mut keep = Keep { stop_at: Some("lit"), ..Keep::default() };
    let ran = ran(&job, &mut keep).await;
    assert_eq!(ran.end, End::Stopped);
    assert_eq!(alive(dir.path()), 0);
}

/// Cancels the job when this text is printed first.
struct CancelAt(&'static str, CancellationToken);

impl Sink for CancelAt {
    async fn take(&mut self, output: &[u8]) -> ControlFlow<()> {
        assert_eq!(output, self.0.as_bytes());
        self.1.cancel();
        ControlFlow::Continue(())
    }
}

#[tokio::test]
async fn cancelling_leaves_no_process_and_no_control_group() {
    let (job, dir) = shell("trap '' TERM; echo on; sleep 1000 & wait; sleep 1000");
    let cancel = CancellationToken::new();
    let ran = run(&job, &mut CancelAt("on\n", cancel.clone()), &cancel).await.unwrap();
    assert_eq!(ran.end, End::Cancelled);
    assert_eq!(alive(dir.path()), 0);
    assert!(group::left_groups(dir.path()).is_empty());
}

#[tokio::test]
async fn dropping_the_future_kills_as_well() {
    let (job, dir) = shell("setsid -f sleep 1000; echo on; exec sleep 1000");
    let (cancel, on) = (CancellationToken::new(), CancellationToken::new());
    let mut sink = CancelAt("on\n", on.clone());
    let lives = async {
        on.cancelled().await;
        until_alive(dir.path(), 2).await;
    };
    tokio::select! {
        ended = run(&job, &mut sink, &cancel) => panic!("{ended:?}"),
        () = lives => {}
    }
    assert_eq!(alive(dir.path()), 0);
}

// fault: 19
#[tokio::test]
async fn a_later_drone_finds_what_an_earlier_one_left() {
    let (job, dir) = shell("setsid -f sleep 1000; sleep 1000");
    // As if the drone had been killed: the group is neither ended nor dropped.
    let group = Group::new(&job);
    let (_reader, writer) = io::pipe().unwrap();
    let mut child = output_to(&job, &group, writer).kill_on_drop(false).spawn().unwrap();
    std::mem::forget(group);
    until_alive(dir.path(), 2).await;
    assert!(kill_orphans(dir.path()).await >= 2);
    assert_eq!(alive(dir.path()), 0);
    child.wait().await.unwrap();
    assert!(group::left_groups(dir.path()).is_empty());
    assert_eq!(kill_orphans(dir.path()).await, 0);
}

#[tokio::test]
async fn time_and_memory_are_counted() {
    let (job, _dir) = shell(
        "x=$(head -c 30000000 /dev/zero | tr '\\0' x); for ((n = 0; n < 1000000; n++)); do :; done; echo ${#x}",
    );
    let mut keep = Keep::default();
    let ran = ran(&job, &mut keep).await;
    assert_eq!(keep.tail, b"30000000\n");
    assert!(ran.used.cpu_ms >= 200, "{ran:?}");
    assert!(ran.used.peak_memory_bytes >= 30_000_000, "{ran:?}");
    assert!(!ran.used.out_of_memory);
}

// fault: 32
#[tokio::test]
async fn a_job_that_forks_without_end_gets_no_further_than_its_limit() {
    let (mut job, dir) = shell("for n in {1..100}; do sleep 100 & done 2>&1; jobs -pr | wc -l");
    job.processes_max = 30;
    let mut keep = Keep::default();
    ran(&job, &mut keep).await;
    let tail = String::from_utf8_lossy(&keep.tail).into_owned();
    let limited = group::can(dir.path(), |cgroups| cgroups.limit_processes(1000));
    assert_eq!(tail.contains("Resource temporarily unavailable"), limited, "{tail}");
    assert_eq!(alive(dir.path()), 0);
}

#[tokio::test]
async fn what_takes_more_memory_than_it_may_is_killed_by_the_kernel_and_told() {
    let (mut job, dir) = shell("x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo survived");
    job.memory_max = Some(100 << 20);
    let mut keep = Keep::default();
    let ran = ran(&job, &mut keep).await;
    let survived = keep.tail.ends_with(b"survived\n");
    if group::can(dir.path(), |cgroups| cgroups.limit_memory(1 << 30)) {
        assert!(!survived && ran.used.out_of_memory, "{ran:?}");
        assert!((90 << 20..=101 << 20).contains(&ran.used.peak_memory_bytes), "{ran:?}");
    } else {
        // Without a writable control group, the limit only causes a warning.
        assert!(survived && !ran.used.out_of_memory, "{ran:?}");
    }
}

#[tokio::test]
async fn what_may_take_one_processor_does_not_get_two() {
    let (mut job, dir) = shell("spin() { while ((SECONDS < 3)); do :; done; }; spin & spin & wait");
    job.processors_max = Some(1);
    let began = Instant::now();
    let ran = ran(&job, &mut Keep::default()).await;
    let processors = ran.used.cpu_ms as f64 / began.elapsed().as_millis() as f64;
    let limited = group::can(dir.path(), |cgroups| cgroups.limit_processors(1));
    assert!(!limited || processors < 1.2, "{ran:?}, {processors} processors");
}

#[tokio::test]
async fn a_server_is_measured_for_each_answer_and_what_it_printed_before_comes_first() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    // The second answer takes no time.
    let (job, dir) = shell(
        "while read -r busy; do head -c 200000 /dev/zero >&2; \
         timeout $busy sh -c 'while :; do :; done'; echo said $busy >&2; echo answer $busy; done",
    );
    let (mut running, mut requests, answers) = Running::start_server(&job).unwrap();
    let mut answers = BufReader::new(answers).lines();
    let (cancel, mut cpu) = (CancellationToken::new(), Vec::new());
    for busy in ["0.5", "0.01"] {
        let mut keep = Keep::default();
        let answer = async {
            requests.write_all(format!("{busy}\n").as_bytes()).await.unwrap();
            answers.next_line().await.unwrap()
        };
        let attended = running.attend(&job, &mut keep, &cancel, answer).await.unwrap();
        let Attended::Answered(still_running, answer, used) = attended else { panic!("{attended:?}") };
        assert_eq!(answer.unwrap(), format!("answer {busy}"));
        let printed = String::from_utf8_lossy(&keep.tail).into_owned();
        assert!(keep.bytes >= 200_000 && printed.ends_with(&format!("said {busy}\n")), "{printed}");
        cpu.push(used.cpu_ms);
        running = *still_running;
    }
    assert!(cpu[0] >= 200 && cpu[1] < cpu[0], "{cpu:?}");
    assert!(alive(dir.path()) > 0);
    running.kill().await;
    assert_eq!(alive(dir.path()), 0);
}

#[tokio::test]
async fn a_server_that_ends_or_is_cancelled_leaves_nothing() {
    for (script, stop) in [("setsid -f sleep 1000; exit 3", false), ("sleep 1000", true)] {
        let (job, dir) = shell(script);
        let (running, _requests, _answers) = Running::start_server(&job).unwrap();
        until_alive(dir.path(), 1).await;
        let cancel = CancellationToken::new();
        if stop {
            cancel.cancel();
        }
        let attended =
            running.attend(&job, &mut Keep::default(), &cancel, std::future::pending::<()>()).await;
        let Attended::Ended(ended) = attended.unwrap() else { panic!("{script}") };
        match ended.end {
            End::Exited(status) => assert_eq!((status.code(), stop), (Some(3), false)),
            end => assert_eq!((end, stop), (End::Cancelled, true)),
        }
        assert_eq!(alive(dir.path()), 0, "{script}");
    }
}
