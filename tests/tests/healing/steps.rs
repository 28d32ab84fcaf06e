//! Healing steps against a real sshd: what they do, what they never do, and the name of each kind of failure.

use std::{fs, net::TcpListener, time::Duration};
use swarm_common::state::{HealOutcome, HealStep};
use swarm_orchestrator::{
    config::{Host, ServiceManager},
    passes::healer::{
        pass::{self, Order, Report},
        ssh::Ssh,
    },
};
use swarm_tests::machine::{Init, LIMIT, Machine, free_port};

/// A limit for steps that must exceed it.
const SHORT: Duration = Duration::from_secs(3);

fn order(machine: &Machine, step: HealStep) -> Order {
    Order {
        step,
        host: machine.host(),
        machine_id: machine.machine_id.clone(),
        step_limit: LIMIT * 3,
        reboot_limit: LIMIT,
    }
}

async fn take(machine: &Machine, step: HealStep) -> Report {
    take_with(&machine.ssh(), &order(machine, step)).await
}

async fn take_with(ssh: &Ssh, order: &Order) -> Report {
    pass::take(ssh, order, || true).await.unwrap()
}

fn outcome(report: &Report, outcome: HealOutcome, says: &str) {
    assert_eq!(report.outcome, outcome, "{}", report.detail);
    assert!(report.detail.contains(says), "{}", report.detail);
    assert_eq!(report.detail.lines().count(), 1, "{}", report.detail);
}

#[tokio::test]
async fn a_probe_brings_the_boot_id_and_touches_nothing() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    let report = take(&machine, HealStep::Probe).await;
    outcome(&report, HealOutcome::Done, "answers");
    assert_eq!(report.boot_id.unwrap(), machine.boot_id());
    assert_eq!(machine.asked(), "");
}

#[tokio::test]
async fn the_service_is_restarted_and_killed_with_what_runs_services_there() {
    let systemd = Machine::boot(Init::Systemd).unwrap();
    outcome(&take(&systemd, HealStep::Restart).await, HealOutcome::Done, "restart of its service succeeded");
    assert_eq!(systemd.asked(), "systemctl restart swarm-drone.service\n");
    outcome(&take(&systemd, HealStep::Kill).await, HealOutcome::Done, "killing and starting");
    let asked = systemd.asked();
    assert!(asked.contains("systemctl kill --signal=KILL swarm-drone.service\n"), "{asked}");
    assert!(asked.ends_with("systemctl restart swarm-drone.service\n"), "{asked}");

    let openrc = Machine::boot(Init::Openrc).unwrap();
    outcome(&take(&openrc, HealStep::Restart).await, HealOutcome::Done, "");
    assert_eq!(openrc.asked(), "rc-service swarm-drone restart\n");
    outcome(&take(&openrc, HealStep::Kill).await, HealOutcome::Done, "");
    assert!(openrc.asked().ends_with("rc-service swarm-drone zap\nrc-service swarm-drone start\n"));
    // As configured, whatever is found on the machine.
    let mut order = order(&openrc, HealStep::Restart);
    order.host.service = ServiceManager::Systemd;
    outcome(&take_with(&openrc.ssh(), &order).await, HealOutcome::Failed, "exit code");

    let none = Machine::boot(Init::None).unwrap();
    let report = take(&none, HealStep::Restart).await;
    outcome(&report, HealOutcome::NoService, "neither systemd nor OpenRC");
}

#[tokio::test]
async fn a_restart_that_fails_is_told_with_its_exit_code_and_its_words() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    machine.manager_does("3").unwrap();
    let report = take(&machine, HealStep::Restart).await;
    outcome(&report, HealOutcome::Failed, "exit code 3: Job for swarm-drone.service failed.");
}

// fault: 24
#[tokio::test]
async fn a_host_key_that_is_not_known_or_has_changed_is_never_accepted() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    fs::write(machine.file("known_hosts"), "").unwrap();
    outcome(&take(&machine, HealStep::Reboot).await, HealOutcome::UnknownKey, "known_hosts; `ssh-keyscan`");
    fs::remove_file(machine.file("known_hosts")).unwrap();
    outcome(&take(&machine, HealStep::Reboot).await, HealOutcome::UnknownKey, "is not in");
    machine.other_key().unwrap();
    machine.trust("other_key.pub").unwrap();
    outcome(&take(&machine, HealStep::Reboot).await, HealOutcome::ChangedKey, "does not match");
    assert_eq!(machine.asked(), "");
}

