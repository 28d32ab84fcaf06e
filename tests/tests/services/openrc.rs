//! The OpenRC scripts with the real supervise-daemon, on a machine in namespaces: start, crash, crash loop,
//! reload, drain, and stop and restart during a build.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use swarm_common::state::RunState;
use swarm_orchestrator::{config::ServiceManager, passes::healer::remote::Script};
use swarm_tests::{
    e2e::wait,
    services::{
        machine::Init,
        swarm::{DRONE, ORCHESTRATOR, ORCHESTRATOR_CONFIG, SETTINGS, SOON, Services},
    },
};

fn start() -> Services {
    Services::start(Init::OpenRc).unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// The output of `rc-service NAME status`.
fn status(services: &Services, service: &str) -> String {
    let output = services.machine.run(&["rc-service", service, "status"]).unwrap();
    swarm_tests::e2e::workstation::text(&output)
}

// fault: 43
#[test]
fn a_crash_is_followed_by_a_new_start_a_bad_reload_by_nothing_and_a_crash_loop_by_as_many() {
    let services = start();
    assert!(status(&services, ORCHESTRATOR).contains("started"));
    let pid = services.process(ORCHESTRATOR).unwrap();

    services.reload_well_and_badly().unwrap();
    assert_eq!(services.process(ORCHESTRATOR).unwrap(), pid);
    services.machine.write(ORCHESTRATOR_CONFIG, SETTINGS).unwrap();

    kill(pid);
    services.other_process(ORCHESTRATOR, pid).unwrap();
    services.tell("stop", ORCHESTRATOR).unwrap();
    assert!(services.machine.processes(ORCHESTRATOR).unwrap().is_empty());
    assert!(status(&services, ORCHESTRATOR).contains("stopped"));

    // A service that crashes repeatedly may still recover.
    services.machine.write("/etc/conf.d/swarm-orchestrator", "respawn_delay=1\n").unwrap();
    services.tell("start", ORCHESTRATOR).unwrap();
    let mut crashed = services.process(ORCHESTRATOR).unwrap();
    for _ in 0..12 {
        kill(crashed);
        crashed = services.other_process(ORCHESTRATOR, crashed).unwrap();
    }
    let says = status(&services, ORCHESTRATOR);
    assert!(says.contains("started"), "{says}");
}

// fault: 55, 66
#[test]
fn openrc_leaves_a_drone_down_that_was_removed_or_is_configured_wrongly_and_retries_one_whose_token_is_away()
{
    let services = start();
    services.machine.write("/etc/conf.d/swarm-drone", "respawn_delay=1\n").unwrap();
    let supervisors = || services.machine.processes("supervise-daemon");
    let others = supervisors().unwrap();
    services.start_drone("").unwrap();
    let own: Vec<u32> = supervisors().unwrap().into_iter().filter(|pid| !others.contains(pid)).collect();
    let [supervisor] = own[..] else { panic!("{own:?}") };
    // The supervisor is busy when the drone ends.
    signal(supervisor, Signal::STOP);
    services.machine.must(&["swarmctl", "drone", "remove", "oak", "--yes"]).unwrap();
    services.says(DRONE, "swarm-drone: drone oak was removed").unwrap();
    signal(supervisor, Signal::CONT);
    let gives_up = || Ok((supervisors()? == others).then_some(()));
    wait::until("supervise-daemon gives up", SOON, gives_up).with_context(|| services.log(DRONE)).unwrap();
    let (says, log) = (status(&services, DRONE), services.log(DRONE));
    assert!(!says.contains("started") && services.machine.processes(DRONE).unwrap().is_empty(), "{says}");
    let ended = log.lines().filter(|line| line.starts_with("swarm-drone: drone oak was removed")).count();
    assert_eq!(ended, 1, "{log}");

    let path = "/etc/build-swarm/drone.toml";
    let settings = services.machine.read(path);
    services.machine.write(path, &format!("orchestrator = 1\n{settings}")).unwrap();
    services.machine.must(&["rc-service", DRONE, "zap"]).unwrap();
    let refused = services.tell("start", DRONE).unwrap_err().to_string();
    assert!(refused.contains("did you mean `orchestrators`?"), "{refused}");
    assert_eq!(supervisors().unwrap(), others);

    // The disk with its token is mounted much later.
    services.machine.write(path, &settings).unwrap();
    services.machine.must(&["sh", "-c", "rm -r /var/lib/swarm-drone/*"]).unwrap();
    let token = services.machine.must(&["swarmctl", "drone", "token", "--approved"]).unwrap();
    services.machine.must(&["rm", "/etc/build-swarm/token"]).unwrap();
    services.tell("start", DRONE).unwrap();
    let starts = || services.log(DRONE).lines().filter(|line| line.starts_with("swarm-drone: ")).count();
    wait::until("it is started again and again", SOON, || Ok((starts() > 12).then_some(()))).unwrap();
    let write = format!("umask 077; echo {} > /etc/build-swarm/token", token.trim());
    services.machine.must(&["sh", "-c", &write]).unwrap();
    services.says(DRONE, "online, ready for work").unwrap();
}

// fault: 57
#[test]
fn an_address_that_the_machine_gets_late_is_waited_for_by_one_process() {
    let services = start();
    let late = SETTINGS.replace("127.0.0.1:8100", "10.99.0.5:8100");
    assert_ne!(late, SETTINGS);
    services.machine.write(ORCHESTRATOR_CONFIG, &late).unwrap();
    services.tell("restart", ORCHESTRATOR).unwrap();
    services.says(ORCHESTRATOR, "cannot listen on 10.99.0.5:8100: ").unwrap();
    let pid = services.process(ORCHESTRATOR).unwrap();
    services.machine.must(&["ip", "address", "add", "10.99.0.5/32", "dev", "lo"]).unwrap();
    let serves = || {
        let ask =
            ["wget", "-q", "-O", "/dev/null", "--tries=1", "--timeout=5", "http://10.99.0.5:8100/readyz"];
        Ok(services.machine.run(&ask)?.status.success().then_some(()))
    };
    wait::until("it serves", SOON, serves).unwrap();
    assert_eq!(services.process(ORCHESTRATOR).unwrap(), pid);
}

// fault: 43
#[test]
fn drain_takes_nothing_more_and_stop_and_restart_let_the_build_finish() {
    let services = start();
    services.start_drone("").unwrap();
    services.build_something(12).unwrap();
    services.tell("restart", ORCHESTRATOR).unwrap();
    services.tell("drain", DRONE).unwrap();
    services.says(DRONE, "asked to take no new work").unwrap();
    // It waits for the build and then starts the drone again, which accepts work again.
    services.tell("restart", DRONE).unwrap();
    let run = services.run_ends().unwrap();
    assert_eq!(run.state, RunState::Succeeded, "{}", services.log(DRONE));
    let log = services.log(DRONE);
    assert!(log.contains("signed off"), "{log}");

    let pid = services.process(DRONE).unwrap();
    kill(pid);
    services.other_process(DRONE, pid).unwrap();
    services.tell("stop", DRONE).unwrap();
    assert!(services.machine.processes(DRONE).unwrap().is_empty());
    assert!(services.machine.processes("emerge").unwrap().is_empty());
}

// fault: 43
#[test]
fn a_drone_that_outlives_its_supervisor_is_replaced_by_healing_and_its_build_is_done_again() {
    let services = start();
    services.start_drone("").unwrap();
    services.build_something(12).unwrap();
    let drone = services.process(DRONE).unwrap();
    let supervisor = services.machine.read("/run/supervise-swarm-drone.pid");
    services.machine.must(&["kill", "-KILL", supervisor.trim()]).unwrap();
    assert_eq!(services.process(DRONE).unwrap(), drone);

    let script = Script::KillAndStart(ServiceManager::Openrc).text();
    services.machine.must(&["sh", "-c", script]).unwrap();
    services.other_process(DRONE, drone).unwrap();
    assert!(status(&services, DRONE).contains("started"));
    let run = services.run_ends().unwrap();
    assert_eq!(run.state, RunState::Succeeded, "{}", services.log(DRONE));
}

#[test]
fn a_drone_is_in_a_control_group_that_may_limit_its_builds_at_every_start_and_a_stop_leaves_none() {
    let services = start();
    let at = "/sys/fs/cgroup/unified";
    services.machine.must(&["mkdir", at]).unwrap();
    services.machine.must(&["mount", "-t", "cgroup2", "none", at]).unwrap();
    services.start_drone("").unwrap();
    let is_inside = |pid: u32| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let own = groups.lines().find(|line| line.starts_with("0::")).unwrap_or_default();
        assert!(own.ends_with("swarm-drone/swarm-drone.own"), "{groups}");
    };
    let pid = services.process(DRONE).unwrap();
    is_inside(pid);
    kill(pid);
    services.other_process(DRONE, pid).unwrap();
    is_inside(services.process(DRONE).unwrap());
    services.tell("restart", DRONE).unwrap();
    is_inside(services.process(DRONE).unwrap());
    services.tell("stop", DRONE).unwrap();
    let left = services
        .machine
        .must(&["find", at, "-mindepth", "1", "-type", "d", "-name", "*swarm-drone*"])
        .unwrap();
    assert_eq!(left, "");
}

#[test]
fn a_work_dir_that_is_a_mount_point_is_emptied_at_the_start_and_builds_run_in_it() {
    let services = start();
    let at = "/var/tmp/swarm-drone";
    services.machine.must(&["mkdir", "-p", at]).unwrap();
    services.machine.must(&["mount", "-t", "tmpfs", "tmpfs", at]).unwrap();
    services
        .machine
        .must(&["sh", "-c", &format!("mkdir -p {at}/roots/a1 && touch {at}/roots/a1/left")])
        .unwrap();
    services.start_drone("").unwrap();
    assert_eq!(services.machine.must(&["find", at, "-name", "left"]).unwrap(), "");
    services.build_something(3).unwrap();
    let run = services.run_ends().unwrap();
    assert_eq!(run.state, RunState::Succeeded, "{}", services.log(DRONE));
    services.machine.must(&["mountpoint", at]).unwrap();
}
