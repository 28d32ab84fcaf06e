//! What is wrong is known everywhere: each condition is made, read in `/readyz`, the status, the metrics
//! and a notification, and mended, after which it is told as over.

use std::{fs, path::Path, process::Command, sync::Arc};
use swarm_common::{
    config::{Span, parse},
    wire::drone::*,
};
use swarm_orchestrator::{checks, config::Config, metrics};
use swarm_tests::api::{FakeDrone, Receiver, Swarm, TestClock, facts, nothing_free, until};

/// A condition, made and mended on a running swarm.
struct Condition {
    /// What is said of it holds this.
    said: &'static str,
    /// The orchestrator cannot work meanwhile.
    stops: bool,
    severity: &'static str,
    make: fn(&Swarm),
    mend: fn(&Swarm),
    /// What the drone says of itself then, and how long a delivery of its has been stuck.
    drone: fn(&mut DroneFacts) -> Option<Stuck>,
}

const QUIET: Condition =
    Condition { said: "", stops: false, severity: "warning", make: |_| {}, mend: |_| {}, drone: |_| None };

fn away(dir: &Path) -> std::path::PathBuf {
    dir.with_extension("away")
}

/// A certificate for so many days in place of the one that is shown.
fn certify(state_dir: &Path, days: &str) {
    let [key, certificate] = ["key", "crt"].map(|kind| state_dir.join(format!("tls.{kind}")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=nas", "-addext", "subjectAltName=IP:127.0.0.1", "-days", days, "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is missing: install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

const CONDITIONS: [Condition; 6] = [
    Condition {
        said: ": Not a directory",
        stops: true,
        severity: "critical",
        make: |swarm| {
            let dir = swarm.app.config.artifact_dir();
            fs::rename(dir, away(dir)).unwrap();
            fs::write(dir, "").unwrap();
        },
        mend: |swarm| {
            let dir = swarm.app.config.artifact_dir();
            fs::remove_file(dir).unwrap();
            fs::rename(away(dir), dir).unwrap();
        },
        ..QUIET
    },
    Condition {
        said: "expires in 11 days",
        make: |swarm| certify(&swarm.state_dir(), "12"),
        mend: |swarm| certify(&swarm.state_dir(), "400"),
        ..QUIET
    },
    Condition {
        said: "cannot load the TLS certificate",
        severity: "critical",
        make: |swarm| fs::write(swarm.state_dir().join("tls.crt"), "").unwrap(),
        mend: |swarm| certify(&swarm.state_dir(), "400"),
        ..QUIET
    },
    Condition {
        said: "drone oak lacks programs to build in its own system: scanelf",
        drone: |facts| {
            facts.lacks.push("scanelf".into());
            None
        },
        ..QUIET
    },
    Condition {
        said: "drone oak cannot build: /var/tmp cannot be used: Read-only file system",
        drone: |facts| {
            facts.unusable.push("/var/tmp cannot be used: Read-only file system".into());
            None
        },
        ..QUIET
    },
    Condition {
        said: "drone oak cannot deliver",
        severity: "critical",
        drone: |_| Some(Stuck { for_ms: 180_000, why: "HTTP 413".into() }),
        ..QUIET
    },
];

// fault: 59
#[tokio::test]
async fn each_condition_is_told_in_all_four_places_and_so_is_its_end() {
    let receiver = Receiver::start().await.unwrap();
    let clock = Arc::new(TestClock::default());
    let swarm = Swarm::start_at(Some(clock.clone()), |config: &mut Config| {
        let hook = format!("url = \"http://{}/hook\"\nminimum = \"warning\"", receiver.address);
        config.notify.sink.push(parse(Path::new("sink.toml"), &hook).unwrap());
        config.notify.window = Span::default();
        config.artifact_dir = Some(config.state_dir.with_extension("artifacts"));
        config.tls.listen = Some(([127, 0, 0, 1], 0).into());
    });
    let swarm = swarm.await.unwrap();
    let drone = swarm.drone("oak").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let work = drone.work().await.unwrap();
    for condition in &CONDITIONS {
        // Facts that change again at once are deferred.
        clock.forward(10_000);
        (condition.make)(&swarm);
        say(&drone, &work, condition.drone).await;
        checks::look(&swarm.app).await;
        let status = swarm.admin.status().await.unwrap();
        let found = status.concerns.iter().find(|concern| concern.what.contains(condition.said));
        let found = found.unwrap_or_else(|| panic!("{} is not in {:?}", condition.said, status.concerns));
        assert_eq!(found.severity.to_string(), condition.severity, "{found:?}");
        assert!(!found.next.is_empty());

        let ready = swarm.raw().await.unwrap().ask("GET /readyz", &[], b"").await.unwrap();
        assert_eq!(ready.status, if condition.stops { 503 } else { 200 }, "{}", condition.said);
        let text = String::from_utf8_lossy(&ready.body);
        assert_eq!(text.contains(condition.said), condition.stops, "{text}");

        let metrics = metrics::text(&swarm.app);
        let line = format!("swarm_concerns{{severity=\"{}\"}} 0", condition.severity);
        assert!(metrics.contains("swarm_healthy 0\n") && !metrics.contains(&line), "{metrics}");

        let told = |of: &'static str| {
            let receiver = &receiver;
            async move || {
                let posts = receiver.taken();
                posts.iter().any(|post| post.text("text").contains(of)).then_some(())
            }
        };
        until(condition.said, told(condition.said)).await;

        let before = receiver.taken().len();
        clock.forward(10_000);
        (condition.mend)(&swarm);
        say(&drone, &work, QUIET.drone).await;
        checks::look(&swarm.app).await;
        let status = swarm.admin.status().await.unwrap();
        assert!(!status.concerns.iter().any(|c| c.what.contains(condition.said)), "{:?}", status.concerns);
        until(&format!("the end of `{}` is told", condition.said), async || {
            receiver.taken()[before..].iter().any(|p| p.text("text").contains("resolved")).then_some(())
        })
        .await;
    }
}

/// A heartbeat with what the drone says of itself.
async fn say(drone: &FakeDrone, work: &Assignment, change: fn(&mut DroneFacts) -> Option<Stuck>) {
    let mut facts = facts();
    let stuck = change(&mut facts);
    let phase = swarm_common::state::Phase::Uploading;
    let request = HeartbeatRequest {
        vitals: nothing_free(),
        attempts: vec![AttemptStatus { attempt: work.attempt, phase, stuck }],
        draining: false,
        boot_id: "b".into(),
        facts: Some(facts),
        highest_attempt: None,
    };
    drone.client.heartbeat(&request).await.unwrap();
}
