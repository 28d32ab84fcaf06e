//! Health checks, and the common parts of all responses.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use swarm_common::{time::TimeMs, wire::version::Version};
use swarm_daemon::version::{self, VERSION};
use swarm_orchestrator::{
    engine::{Clock, SystemClock},
    server::ServeError,
};
use swarm_tests::{api::Swarm, e2e::programs::program};

#[tokio::test]
async fn health_needs_no_credential() {
    let swarm = Swarm::start().await.unwrap();
    for path in ["/healthz", "/readyz"] {
        let answer = swarm.raw().await.unwrap().ask(&format!("GET {path}"), &[], b"").await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn anybody_is_told_which_version_runs_and_every_program_tells_its_own() {
    let swarm = Swarm::start().await.unwrap();
    let answer = swarm.raw().await.unwrap().ask("GET /version", &[], b"").await.unwrap();
    let version: Version = serde_json::from_value(answer.json().unwrap()).unwrap();
    assert_eq!((answer.status, version), (200, version::own()));
    for name in ["swarm-orchestrator", "swarm-drone", "swarmctl"] {
        let output = Command::new(program(name).unwrap()).arg("--version").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name} {VERSION}\n"));
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_if_it_is_fit_for_a_log() {
    let swarm = Swarm::start().await.unwrap();
    let ask = async |id: &str| {
        let headers = [("x-request-id", id)];
        let mut raw = swarm.raw().await.unwrap();
        raw.ask("GET /api/v1/nothing", &headers, b"").await.unwrap()
    };
    let answer = ask("night-7.b_1").await;
    assert_eq!(answer.header("x-request-id"), "night-7.b_1");
    assert_eq!(answer.json().unwrap()["request_id"], "night-7.b_1");
    for unfit in ["a b", "<script>", &"x".repeat(65)] {
        let answer = ask(unfit).await;
        assert_ne!(answer.header("x-request-id"), unfit);
        assert_eq!(answer.json().unwrap()["request_id"], answer.header("x-request-id"));
    }
}

#[tokio::test]
async fn errors_of_the_http_library_are_problems_too() {
    let swarm = Swarm::start().await.unwrap();
    let bearer = format!("Bearer {}", swarm.admin_token());
    let headers = [("authorization", bearer.as_str())];
    for (line, body, status) in [
        ("GET /api/v1/runs/p1", "", 400),
        ("GET /api/v1/packages?state=tired", "", 400),
        ("GET /api/v1/packages?colour=red", "", 400),
        ("DELETE /api/v1/status", "", 405),
        ("GET /api/v2/status", "", 404),
        ("POST /api/v1/runs", "{", 400),
        ("POST /api/v1/runs", r#"{"profile":"A B","class":"nightly"}"#, 422),
        ("POST /api/v1/runs", r#"{"profile":"a","class":"nightly","colour":1}"#, 422),
    ] {
        let answer = swarm.raw().await.unwrap().ask(line, &headers, body.as_bytes()).await.unwrap();
        assert_eq!(answer.status, status, "{line} {body}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{line}");
        let problem = answer.json().unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{problem}");
    }
}

/// A clock that makes the engine's thread panic on request.
struct Defect {
    clock: SystemClock,
    strikes: AtomicBool,
}

impl Clock for Defect {
    fn now(&self) -> TimeMs {
        let engine = std::thread::current().name() == Some("engine");
        assert!(!(engine && self.strikes.load(Ordering::SeqCst)), "the defect that a test asked for");
        self.clock.now()
    }
}

// fault: 42
#[tokio::test]
async fn a_defect_in_the_engine_ends_the_server_with_an_error() {
    let clock = Arc::new(Defect { clock: SystemClock::new(), strikes: AtomicBool::new(false) });
    let swarm = Swarm::start_at(Some(clock.clone()), |_| {}).await.unwrap();
    clock.strikes.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(Duration::from_secs(60), swarm.ended()).await;
    let error = ended.expect("it lives on without its engine").unwrap().unwrap_err();
    assert!(matches!(error, ServeError::EngineBroke), "{error}");
}
