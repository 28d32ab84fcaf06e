//! The configuration as the program reads it: files, variables, mistakes and their exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

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

// fault: 36
#[test]
fn a_typing_mistake_in_the_configuration_is_78_with_place_and_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "[limits]\nconections = 5\n");
    for arguments in [&["--check-config"][..], &[]] {
        let output = run(arguments, &path);
        assert_eq!(output.status.code(), Some(78));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("orchestrator.toml:4:1: ") && stderr.contains("`connections`"), "{stderr}");
    }
    assert!(!folder.path().join("state").exists(), "nothing was touched");
}

#[test]
fn a_wrong_address_of_a_notification_sink_is_78_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "[[notify.sink]]\nurl = \"gopher://x/hidden\"\n");
    let output = run(&["--check-config"], &path);
    assert_eq!(output.status.code(), Some(78));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("orchestrator.toml:4:7: ") && stderr.contains("expected ntfy://"), "{stderr}");
    assert!(!stderr.contains("hidden"), "{stderr}");
}

#[test]
fn a_missing_file_and_a_wrong_level_are_78() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&[], &folder.path().join("nowhere.toml"));
    assert_eq!(output.status.code(), Some(78));
    let path = config(folder.path(), "[log]\nlevel = \"loud=very\"\n");
    let output = run(&["--check-config"], &path);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn a_configuration_in_order_is_said_so_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let output = run(&["--check-config"], &path);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("is valid"));
    assert!(!folder.path().join("state").exists());
}

#[test]
fn the_directory_beside_the_file_and_variables_set_what_show_config_lists_with_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "[[notify.sink]]\nurl = \"ntfy://hidden.example/x\"\n");
    let beside = folder.path().join("orchestrator.conf.d");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("10-policy.toml"), "[policy]\nlease = \"90s\"\n").unwrap();
    let mut command = program();
    command.env("SWARM_ORCHESTRATOR__LOG__LEVEL", "debug").arg("--show-config");
    let output = command.arg("--config").arg(&path).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let beside = format!("policy.lease = \"1m30s\"  # {}:2", beside.join("10-policy.toml").display());
    let here = format!("  # {}:1", path.display());
    let is_there = |line: &str| stdout.lines().any(|l| l == line);
    assert!(is_there(&beside) && stdout.lines().any(|l| l.ends_with(&here)), "{stdout}");
    assert!(is_there("log.level = \"debug\"  # SWARM_ORCHESTRATOR__LOG__LEVEL"), "{stdout}");
    assert!(stdout.contains("notify.sink.0.url") && !stdout.contains("hidden"), "{stdout}");

    std::fs::write(folder.path().join("orchestrator.conf.d/20.toml"), "[policy]\nlese = 1\n").unwrap();
    let stderr = String::from_utf8_lossy(&run(&["--check-config"], &path).stderr).into_owned();
    assert!(stderr.contains("20.toml:2:1: unknown key `lese`; did you mean `lease`?"), "{stderr}");
}
