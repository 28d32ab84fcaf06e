//! What has vanished from a state directory, and what comes back out of a backup, with the
//! real program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
};
use swarm_orchestrator::store::{LocalStore, insert};

/// Starts the program and stops it in order once it serves. Gives its exit code and what it said.
fn start(config: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_swarm-orchestrator"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut output) = (String::new(), String::new());
    while errors.read_line(&mut line).unwrap() > 0 {
        output.push_str(&line);
        if line.contains(" ready ") {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            break;
        }
        line.clear();
    }
    errors.read_to_string(&mut output).unwrap();
    (child.wait().unwrap().code(), output)
}

/// Every file directly below a directory, with its bytes. SQLite's shared index is no content,
/// and the lock says who came last.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|e| e.path().is_file());
    let named = entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()));
    named.filter(|(name, _)| !(name.ends_with("-shm") || name == "lock")).collect()
}

// fault: 50
#[test]
fn what_has_vanished_while_its_traces_exist_stops_the_start_and_is_made_anew_only_when_told() {
    let journal = ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"];
    let journal_and_mark = [&journal[..], &["journal.mark"]].concat();
    let cases: [(&[&str], &str); 7] = [
        (&["signing-key.asc"], "signing-key.fingerprint says that it signed"),
        (&["nix-signing-key"], "nix-signing-key.public says that it signed"),
        (&["tls.crt"], "tls.crt is missing"),
        (&["tls.key"], "tls.key is missing"),
        (&["tls.crt", "tls.key"], "tls.fingerprint exists"),
        (&journal, "lost acknowledged events"),
        (&journal_and_mark, "packages that it received are in the store"),
    ];
    for (gone, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (config, state) = (folder.path().join("orchestrator.toml"), folder.path().join("state"));
        let text = format!(
            "listen = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n[tls]\nlisten = \"127.0.0.1:0\"\n",
            state.display()
        );
        fs::write(&config, text).unwrap();
        for _ in 0..2 {
            assert_eq!(start(&config, &[]).0, Some(0), "nothing is gone");
        }
        if gone.contains(&"journal.mark") {
            insert(&LocalStore::open(state.join("store")).unwrap(), &b"a package"[..], None).unwrap();
        }
        for name in gone {
            fs::remove_file(state.join(name)).unwrap();
        }
        let before = files(&state);
        let (code, output) = start(&config, &[]);
        assert_eq!(code, Some(74), "{gone:?}: {output}");
        assert!(output.contains(words) && output.contains("--accept-new"), "{gone:?}: {output}");
        assert_eq!(files(&state).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{gone:?}");
        assert!(files(&state) == before, "{gone:?}: something was changed");

        let (code, output) = start(&config, &["--accept-new"]);
        assert_eq!(code, Some(0), "{gone:?}: {output}");
        for name in gone {
            assert!(state.join(name).exists(), "{name} was not made anew");
        }
        assert_eq!(start(&config, &[]).0, Some(0), "{gone:?}: what was accepted is accepted");
    }
}

// fault: 52
#[test]
fn a_journal_is_backed_up_while_it_is_in_use_and_restored_with_all_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let (config, state) = (folder.path().join("orchestrator.toml"), folder.path().join("state"));
    fs::write(&config, format!("listen = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n", state.display())).unwrap();
    let backup = folder.path().join("backup.sqlite");
    let back_up = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarm-orchestrator"));
        command.arg("--config").arg(&config).args(["journal", "backup"]).arg(&backup).output().unwrap()
    };
    assert_eq!(back_up().status.code(), Some(74), "there is no journal yet");
    assert!(!backup.exists());
    let mut running = Command::new(env!("CARGO_BIN_EXE_swarm-orchestrator"))
        .arg("--config")
        .arg(&config)
        .env_remove("NOTIFY_SOCKET")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(" ready ") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
    }
    // Twice: the second takes the place of the first.
    for _ in 0..2 {
        let output = back_up();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.starts_with("Backed up 1 events to"), "{output:?}");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    fs::write(
        &config,
        format!("listen = \"127.0.0.1:0\"\nstate_dir = \"{}\"\n", folder.path().join("new").display()),
    )
    .unwrap();
    fs::create_dir(folder.path().join("new")).unwrap();
    fs::copy(&backup, folder.path().join("new/journal.sqlite")).unwrap();
    let (code, output) = start(&config, &[]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("skipping IDs that may be in use"), "{output}");
    let (code, output) = start(&config, &[]);
    assert_eq!(code, Some(0), "{output}");
    assert!(!output.contains("skipping IDs"), "{output}");
}
