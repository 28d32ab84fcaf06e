//! Pipes, tokens, and builds that are killed while they hold tokens.

use super::*;
use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Command, Stdio},
};

fn seen(busy: bool, given: u32, unused: u32) -> SlotStatus {
    SlotStatus { busy, given, unused }
}

#[test]
fn tokens_go_where_they_are_used_and_none_comes_out_of_nothing() {
    let (idle, gone, hungry) = (seen(true, 6, 6), seen(false, 0, 0), seen(true, 0, 0));
    assert_eq!(shares(6, &[hungry, gone]), [6, 0], "one build has the machine");
    assert_eq!(shares(6, &[seen(true, 6, 0), hungry]), [6, 0], "what is in use is not taken");
    assert_eq!(shares(6, &[seen(true, 4, 0), hungry]), [4, 2], "and who has least gets more");
    assert_eq!(shares(6, &[idle, hungry]), [1, 5], "one is kept at hand");
    assert_eq!(shares(6, &[idle, hungry, hungry]), [1, 3, 2]);
    assert_eq!(shares(5, &[seen(true, 6, 6), hungry]), [1, 4], "one less since another builds");
    assert_eq!(shares(5, &[gone, gone]), [0, 0], "nobody builds");
    assert_eq!(shares(2, &[seen(true, 4, 1), hungry]), [3, 0], "more are in use than there should be");
}

/// Opens the pipe in the same way as a build.
fn open(guard: &SlotGuard) -> File {
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, OFlags::NONBLOCK.bits() as i32);
    options.read(true).write(true).open(guard.dir().join(PIPE)).unwrap()
}

/// Takes all tokens that are available to a build.
fn take_all(pipe: &mut File) -> usize {
    let mut room = [0; 64];
    pipe.read(&mut room).unwrap_or(0)
}

/// A process that takes `tokens` tokens and keeps them.
fn greedy(guard: &SlotGuard, tokens: usize) -> Child {
    let script = r#"head -c "$2" <>"$1" && echo && exec sleep 600"#;
    let pipe = guard.dir().join(PIPE);
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(pipe).arg(tokens.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), "+".repeat(tokens));
    child
}

#[test]
fn a_build_that_is_killed_with_all_tokens_costs_none() {
    let dir = tempfile::tempdir().unwrap();
    let server = Jobserver::new(dir.path(), 6, 2).unwrap();
    let first = server.enter().unwrap().unwrap();
    let mut build = greedy(&first, 5);
    let second = server.enter().unwrap().unwrap();
    assert!(server.enter().unwrap().is_none(), "there are two slots");
    let mut pipe = open(&second);
    assert_eq!(take_all(&mut pipe), 0, "all are in use");

    build.kill().unwrap();
    build.wait().unwrap();
    server.lock().balance().unwrap();
    assert_eq!(take_all(&mut pipe), 0, "nobody knows yet that they are free");
    drop(first);
    assert_eq!(take_all(&mut pipe), 5, "the other has the machine at once");
}

#[test]
fn what_a_dead_build_hands_in_late_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let server = Jobserver::new(dir.path(), 6, 2).unwrap();
    let first = server.enter().unwrap().unwrap();
    let mut dead = open(&first);
    assert_eq!(take_all(&mut dead), 5);
    let second = server.enter().unwrap().unwrap();
    drop(first);
    let mut lives = open(&second);
    assert_eq!(take_all(&mut lives), 5);
    dead.write_all(b"+++++").unwrap();
    let third = server.enter().unwrap().unwrap();
    let mut pipe = open(&third);
    assert_eq!(take_all(&mut pipe), 0, "all are in use");
    lives.write_all(b"+++++").unwrap();
    server.lock().balance().unwrap();
    // Four tokens in addition to the two free jobs. One stays in the slot that had unused tokens; the other
    // slot gets the rest.
    assert_eq!((take_all(&mut pipe), take_all(&mut lives)), (3, 1));
}

#[tokio::test]
async fn tokens_move_while_builds_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Jobserver::new(dir.path(), 4, 2).unwrap();
    let first = server.enter().unwrap().unwrap();
    let mut idle = open(&first);
    assert_eq!(take_all(&mut idle), 3);
    let second = server.enter().unwrap().unwrap();
    let mut busy = open(&second);
    assert_eq!(take_all(&mut busy), 0);
    idle.write_all(b"+++").unwrap();
    let got = second.run(async {
        loop {
            match take_all(&mut busy) {
                0 => tokio::time::sleep(Duration::from_millis(5)).await,
                tokens => return tokens,
            }
        }
    });
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), got).await.unwrap(), 1);
}

#[test]
fn every_user_can_open_a_pipe_and_its_directory_is_not_sticky() {
    let dir = tempfile::tempdir().unwrap();
    let server = Jobserver::new(dir.path(), 2, 1).unwrap();
    let guard = server.enter().unwrap().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&guard.dir().join(PIPE)), 0o666);
    assert_eq!(mode(guard.dir()), 0o755);
}
