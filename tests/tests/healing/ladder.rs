//! A whole orchestrator that heals: from a drone's silence to the last step, as an admin sees it. The drone
//! is fake; machine, sshd, reboot and journal are real.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use swarm_client::{Client, IdempotencyKey};
use swarm_common::{
    secret::Secret,
    state::DroneState,
    wire::{admin::EnrolTokenRequest, drone::*, view::*},
};
use swarm_core::policy::RebootRule;
use swarm_daemon::config::Span;
use swarm_tests::{
    api::{Swarm, TestClock, facts, name, nothing_free},
    machine::{Init, LIMIT, Machine},
};

/// Time without a heartbeat after which a drone is offline, and after which a step has failed.
const SILENCE_MS: u64 = 600_000;

/// How long a drone has to be well before its ladder is forgotten.
const CALM_MS: u64 = SILENCE_MS / 2;

/// An orchestrator that may heal `oak` on this machine. Time hardly passes unless the test moves the clock.
async fn swarm(machine: &Machine, reboot: RebootRule) -> (Swarm, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    let swarm = Swarm::start_at(Some(clock.clone()), |config| {
        config.policy.offline_after = Some(Span::from_millis(SILENCE_MS));
        config.policy.startup_grace = Some(Span::default());
        let healing = &mut config.healing;
        healing.patience = Span::from_millis(1);
        (healing.recover_timeout, healing.calm) = (Span::from_millis(SILENCE_MS), Span::from_millis(CALM_MS));
        (healing.connect_timeout, healing.exec_timeout) = (Span::from_secs(60), Span::from_secs(60));
        healing.known_hosts = Some(machine.file("known_hosts"));
        healing.key_file = Some(machine.file("user_key"));
        let mut host = machine.host();
        host.reboot = reboot;
        healing.drone.insert(name("oak"), host);
    });
    let swarm = swarm.await.unwrap();
    swarm.profile().await.unwrap();
    (swarm, clock)
}

/// Enrols the drone `oak` of a machine.
async fn oak(swarm: &Swarm, machine_id: &str, boot_id: &str) -> Client {
    let token = EnrolTokenRequest { valid_ms: 60_000, approved: true };
    let token = swarm.admin.make_enrol_token(&token, &IdempotencyKey::random().unwrap()).await.unwrap().token;
    let facts = DroneFacts { machine_id: machine_id.into(), boot_id: boot_id.into(), ..facts() };
    let nobody = swarm.nobody().unwrap();
    let request = EnrolRequest { token, name: name("oak"), facts, credential_hash: None };
    let enrolled = nobody.enrol(&request).await.unwrap();
    nobody.with_credential(Secret::new(&enrolled.credential.unwrap()))
}

async fn heartbeat(drone: &Client, boot_id: &str) {
    let request = HeartbeatRequest {
        vitals: nothing_free(),
        attempts: Vec::new(),
        draining: false,
        boot_id: boot_id.into(),
        facts: None,
        highest_attempt: None,
    };
    drone.heartbeat(&request).await.unwrap();
}

