//! The units with the real systemd as the first process of a machine in namespaces: readiness, reload, crash,
//! watchdog, and stop and restart during a build.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, process::Command};
use swarm_common::{
    state::RunState,
    wire::{concern::ConcernKind, view::ProfileView},
};
use swarm_tests::{
    e2e::{process::Process, wait},
    services::{
        machine::Init,
        swarm::{BUILT, DRONE, ORCHESTRATOR, ORCHESTRATOR_CONFIG, SETTINGS, SOON, Services},
    },
};

fn start() -> Services {
    Services::start(Init::Systemd).unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A property of a unit.
fn property(services: &Services, unit: &str, name: &str) -> String {
    let show = ["systemctl", "show", "--value", "--property", name, unit];
    services.machine.must(&show).unwrap().trim().to_owned()
}

/// Adds settings to a unit, as with `systemctl edit`.
fn edit(services: &Services, unit: &str, settings: &str) {
    let path = format!("/etc/systemd/system/{unit}.service.d/test.conf");
    services.machine.write(&path, &format!("[Service]\n{settings}\n")).unwrap();
    services.machine.must(&["systemctl", "daemon-reload"]).unwrap();
}

#[test]
fn a_good_reload_is_taken_over_a_bad_one_is_refused_and_a_stop_is_clean() {
    let services = start();
    assert_eq!(property(&services, ORCHESTRATOR, "ActiveState"), "active");
    let is_reported =
        || Ok(property(&services, ORCHESTRATOR, "StatusText").contains("0 drones online").then_some(()));
    wait::until("the status line says what it does", SOON, is_reported).unwrap();
    let pid = services.process(ORCHESTRATOR).unwrap();

    services.reload_well_and_badly().unwrap();
    // The same without the check of the file in the unit.
    signal(pid, Signal::HUP);
    services.says(ORCHESTRATOR, "keeping the old one").unwrap();
    let warnings = ["journalctl", "--no-pager", "--output=cat", "--priority=warning", "-u", ORCHESTRATOR];
    let warnings = services.machine.must(&warnings).unwrap();
    assert!(warnings.contains("keeping the old one") && !warnings.contains(" ready "), "{warnings}");
    assert!(!services.log(ORCHESTRATOR).lines().any(|line| line.starts_with('<')), "priorities are not text");
    assert_eq!(services.process(ORCHESTRATOR).unwrap(), pid);
    services.status().unwrap();

    services.tell("stop", ORCHESTRATOR).unwrap();
    assert_eq!(property(&services, ORCHESTRATOR, "Result"), "success");
    // A wrong configuration needs an admin, so the start is not repeated.
    assert!(services.tell("start", ORCHESTRATOR).is_err());
    assert_eq!(property(&services, ORCHESTRATOR, "ExecMainStatus"), "78");
    assert_eq!(property(&services, ORCHESTRATOR, "NRestarts"), "0");
}

// fault: 55, 66
#[test]
fn a_drone_that_was_removed_or_is_configured_wrongly_stays_down_and_one_whose_token_is_away_comes_back() {
    let services = start();
    services.start_drone("").unwrap();
    edit(&services, DRONE, "RestartSec=200ms");
    let down = |code: &str| {
        let failed = || Ok((property(&services, DRONE, "ActiveState") == "failed").then_some(()));
        wait::until("it stays down", SOON, failed).unwrap();
        assert_eq!(property(&services, DRONE, "ExecMainStatus"), code, "{}", services.log(DRONE));
        assert_eq!(property(&services, DRONE, "NRestarts"), "0", "{}", services.log(DRONE));
    };
    services.machine.must(&["swarmctl", "drone", "remove", "oak", "--yes"]).unwrap();
    down("77");

    let path = "/etc/build-swarm/drone.toml";
    let settings = services.machine.read(path);
    services.machine.write(path, &format!("orchestrator = 1\n{settings}")).unwrap();
    assert!(services.tell("start", DRONE).is_err());
    down("78");

    // The disk with its token is mounted much later.
    services.machine.write(path, &settings).unwrap();
    services.machine.must(&["sh", "-c", "rm -r /var/lib/swarm-drone/*"]).unwrap();
    let token = services.machine.must(&["swarmctl", "drone", "token", "--approved"]).unwrap();
    services.machine.must(&["rm", "/etc/build-swarm/token"]).unwrap();
    services.machine.must(&["systemctl", "start", "--no-block", DRONE]).unwrap();
    restarts_often(&services, DRONE);
    services
        .machine
        .must(&["sh", "-c", &format!("umask 077; echo {} > /etc/build-swarm/token", token.trim())])
        .unwrap();
    let active = || Ok((property(&services, DRONE, "ActiveState") == "active").then_some(()));
    wait::until("it runs", SOON, active).unwrap();
    services.says(DRONE, "online, ready for work").unwrap();
}

/// Waits until a service has been started more often than any usual limit allows.
fn restarts_often(services: &Services, unit: &str) {
    let often = || Ok((property(services, unit, "NRestarts").parse::<u32>()? >= 20).then_some(()));
    wait::until("it is started again and again", SOON, often).unwrap();
}

// fault: 66
#[test]
fn an_orchestrator_whose_secret_cannot_be_read_for_long_comes_back_by_itself() {
    let services = start();
    edit(&services, ORCHESTRATOR, "RestartSec=200ms");
    let token = "/var/lib/build-swarm/admin.token";
    services.machine.must(&["mv", token, "/root/away"]).unwrap();
    services.machine.must(&["ln", "-s", ".", token]).unwrap();
    services.machine.must(&["systemctl", "restart", "--no-block", ORCHESTRATOR]).unwrap();
    restarts_often(&services, ORCHESTRATOR);
    services.says(ORCHESTRATOR, "status=74/IOERR").unwrap();
    // In one step: a start that finds no token makes another.
    services.machine.must(&["mv", "-T", "/root/away", token]).unwrap();
    let active = || Ok((property(&services, ORCHESTRATOR, "ActiveState") == "active").then_some(()));
    wait::until("it serves", SOON, active).unwrap();
    services.status().unwrap();
}

// fault: 57
#[test]
fn an_address_that_the_machine_gets_late_is_waited_for_without_a_restart() {
    let services = start();
    let late = SETTINGS.replace("127.0.0.1:8100", "10.99.0.5:8100");
    assert_ne!(late, SETTINGS);
    services.machine.write(ORCHESTRATOR_CONFIG, &late).unwrap();
    services.machine.must(&["systemctl", "restart", "--no-block", ORCHESTRATOR]).unwrap();
    let waits = || {
        let status = property(&services, ORCHESTRATOR, "StatusText");
        Ok(status.starts_with("cannot listen on 10.99.0.5:8100: ").then_some(()))
    };
    wait::until("the status line says what it waits for", SOON, waits).unwrap();
    assert_eq!(property(&services, ORCHESTRATOR, "ActiveState"), "activating");
    services.machine.must(&["ip", "address", "add", "10.99.0.5/32", "dev", "lo"]).unwrap();
    let active = || Ok((property(&services, ORCHESTRATOR, "ActiveState") == "active").then_some(()));
    wait::until("it serves", SOON, active).unwrap();
    assert_eq!(property(&services, ORCHESTRATOR, "NRestarts"), "0");
}

#[test]
fn secrets_come_as_credentials_and_one_that_is_not_given_is_asked_for() {
    let services = start();
    let write = |path: &str, text: &str| {
        services.machine.write(path, text).unwrap();
        services.machine.must(&["chmod", "600", path]).unwrap();
    };
    let stored = "/etc/credstore/swarm-orchestrator.admin.token";
    write(stored, "a-token-of-my-own\n");
    let sink = "[[notify.sink]]\nurl = \"ntfy://127.0.0.1:9/swarm\"\ntoken_file = \"credential:ntfy\"\n";
    services.machine.write(ORCHESTRATOR_CONFIG, &format!("{SETTINGS}{sink}")).unwrap();
    let refused = services.tell("restart", ORCHESTRATOR).unwrap_err().to_string();
    assert!(refused.contains("LoadCredential=ntfy:"), "{refused}");

    write("/root/ntfy", "a-secret\n");
    edit(&services, ORCHESTRATOR, "LoadCredential=ntfy:/root/ntfy");
    services.tell("restart", ORCHESTRATOR).unwrap();
    assert!(services.status().is_err(), "the token that was made at the first start counts no more");
    let login = ["swarmctl", "login", "http://127.0.0.1:8100", "--token-file", stored];
    services.machine.must(&login).unwrap();
    services.status().unwrap();
}

#[test]
fn a_timer_offers_the_newest_commit_without_being_root_and_says_what_it_cannot_fetch() {
    let services = start();
    let machine = &services.machine;
    let script = |text: &str| machine.must(&["sh", "-ec", text]).unwrap();
    let commit = "git -C /srv/config -c user.name=t -c user.email=t@example.org commit --quiet --allow-empty --message";
    machine.write("/srv/config/default.nix", "{ }").unwrap();
    // The repository belongs to root, and Git does not read other users' repositories.
    machine.write("/etc/gitconfig", "[safe]\n\tdirectory = *\n").unwrap();
    edit(&services, "swarm-update@", "Environment=GIT_CONFIG_SYSTEM=/etc/gitconfig");
    script(&format!(
        "git init --quiet /srv/config; git -C /srv/config add --all; \
         {commit} first; swarmctl profile add home --nix --from /srv/config --attr tool; {commit} second"
    ));
    let arguments = "ARGUMENTS=--from git+file:///srv/config --attr tool\n";
    machine.write("/etc/build-swarm/update-home.conf", arguments).unwrap();
    machine.must(&["systemctl", "enable", "--now", "swarm-update@home.timer"]).unwrap();
    let unit = "swarm-update@home.service";
    assert_eq!(property(&services, "swarm-update@home.timer", "Triggers"), unit);
    assert_ne!(property(&services, "swarm-update@home.timer", "NextElapseUSecRealtime"), "");

    services.tell("start", unit).unwrap();
    let shown = || services.ask::<ProfileView>(&["profile", "show", "home"]).unwrap();
    let first = shown();
    assert!(first.candidates[0].source.starts_with("git+file:///srv/config at "), "{first:?}");
    let timer = first.timer.unwrap();
    assert_eq!(timer.every_ms, 24 * 3_600_000);

    script("mv /srv/config /srv/away");
    services.tell("start", unit).unwrap_err();
    let refused = |kind: &ConcernKind| matches!(kind, ConcernKind::CandidateRefused { run: None, .. });
    let status = services.status().unwrap();
    assert!(status.concerns.iter().any(|concern| refused(&concern.fact)), "{status:?}");
    assert!(shown().timer.unwrap().ran_at > timer.ran_at);
}

// fault: 42
#[test]
fn what_crashes_hangs_or_stands_still_is_started_anew_and_remembers_everything() {
    let services = start();
    services.start_drone("").unwrap();
    for unit in [ORCHESTRATOR, DRONE] {
        edit(&services, unit, "WatchdogSec=4\nTimeoutAbortSec=2\nRestartSec=200ms");
        services.tell("restart", unit).unwrap();
    }

    for unit in [ORCHESTRATOR, DRONE] {
        let crashed = services.process(unit).unwrap();
        signal(crashed, Signal::KILL);
        let stopped = services.other_process(unit, crashed).unwrap();
        // The watchdog's time starts when the service is ready.
        let active = || Ok((property(&services, unit, "ActiveState") == "active").then_some(()));
        wait::until("it is ready again", SOON, active).unwrap();
        let restarts = property(&services, unit, "NRestarts");
        signal(stopped, Signal::STOP);
        services.other_process(unit, stopped).unwrap();
        assert_ne!(property(&services, unit, "NRestarts"), restarts);
        services.says(unit, "Watchdog timeout (limit 4s)!").unwrap();
    }

    // The disk never answers: the engine hangs during an append, while everything else continues.
    let hangs = services.process(ORCHESTRATOR).unwrap();
    let engine = fs::read_dir(format!("/proc/{hangs}/task")).unwrap().flatten().map(|task| task.path());
    let engine =
        engine.into_iter().find(|task| fs::read_to_string(task.join("comm")).unwrap() == "engine\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut strace = Command::new("strace");
    strace
        .args(["-qq", "-e", "inject=fsync,fdatasync:delay_enter=600s", "-p"])
        .arg(engine.file_name().unwrap());
    let strace = Process::start(&mut strace, &folder.path().join("strace")).unwrap();
    let traced = || {
        let status = fs::read_to_string(engine.join("status"))?;
        Ok((!status.contains("TracerPid:\t0\n")).then_some(()))
    };
    wait::until("strace holds the engine", SOON, traced).unwrap();
    let judged = || services.log(ORCHESTRATOR).matches("Watchdog timeout").count();
    let before = judged();
    std::thread::scope(|scope| {
        // Any command that is journaled. It does not matter whether the next orchestrator answers it.
        scope.spawn(|| services.machine.run(&["swarmctl", "drone", "token"]));
        services.says(ORCHESTRATOR, "the engine is unresponsive").unwrap();
        wait::until("systemd gives it up", SOON, || Ok((judged() > before).then_some(()))).unwrap();
        // A thread that strace holds cannot be killed, unlike one that waits for the kernel.
        drop(strace);
        services.other_process(ORCHESTRATOR, hangs).unwrap();
    });

    let online = || Ok(services.status().is_ok_and(|status| status.drones.len() == 1).then_some(()));
    wait::until("it knows its drone", SOON, online).unwrap();
}

#[test]
fn a_stop_waits_for_the_build_and_a_restart_of_the_orchestrator_does_not_disturb_it() {
    let services = start();
    services.start_drone("").unwrap();
    services.build_something(12).unwrap();
    services.tell("restart", ORCHESTRATOR).unwrap();
    services.tell("stop", DRONE).unwrap();
    assert_eq!(property(&services, DRONE, "Result"), "success");
    let run = services.run_ends().unwrap();
    assert_eq!(run.state, RunState::Succeeded, "{}", services.log(DRONE));
    let log = services.log(DRONE);
    assert!(log.contains("signed off"), "{log}");
    let attempts = services.machine.must(&["swarmctl", "why", "app-misc/slow"]).unwrap();
    assert!(log.matches("app-misc/slow").count() > 0 && !attempts.contains("lost"), "{attempts}\n{log}");
}

#[test]
fn a_drone_that_is_killed_while_it_builds_comes_back_and_the_package_is_built_after_all() {
    let services = start();
    services.start_drone("").unwrap();
    edit(&services, DRONE, "RestartSec=200ms");
    services.build_something(5).unwrap();
    let killed = services.process(DRONE).unwrap();
    signal(killed, Signal::KILL);
    services.other_process(DRONE, killed).unwrap();
    let run = services.run_ends().unwrap();
    assert_eq!(run.state, RunState::Succeeded, "{}", services.log(DRONE));
    let idle = || Ok(services.machine.processes("sleep")?.is_empty().then_some(()));
    wait::until("no orphan of the first build is left", BUILT, idle).unwrap();
}
