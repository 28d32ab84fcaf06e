//! The real program, as scripts see it: exit codes, and what goes to stdout and stderr.

#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers too")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

/// `swarmctl` with a home of its own and nothing from our environment.
fn swarmctl(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_swarmctl"))
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A home in which somebody logged in at an address where nobody listens.
fn logged_in() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = home.path().join(".config/swarmctl/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, format!("orchestrators = [\"http://127.0.0.1:{port}\"]\ntoken = \"t\"\n")).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    home
}

#[test]
fn a_wrong_command_line_is_2_and_suggests_the_right_one() {
    let home = tempfile::tempdir().unwrap();
    let output = swarmctl(home.path(), &["quarantin"]);
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("quarantine"), "{}", said(&output));
}

#[test]
fn without_a_login_it_is_78_and_says_how_to_log_in() {
    let home = tempfile::tempdir().unwrap();
    let output = swarmctl(home.path(), &["status"]);
    assert_eq!(code(&output), 78);
    assert!(said(&output).contains("swarmctl init"), "{}", said(&output));
    assert!(output.stdout.is_empty());
}

// fault: 45
#[test]
fn a_silent_orchestrator_is_69_in_text_and_in_json() {
    let home = logged_in();
    let output = swarmctl(home.path(), &["status"]);
    assert_eq!(code(&output), 69);
    assert!(said(&output).contains("Connection refused"), "{}", said(&output));
    assert!(!said(&output).contains('\x1b'), "no colour into a pipe");
    assert!(!said(&output).contains("backtrace"), "{}", said(&output));

    let output = swarmctl(home.path(), &["--json", "status"]);
    assert_eq!(code(&output), 69);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 69);
}

#[test]
fn an_open_or_misspelt_configuration_is_78() {
    let home = logged_in();
    let config = home.path().join(".config/swarmctl/config.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(code(&swarmctl(home.path(), &["status"])), 78);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&config, "orchestrator = []\n").unwrap();
    let output = swarmctl(home.path(), &["status"]);
    assert_eq!(code(&output), 78);
    assert!(said(&output).contains("config.toml:1:1"), "{}", said(&output));
}

#[test]
fn init_without_a_token_file_says_where_it_looked() {
    let home = tempfile::tempdir().unwrap();
    let output = swarmctl(home.path(), &["init", "--state-dir", "/nowhere"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("/nowhere/admin.token"), "{}", said(&output));
}

#[test]
fn completions_need_no_login_and_go_to_stdout() {
    let home = tempfile::tempdir().unwrap();
    let output = swarmctl(home.path(), &["completions", "bash"]);
    assert_eq!(code(&output), 0);
    assert!(String::from_utf8(output.stdout).unwrap().contains("quarantine"));
}