/// Waits until the status is as wanted.
async fn until(swarm: &Swarm, what: &str, is_so: impl Fn(&StatusView) -> bool) -> StatusView {
    let began = Instant::now();
    loop {
        let status = swarm.admin.status().await.unwrap();
        if is_so(&status) {
            return status;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}; {:#?}", status.concerns);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until this many steps have ended.
async fn steps(swarm: &Swarm, count: usize) {
    let ended = async || events(swarm).await.iter().filter(|name| *name == "heal_step_ended").count();
    let asked = async || (ended().await >= count).then_some(());
    swarm_tests::api::until(&format!("{count} steps have ended"), asked).await;
}

fn says(status: &StatusView, what: &str, next: &str) -> bool {
    status.concerns.iter().any(|c| c.what.contains(what) && c.next.contains(next))
}

/// The names of all events so far, in order.
async fn events(swarm: &Swarm) -> Vec<String> {
    let last = swarm.admin.status().await.unwrap().journal_seq;
    let mut stream = swarm.admin.events(Some(0)).await.unwrap();
    let mut names = Vec::new();
    while let Some(event) = stream.next().await.unwrap() {
        names.push(event.event.kind.to_string());
        if event.seq >= last {
            break;
        }
    }
    names
}

#[tokio::test]
async fn a_silent_drone_is_restarted_and_once_it_is_heard_nothing_more_is_done() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    let (swarm, clock) = swarm(&machine, RebootRule::Allow).await;
    let drone = oak(&swarm, &machine.machine_id, &machine.boot_id()).await;
    clock.forward(SILENCE_MS);
    let silent = "drone oak is offline: silent for";
    until(&swarm, "the restart", |_| machine.asked().contains("systemctl restart swarm-drone")).await;
    until(&swarm, "what was done", |s| says(s, silent, "") && says(s, "its service succeeded", "")).await;
    heartbeat(&drone, &machine.boot_id()).await;
    let status = until(&swarm, "all is well", |status| status.healthy).await;
    assert_eq!(status.drones[0].state, DroneState::Online);
    assert_eq!(status.drones[0].healing, None);
    let healer = status.passes.iter().find(|pass| pass.name == "healer").unwrap();
    assert_eq!(healer.did, "restart of oak: done");
    // It stays well, so its ladder is forgotten.
    clock.forward(CALM_MS);
    let healed = async || events(&swarm).await.iter().any(|name| name == "drone_healed").then_some(());
    swarm_tests::api::until("it counts as healed", healed).await;
    assert_eq!(machine.asked().lines().count(), 1);
    let names = events(&swarm).await;
    let healing: Vec<&str> =
        names.iter().map(String::as_str).filter(|n| n.starts_with("heal_") || n.contains("drone_")).collect();
    assert_eq!(
        healing,
        [
            "drone_enrolled",
            "drone_went_offline",
            "heal_step_began",
            "heal_step_ended",
            "heal_step_began",
            "heal_step_ended",
            "drone_returned",
            "drone_healed"
        ]
    );
}

#[tokio::test]
async fn when_restarts_fail_the_machine_reboots_once_the_admin_has_confirmed_it() {
    let machine = Machine::boot(Init::Openrc).unwrap();
    machine.manager_does("1").unwrap();
    let (swarm, clock) = swarm(&machine, RebootRule::Ask).await;
    let before = machine.boot_id();
    let drone = oak(&swarm, &machine.machine_id, &before).await;
    clock.forward(SILENCE_MS);
    // After a probe, two restarts and a kill.
    for ended in 2..=4 {
        steps(&swarm, ended).await;
        clock.forward(SILENCE_MS);
    }
    let confirm = "swarmctl drone confirm-reboot oak";
    let status = until(&swarm, "the question", |s| s.next_action.as_deref() == Some(confirm)).await;
    assert!(says(&status, "failed with exit code 1: Job for swarm-drone.service failed.", confirm));
    let restarts = machine.asked().lines().filter(|line| line.ends_with("swarm-drone restart")).count();
    assert_eq!(restarts, 2, "{}", machine.asked());
    assert!(machine.asked().ends_with("rc-service swarm-drone start\n"));
    assert_eq!(machine.boot_id(), before);

    let id = status.drones[0].id;
    swarm.admin.confirm_reboot(id, &IdempotencyKey::random().unwrap()).await.unwrap();
    let rebooted = |s: &StatusView| s.drones[0].facts.boot_id != before;
    let status = until(&swarm, "the boot id that its machine tells by SSH", rebooted).await;
    assert_eq!(status.drones[0].facts.boot_id, machine.boot_id());
    heartbeat(&drone, &machine.boot_id()).await;
    until(&swarm, "all is well", |status| status.healthy).await;
    let names = events(&swarm).await;
    let count = |name: &str| names.iter().filter(|n| *n == name).count();
    assert_eq!((count("reboot_wanted"), count("reboot_confirmed"), count("drone_rebooted")), (1, 1, 1));
}

#[tokio::test]
async fn an_address_that_leads_to_another_machine_is_told_and_nothing_is_done_there() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    let (swarm, clock) = swarm(&machine, RebootRule::Allow).await;
    oak(&swarm, "0123456789abcdef0123456789abcdef", "b").await;
    clock.forward(SILENCE_MS);
    let status = until(&swarm, "it is lost", |s| s.drones[0].state == DroneState::Lost).await;
    assert!(
        says(&status, "drone oak is lost: 127.0.0.1:", "swarmctl drone resume oak")
            && says(&status, "is not the machine that enrolled; nothing was done there", ""),
        "{:#?}",
        status.concerns
    );
    assert_eq!(machine.asked(), "");
}

#[tokio::test]
async fn a_protected_machine_takes_no_confirmation_and_says_so() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    let (swarm, clock) = swarm(&machine, RebootRule::Ask).await;
    oak(&swarm, &machine.machine_id, "b").await;
    let id = swarm.admin.drones().await.unwrap()[0].id;
    let key = || IdempotencyKey::random().unwrap();
    swarm.admin.protect_drone(id, &key()).await.unwrap();
    clock.forward(SILENCE_MS);
    for ended in 2..=4 {
        steps(&swarm, ended).await;
        clock.forward(SILENCE_MS);
    }
    let status = until(&swarm, "it is lost", |s| s.drones[0].state == DroneState::Lost).await;
    assert!(status.drones[0].protected);
    assert!(says(&status, "is protected from reboots", ""), "{:#?}", status.concerns);
    assert!(swarm.admin.confirm_reboot(id, &key()).await.unwrap_err().to_string().contains("resume oak"));
    swarm.admin.unprotect_drone(id, &key()).await.unwrap();
    assert!(!swarm.admin.drones().await.unwrap()[0].protected);
    assert!(!machine.asked().contains("reboot"), "{}", machine.asked());
}