#[tokio::test]
async fn a_key_that_is_not_accepted_missing_or_open_to_others_is_a_persons_matter() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    machine.other_key().unwrap();
    let with = |file: &str| Ssh { key_file: machine.file(file), ..machine.ssh() };
    let order = order(&machine, HealStep::Restart);
    let denied = take_with(&with("other_key"), &order).await;
    outcome(&denied, HealOutcome::LoginDenied, "authorized_keys");
    let missing = take_with(&with("no_such_key"), &order).await;
    outcome(&missing, HealOutcome::LoginDenied, "`ssh-keygen -t ed25519");
    outcome(&take_with(&with("host_key.pub"), &order).await, HealOutcome::LoginDenied, "mode");
    assert_eq!(machine.asked(), "");
}

#[tokio::test]
async fn a_machine_with_another_machine_id_is_left_alone() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    for machine_id in ["0123456789abcdef0123456789abcdef", ""] {
        for step in [HealStep::Probe, HealStep::Restart, HealStep::Kill, HealStep::Reboot] {
            let order = Order { machine_id: machine_id.into(), ..order(&machine, step) };
            let report = take_with(&machine.ssh(), &order).await;
            outcome(&report, HealOutcome::OtherMachine, "is not the machine that enrolled");
            assert_eq!(report.boot_id, None);
        }
    }
    assert_eq!(machine.asked(), "");
}

#[tokio::test]
async fn a_drone_that_is_heard_while_we_log_in_is_left_alone() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    for step in [HealStep::Restart, HealStep::Kill, HealStep::Reboot] {
        assert_eq!(pass::take(&machine.ssh(), &order(&machine, step), || false).await, None);
    }
    assert_eq!(machine.asked(), "");
}

#[tokio::test]
async fn nobody_at_the_address_is_told_and_not_waited_for() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    let mut order = order(&machine, HealStep::Probe);
    order.host.port = free_port().unwrap();
    outcome(&take_with(&machine.ssh(), &order).await, HealOutcome::Refused, "cannot reach");
    order.host = Host { address: "no-such-machine.invalid".into(), ..order.host };
    outcome(&take_with(&machine.ssh(), &order).await, HealOutcome::Refused, "cannot reach");
}

// fault: 24
#[tokio::test]
async fn nothing_waits_longer_than_it_may() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    let restart = order(&machine, HealStep::Restart);
    // A command that hangs.
    machine.manager_does("hang").unwrap();
    let ssh = Ssh { exec: SHORT, ..machine.ssh() };
    outcome(&take_with(&ssh, &restart).await, HealOutcome::Hung, "did not finish within 3 s");
    // A machine whose kernel accepts connections while its sshd is stopped.
    machine.freeze(true).unwrap();
    let ssh = Ssh { connect: SHORT, ..machine.ssh() };
    outcome(&take_with(&ssh, &restart).await, HealOutcome::TimedOut, "did not complete the login within 3 s");
    machine.freeze(false).unwrap();
    outcome(&take(&machine, HealStep::Probe).await, HealOutcome::Done, "");
    // A server that accepts connections and sends nothing.
    let tarpit = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut order = order(&machine, HealStep::Probe);
    order.host.port = tarpit.local_addr().unwrap().port();
    outcome(&take_with(&ssh, &order).await, HealOutcome::TimedOut, "did not complete the login");
}

// fault: 24
#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_command_is_called_so() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    machine.manager_does("cut").unwrap();
    let report = take(&machine, HealStep::Restart).await;
    outcome(&report, HealOutcome::CutOff, "the connection was lost while the command ran");
    assert_eq!(report.boot_id.unwrap(), machine.boot_id());
}

// fault: 21
#[tokio::test]
async fn a_reboot_is_judged_by_the_boot_id_that_comes_after_it() {
    let machine = Machine::boot(Init::Openrc).unwrap();
    let before = machine.boot_id();
    let report = take(&machine, HealStep::Reboot).await;
    outcome(&report, HealOutcome::Done, "has rebooted");
    let after = report.boot_id.unwrap();
    assert_eq!(after, machine.boot_id());
    assert_ne!(after, before);
}

#[tokio::test]
async fn a_reboot_that_only_breaks_the_connection_is_no_reboot() {
    let machine = Machine::boot(Init::Systemd).unwrap();
    // `systemctl reboot` that cuts the connection and does nothing.
    machine.manager_does("cut").unwrap();
    let mut order = order(&machine, HealStep::Reboot);
    order.reboot_limit = SHORT;
    let report = take_with(&machine.ssh(), &order).await;
    outcome(&report, HealOutcome::SameBoot, "did not reboot");
    assert_eq!(machine.asked(), "systemctl reboot\n");
}

#[tokio::test]
async fn a_machine_that_stays_off_after_its_reboot_is_absent() {
    let machine = Machine::boot(Init::Openrc).unwrap();
    fs::write(machine.file("stays-off"), "").unwrap();
    let mut order = order(&machine, HealStep::Reboot);
    order.reboot_limit = SHORT;
    let report = take_with(&machine.ssh(), &order).await;
    outcome(&report, HealOutcome::TimedOut, "is unreachable after the reboot");
}
