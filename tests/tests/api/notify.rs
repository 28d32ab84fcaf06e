//! Notifications: each run and each problem is reported once, and the list of sinks is correct.

use crate::key;
use std::{path::Path, sync::Arc};
use swarm_common::{
    state::*,
    wire::{
        drone::{Failure, Outcome},
        plan::{PlanProblem, ProblemKind},
    },
};
use swarm_daemon::config::{parse, secret::write_private};
use swarm_orchestrator::{config::Config, server, sink::Sink};
use swarm_tests::api::{FakeDrone, Mailbox, Receiver, Swarm, TestClock, pebble, plan_of};

const MINUTE: u64 = 60_000;

/// Adds a sink in the form of the configuration file.
fn sink(config: &mut Config, text: &str) {
    let sink: Sink = parse(Path::new("sink.toml"), text).unwrap();
    config.notify.sink.push(sink);
}

fn webhook(receiver: &Receiver) -> String {
    format!("url = \"http://{}/hook/hidden-path\"\nminimum = \"warning\"", receiver.address)
}

/// Waits until the current state has been examined: until the second check from now on has ended, because the
/// first may already have begun.
async fn looked(swarm: &Swarm) {
    let last = || swarm.app.passes.list().iter().find(|p| p.name == "notifier").map(|p| p.last_run);
    for _ in 0..2 {
        let since = last().max(Some(swarm.app.engine.now()));
        until("the notifier has looked", || last() > since).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    swarm_tests::api::until(what, async || holds().then_some(())).await;
}

/// Claims the build and reports a failure.
async fn fail(drone: &FakeDrone) {
    let (attempt, _) = drone.build_order().await.unwrap();
    let failure = Failure {
        class: FailureClass::Package,
        phase: Phase::Building,
        signature: "pebble.c: error: expected ;".into(),
        message: "pebble.c:1: error: expected ;".into(),
        cause: None,
    };
    drone.report(attempt, Outcome::Failed { failure }).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_run_is_told_once_to_every_sink_and_not_again_after_a_restart() {
    let (ntfy, hook, mailbox) =
        (Receiver::start().await.unwrap(), Receiver::start().await.unwrap(), Mailbox::start().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    write_private(&token, "tk_hidden\n").unwrap();
    let swarm = Swarm::start_with(|config| {
        sink(config, &format!("url = \"ntfy://{}/farm\"\ntoken_file = {token:?}", ntfy.address));
        sink(config, &format!("url = \"http://{}/hook/hidden-path\"", hook.address));
        let query = "from=swarm@b.example&to=me+farm@b.example,you@b.example&tls=none";
        sink(config, &format!("url = \"smtp://{}?{query}\"", mailbox.address));
    });
    let swarm = swarm.await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();

    let posts = ntfy.wait(1).await.unwrap();
    assert_eq!((posts[0].line.as_str(), posts[0].authorization.as_str()), ("POST /", "Bearer tk_hidden"));
    assert_eq!(posts[0].text("topic"), "farm");
    let title = posts[0].text("title").to_owned();
    assert!(title.starts_with(&format!("desk: run {run} succeeded after ")), "{title}");
    assert_eq!(posts[0].text("message"), "1 received.\nNo action needed.");
    assert_eq!(posts[0].body["priority"], 3);

    let posts = hook.wait(1).await.unwrap();
    assert_eq!(posts[0].line, "POST /hook/hidden-path");
    assert_eq!((posts[0].text("kind"), posts[0].text("severity")), ("run", "info"));
    assert_eq!(posts[0].text("text"), format!("{title}\n1 received.\nNo action needed."));

    let mail = mailbox.wait(1).await.unwrap().remove(0);
    let to = ["MAIL FROM:<swarm@b.example>", "RCPT TO:<me+farm@b.example>", "RCPT TO:<you@b.example>"];
    assert!(mail.envelope.iter().zip(to).all(|(said, want)| said.starts_with(want)), "{:?}", mail.envelope);
    assert!(mail.data.contains(&format!("Subject: [build-swarm] {title}\r\n")), "{}", mail.data);
    assert!(mail.data.contains("1 received."), "{}", mail.data);

    // A receiver has a message before the notifier has read and stored its response.
    until("all is delivered", || {
        swarm.app.notifier.list().iter().all(|s| s.waiting == 0 && s.delivered_at.is_some())
    })
    .await;
    let sinks = swarm.admin.notification_sinks().await.unwrap();
    assert!(sinks.iter().all(|s| s.waiting == 0 && s.delivered_at.is_some()), "{sinks:?}");
    let shown = format!("{sinks:?} {:?}", swarm.app.config);
    assert!(!shown.contains("hidden"), "{shown}");

    let swarm = swarm.restart().await.unwrap();
    looked(&swarm).await;
    let sinks = swarm.admin.notification_sinks().await.unwrap();
    assert!(sinks.iter().all(|s| s.waiting == 0), "{sinks:?}");
    assert_eq!((ntfy.taken().len(), hook.taken().len(), mailbox.taken().len()), (1, 1, 1));
}

#[tokio::test]
async fn a_partial_run_says_what_is_quarantined_and_refused_and_what_to_do_and_only_once() {
    let receiver = Receiver::start().await.unwrap();
    let clock = Arc::new(TestClock::default());
    let swarm =
        Swarm::start_at(Some(clock.clone()), |config| sink(config, &webhook(&receiver))).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let mut plan = plan_of(&[pebble()]);
    plan.problems.push(PlanProblem {
        kind: ProblemKind::UseChange,
        atoms: vec!["app-misc/boulder".into()],
        message: "needs a USE change\nat length".into(),
        suggestion: Some(">=app-misc/boulder-1 wet\n".into()),
    });
    drone.bring_plan(plan).await.unwrap();
    fail(&drone).await;
    fail(&drone).await;

    let posts = receiver.wait(1).await.unwrap();
    assert_eq!(posts[0].text("severity"), "warning");
    let package = swarm.admin.packages(&Default::default()).await.unwrap()[0].id;
    let text = posts[0].text("text");
    assert!(text.starts_with(&format!("desk: run {run} partial after ")), "{text}");
    let rest: Vec<&str> = text.lines().skip(1).collect();
    let want = [
        "1 quarantined.",
        "Quarantined:",
        "  dev-libs/pebble-1.2: pebble.c:1: error: expected ;",
        "Rejected by the resolver:",
        "  app-misc/boulder: needs a USE change",
        "    suggested fix: >=app-misc/boulder-1 wet",
        &format!("Next: swarmctl why {package}"),
    ];
    assert_eq!(rest, want);

    // Both are also concerns, but already reported. Keep the drone online meanwhile.
    clock.forward(20 * MINUTE);
    drone.heartbeat(Vec::new()).await.unwrap();
    looked(&swarm).await;
    let all = receiver.taken();
    assert!(!all[1..].iter().any(|p| p.text("text").contains("pebble")), "{all:?}");
}

#[tokio::test]
async fn concerns_are_gathered_for_the_window_and_their_end_is_told_too() {
    let receiver = Receiver::start().await.unwrap();
    let clock = Arc::new(TestClock::default());
    let swarm =
        Swarm::start_at(Some(clock.clone()), |config| sink(config, &webhook(&receiver))).await.unwrap();
    swarm.profile().await.unwrap();
    let one = swarm.enrol("slow", false).await.unwrap();
    looked(&swarm).await;
    clock.forward(5 * MINUTE);
    let two = swarm.enrol("late", false).await.unwrap();
    let three = swarm.enrol("short", false).await.unwrap();
    looked(&swarm).await;
    assert!(receiver.taken().is_empty());
    swarm.admin.approve_drone(three.id, &key()).await.unwrap();
    clock.forward(5 * MINUTE);
    let posts = receiver.wait(1).await.unwrap();
    assert_eq!((posts[0].text("kind"), posts[0].text("title")), ("concerns", "2 new concerns"));
    for drone in ["slow", "late"] {
        let line = format!("! drone {drone} waits for approval\n  `swarmctl drone approve {drone}`");
        assert!(posts[0].text("text").contains(&line), "{posts:?}");
    }

    let swarm = swarm.restart().await.unwrap();
    for drone in [&one, &two, &three] {
        if drone.id != three.id {
            swarm.admin.approve_drone(drone.id, &key()).await.unwrap();
        }
        let secret = swarm_common::secret::Secret::new(&drone.credential);
        let client = swarm.nobody().unwrap().with_credential(secret);
        let drone = FakeDrone { client, id: drone.id, credential: drone.credential.clone() };
        drone.heartbeat(Vec::new()).await.unwrap();
    }
    looked(&swarm).await;
    clock.forward(10 * MINUTE);
    let posts = receiver.wait(2).await.unwrap();
    assert_eq!(posts[1].text("title"), "2 concerns resolved", "{posts:?}");
    looked(&swarm).await;
    assert_eq!(receiver.taken().len(), 2, "what came and went within the window is not announced");
}

#[tokio::test]
async fn a_sink_that_is_down_is_tried_again_and_holds_up_nothing() {
    let (down, deaf, up) = (
        Receiver::start().await.unwrap(),
        Receiver::start().await.unwrap(),
        Receiver::start().await.unwrap(),
    );
    down.answer_with(503);
    deaf.answer_with(0);
    let clock = Arc::new(TestClock::default());
    let swarm = Swarm::start_at(Some(clock.clone()), |config| {
        for receiver in [&down, &deaf, &up] {
            sink(config, &format!("url = \"http://{}/x\"", receiver.address));
        }
    });
    let swarm = swarm.await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    up.wait(1).await.unwrap();
    until("the sink fails", || swarm.app.notifier.list()[0].failing.is_some()).await;
    assert_eq!(down.refused(), 1);
    let status = swarm.admin.status().await.unwrap();
    assert!(!status.concerns.iter().any(|c| c.what.contains("notifications")), "once is nobody's concern");
    looked(&swarm).await;
    clock.forward(6_000);
    until("the concern is reported", || !swarm.app.notifier.concerns().is_empty()).await;
    let status = swarm.admin.status().await.unwrap();
    let want =
        format!("cannot deliver notifications to http://{}: HTTP 503 Service Unavailable: why", down.address);
    let concern = status.concerns.iter().find(|c| c.what == want).unwrap();
    assert!(concern.next.starts_with("1 queued, will retry"), "{concern:?}");
    let ready = swarm.raw().await.unwrap().ask("GET /readyz", &[], b"").await.unwrap();
    assert_eq!(ready.status, 200, "a sink does not keep it from its work");

    // Reachable sinks are notified that another one is unreachable; that one itself is not.
    looked(&swarm).await;
    clock.forward(2 * MINUTE);
    let posts = up.wait(2).await.unwrap();
    assert!(posts[1].text("title").starts_with("cannot deliver notifications to "), "{posts:?}");

    // Waiting messages survive a restart and are sent once.
    let swarm = swarm.restart_after(|_| down.answer_with(200)).await.unwrap();
    let posts = down.wait(1).await.unwrap();
    assert!(posts[0].text("title").contains("run r1 succeeded"), "{posts:?}");
    until("nothing waits", || swarm.app.notifier.list()[0].waiting == 0).await;
    looked(&swarm).await;
    assert_eq!(down.taken().len(), 1);
    assert!(down.refused() >= 2);
}

#[tokio::test]
async fn a_test_tells_the_outcome_of_each_sink() {
    let good = Receiver::start().await.unwrap();
    let mailbox = Mailbox::start().await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let swarm = Swarm::start_with(|config| {
        sink(config, &format!("url = \"http://{}/x\"", good.address));
        sink(config, &format!("url = \"ntfy://{nobody}/hidden\""));
        // The URL requires TLS, so nothing is sent to a server without it.
        sink(config, &format!("url = \"smtp://{}?from=a@b.example&to=c@d.example\"", mailbox.address));
        sink(config, &format!("url = \"http://{}/y\"", good.address));
    });
    let swarm = swarm.await.unwrap();
    let tests = swarm.admin.test_notifications().await.unwrap();
    assert_eq!(tests[0].failure, None);
    let refused = tests[1].failure.as_deref().unwrap();
    assert!(refused.contains("refused") && !refused.contains("hidden"), "{refused}");
    let plain = tests[2].failure.as_deref().unwrap();
    assert!(plain.to_lowercase().contains("starttls"), "{plain}");
    assert_eq!((tests[3].name.as_str(), &tests[3].failure), (&*format!("http://{}~2", good.address), &None));
    assert_eq!(good.taken()[0].text("kind"), "test");
    assert_eq!(good.taken().len(), 2);
    assert!(mailbox.taken().is_empty());
}

#[tokio::test]
async fn a_secret_that_others_can_read_keeps_it_from_starting() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "tk_hidden\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut config = Config { state_dir: folder.path().join("state"), ..Config::default() };
    config.listen.set_port(0);
    sink(&mut config, &format!("url = \"ntfy://localhost/farm\"\ntoken_file = {token:?}"));
    let Err(error) = server::build(config).await else { panic!("it started") };
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("chmod 600") && !error.to_string().contains("hidden"), "{error}");
}
